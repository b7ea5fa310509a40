"""A copy of the project under a name of one's own: what a person does first."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .launchers import Launcher
from .layout import ROOT
from .server import Server

MADE_HERE = shutil.ignore_patterns(
    *(
        ".git",
        ".venv*",
        ".env",
        ".supervisord*",
        ".coverage*",
        "*.log",
        "*.sock",
        "*.pid",
        "redis",
        "*_cache",
        "__pycache__",
        ".hypothesis",
    )
)
fresh_only = pytest.mark.skipif(
    'name = "example"' not in (ROOT / "pyproject.toml").read_text(), reason="renamed already"
)

# A user's own code, in which the layout's names are words like others.
OWN = '''
# For example, see https://example.com/example/api and https://example.app/example-worker
from .api import app


def own(example: str = Query(example="example"), TESTING: bool = False) -> dict[str, str]:
    """An example. Each example has its text."""
    settings.TESTING = app.config["TESTING"]
    return {"example": example, "text": example.text, "mail": "example@mail.net"}
'''
# English, and other things that only look like the name.
STAYS = re.compile(
    r"\b([Ff]or|[Aa]n|each|one|worked|[Tt]he shipped) example\b|[fv}]\.example"
    r"|\bexample\.(py|com|org|test)\b|x-example|with_example"
)


def rename(copy: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [copy / "scripts" / "rename", *words], capture_output=True, text=True, timeout=60
    )


def git(copy: Path, *words: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.example"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=copy, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def contents(copy: Path) -> dict[str, bytes]:
    """Path -> content of every file, git's own left out."""
    return {
        str(path.relative_to(copy)): path.read_bytes()
        for path in copy.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


@pytest.fixture
def copy(folder: Path) -> Path:
    """The project as an archive of it: no history, nothing installed."""
    copy = folder / "a shop"
    shutil.copytree(ROOT, copy, ignore=MADE_HERE)
    return copy


@pytest.fixture
def clone(copy: Path) -> Path:
    """The same, in git."""
    if not shutil.which("git"):
        pytest.skip("git is not here")
    git(copy, "init", "--quiet")
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message", "The layout")
    return copy


@fresh_only
@pytest.mark.timeout(400)
def test_a_renamed_copy_installs_itself_serves_and_grows(
    copy: Path, launch: Callable[..., Any], redis: Server
) -> None:
    assert rename(copy, "shop").returncode == 0
    assert not list(copy.rglob("example*"))

    def serve(folder: Path, redis: Server) -> Launcher:
        return Launcher(folder, redis, [str(copy / "scripts" / "serve")])

    started = launch(serve, redis)
    # An index, a proxy or certificates for pip may be there.
    started.environ = os.environ | started.environ
    port = f"[fcgi-program:app]\nsocket = tcp://127.0.0.1:{started.port}\n"
    (copy / "supervisord.d" / "port.conf").write_text(port)
    started.start()
    (serving,) = started.processes
    started.eventually(lambda: started.answers() or serving.poll() is not None, within=300)
    started.works()
    depend_on_something_more(copy, started)
    assert started.stop() == [0]


FASTAPI = """\
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def hello() -> str:
    return "by FastAPI"
"""


def depend_on_something_more(copy: Path, serving: Launcher) -> None:
    """docs/production.md: what runs survives each step, and a roll brings what is new."""

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=copy, capture_output=True, text=True, timeout=200)

    project = copy / "pyproject.toml"
    project.write_text(project.read_text().replace('"cronsim ', '"fastapi",\n    "cronsim ', 1))
    told = run("scripts/install")
    assert (told.returncode, "not pinned: fastapi\n" in told.stderr) == (2, True)
    assert serving.answers()
    locked = run("scripts/lock")
    assert locked.returncode == 0, locked.stderr
    installed = run("scripts/install")
    assert installed.returncode == 0, installed.stderr
    assert serving.answers()
    (copy / "shop" / "api.py").write_text(FASTAPI)
    rolled = run(copy / ".venv" / "bin" / "supervisorctl", "roll", "app")
    assert rolled.returncode == 0, rolled.stdout
    assert serving.get() == '"by FastAPI"'


@fresh_only
def test_a_rename_leaves_the_name_nowhere(copy: Path) -> None:
    """A line that is told here: word it like others, or teach it to scripts/rename."""
    assert rename(copy, "my_shop").returncode == 0
    left = []
    for name, content in contents(copy).items():
        if name in ("LICENSE", "scripts/rename", "scripts/upgrade"):
            assert content == (ROOT / name).read_bytes()
        elif not name.startswith(("requirements", "tests/test_copy.py", "tests/test_upgrade.py")):
            for line in content.decode(errors="replace").splitlines():
                if re.search(r"\b(example|TESTING)\b", STAYS.sub("", line)):
                    left.append(f"{name}: {line}")
    assert not left, "\n".join(left)


@fresh_only
def test_a_rename_changes_names_and_no_words_of_yours(clone: Path) -> None:
    for path in ("example/own.py", "frontend/own.js", "notes.md"):
        (clone / path).parent.mkdir(exist_ok=True)
        (clone / path).write_text(OWN)
    git(clone, "add", "--all")
    (clone / "example" / "new.py").write_text("from example.settings import Settings\n")
    assert rename(clone, "shop").returncode == 0
    for path in ("shop/own.py", "frontend/own.js", "notes.md"):
        assert (clone / path).read_text() == OWN
    assert (clone / "shop" / "new.py").read_text() == "from shop.settings import Settings\n"


@fresh_only
def test_a_rename_touches_only_what_git_tracks(clone: Path) -> None:
    """Not a virtual environment, not a package of somebody else's, not what a link leads to."""
    others = ["venv/lib/site-packages/other.py", "node_modules/other/index.js"]
    for path in others:
        (clone / path).parent.mkdir(parents=True)
        (clone / path).write_text("import example\n")
    (clone.parent / "elsewhere").mkdir()
    outside = clone.parent / "elsewhere" / "outside.py"
    outside.write_text("import example\n")
    (clone / "example" / "link.py").symlink_to(outside)
    (clone / "docs" / "linked").symlink_to(outside.parent)
    git(clone, "add", "example", "docs")
    assert rename(clone, "shop").returncode == 0
    for file in [outside, *(clone / path for path in others)]:
        assert file.read_text() == "import example\n"
    assert (clone / "shop" / "link.py").is_symlink()


@fresh_only
def test_a_rename_without_git_does_the_same(copy: Path) -> None:
    other = copy.parent / "other"
    shutil.copytree(copy, other)
    (other / "node_modules").mkdir()
    (other / "node_modules" / "index.py").write_text("import example\n")
    git(copy, "init", "--quiet")
    git(copy, "add", "--all")
    assert rename(copy, "shop").returncode == rename(other, "shop").returncode == 0
    assert contents(other) == contents(copy) | {"node_modules/index.py": b"import example\n"}


@fresh_only
def test_a_second_rename_is_refused_and_changes_nothing(copy: Path) -> None:
    assert rename(copy, "shop").returncode == 0
    before = contents(copy)
    for name in ("shop", "blog", "example"):
        again = rename(copy, name)
        assert again.returncode == 1
        assert again.stderr == "rename: this copy has a name of its own already\n"
    assert contents(copy) == before


@fresh_only
def test_a_name_that_cannot_be_imported_changes_nothing(copy: Path) -> None:
    before = contents(copy)
    wrong = ["", "a b", "Shop", "2shop", "shop-2", "class", "json", "redis", "hiredis", "tests"]
    for name in [*wrong, "worker", "runtime", "example", "a\n", "shop_"]:
        done = rename(copy, name)
        assert done.returncode == 1, name
        assert done.stderr.startswith(("usage: scripts/rename NAME", "rename: ")), name
    assert rename(copy).returncode == 1
    assert contents(copy) == before


def test_a_clone_has_the_line_ends_of_the_shell(clone: Path) -> None:
    """Also where git is set to write those of Windows."""
    other = clone.parent / "windows"
    git(clone, "clone", "--quiet", "--config", "core.autocrlf=true", str(clone), str(other))
    for name in git(other, "ls-files", "-z").split("\0")[:-1]:
        assert b"\r\n" not in (other / name).read_bytes(), name


OTHERS = {
    "api": """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 418})
        await send({"type": "http.response.body", "body": b"Another"})
""",
    "schedule": "from .runtime.schedule import Every\n\nSCHEDULE = {'rare': Every(3600, 'rare')}\n",
    "tasks": "def work(item: bytes) -> None:\n    print('another', item)\n",
}


@pytest.mark.timeout(300)
def test_the_machinerys_tests_pass_beside_any_files_of_yours(copy: Path) -> None:
    """In a copy with another api, schedule and tasks: those fail that are yours, and only those."""
    for name, text in OTHERS.items():
        (copy / "example" / f"{name}.py").write_text(text)
    some = ["tests/yours/test_api.py", "tests/test_launchers.py"]
    chosen = "says_hello or api_answers_and_each and (article or Layout or scripts)"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *some, "-k", chosen],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert re.search("1 failed, 3 passed, [0-9]+ deselected", done.stdout), done.stdout
    assert "FAILED tests/yours/test_api.py" in done.stdout
