"""A copy of the project under a name of one's own: what a person does first."""

import re
import runpy
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from . import quick_install
from .copies import MADE_HERE, commit, compile_package, contents, fresh_only, git, rename
from .layout import ROOT

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


@pytest.fixture
def copy(folder: Path) -> Path:
    """The project as an archive of it: no history, nothing installed."""
    copy = folder / "a shop"
    shutil.copytree(ROOT, copy, ignore=MADE_HERE)
    return copy


@pytest.fixture
def tracked(copy: Path) -> Path:
    """The same, and git knows the files."""
    if not shutil.which("git"):
        pytest.skip("git is not here")
    git(copy, "init", "--quiet")
    track(copy, ".")
    return copy


def track(copy: Path, *files: str) -> None:
    """By name: to keep what is in them, too, would take git much longer."""
    git(copy, "add", "--intent-to-add", *files)


@fresh_only
def test_a_rename_leaves_the_name_nowhere(copy: Path) -> None:
    """If this names a line: word it like others, or teach it to scripts/rename."""
    assert rename(copy, "my_shop").returncode == 0
    left = []
    for name, content in contents(copy).items():
        if name in ("LICENSE", "scripts/rename", "scripts/upgrade"):
            assert content == (ROOT / name).read_bytes()
        elif not name.startswith(
            ("requirements", "tests/copies.py", "tests/test_copy.py", "tests/test_upgrade.py")
        ):
            for line in content.decode(errors="replace").splitlines():
                if re.search(r"\b(example|TESTING)\b", STAYS.sub("", line)):
                    left.append(f"{name}: {line}")
    assert not left, "\n".join(left)


@fresh_only
def test_a_rename_changes_names_and_no_words_of_yours(tracked: Path) -> None:
    for path in ("example/own.py", "frontend/own.js", "notes.md"):
        (tracked / path).parent.mkdir(exist_ok=True)
        (tracked / path).write_text(OWN)
    track(tracked, "example", "frontend", "notes.md")
    (tracked / "example" / "new.py").write_text("from example.settings import Settings\n")
    assert rename(tracked, "shop").returncode == 0
    for path in ("shop/own.py", "frontend/own.js", "notes.md"):
        assert (tracked / path).read_text() == OWN
    assert (tracked / "shop" / "new.py").read_text() == "from shop.settings import Settings\n"


@fresh_only
def test_a_rename_touches_only_what_git_tracks(tracked: Path) -> None:
    """Not a virtual environment, not a package of somebody else's, not what a link leads to."""
    others = ["venv/lib/site-packages/other.py", "node_modules/other/index.js"]
    for path in others:
        (tracked / path).parent.mkdir(parents=True)
        (tracked / path).write_text("import example\n")
    (tracked.parent / "elsewhere").mkdir()
    outside = tracked.parent / "elsewhere" / "outside.py"
    outside.write_text("import example\n")
    (tracked / "example" / "link.py").symlink_to(outside)
    (tracked / "docs" / "linked").symlink_to(outside.parent)
    track(tracked, "example", "docs")
    assert rename(tracked, "shop").returncode == 0
    for file in [outside, *(tracked / path for path in others)]:
        assert file.read_text() == "import example\n"
    assert (tracked / "shop" / "link.py").is_symlink()


@fresh_only
def test_a_rename_without_git_does_the_same(copy: Path) -> None:
    other = copy.parent / "other"
    shutil.copytree(copy, other)
    (other / "node_modules").mkdir()
    (other / "node_modules" / "index.py").write_text("import example\n")
    git(copy, "init", "--quiet")
    track(copy, ".")
    assert rename(copy, "shop").returncode == rename(other, "shop").returncode == 0
    assert contents(other) == contents(copy) | {"node_modules/index.py": b"import example\n"}


NAMED = {
    "my_shop/settings.py": r'redis_key: str = list_name\("(.*)"\)',
    ".env.example": r"#REDIS_KEY=(.*)",
    "pyproject.toml": r'(?m)^name = "(.*)"|^(.*)-(?:app|beat|worker|redis) =',
    "compose.yaml": r"image: ([\w-]+)$",
    "scripts/image": r"^name=\$\{1:-([\w-]+)\}",
    "scripts/test": r"IMAGE=([\w-]+)",
    "deploy/kubernetes/web.yaml": r"image: (.*)|kubernetes.io/name: ([\w-]+)|secretName: ([\w-]+)",
    "deploy/kubernetes/worker.yaml": r"image: (.*)|configMapRef: {name: ([\w-]+)",
    "deploy/kubernetes/keda/worker.yaml": r"listName: (.*)",
    "deploy/systemd/my-shop.service": r"^User=(.*)|/srv/([\w-]+)|/etc/([\w-]+)\.env",
    "docs/production.md": r"/srv/([\w-]+)|runuser -u (\S+)|systemctl \w+(?: --now)? ([\w-]+)",
}


@fresh_only
def test_the_list_the_image_and_all_that_is_deployed_follow_the_name(copy: Path) -> None:
    assert rename(copy, "my_shop").returncode == 0
    for name, pattern in NAMED.items():
        found = re.finditer(pattern, (copy / name).read_text(), re.MULTILINE)
        names = {word for each in found for word in each.groups() if word}
        assert names == {"my-shop"}, name


@fresh_only
def test_a_rename_waits_until_supervisord_has_ended(copy: Path) -> None:
    """It would go on under the old name, and find none of its programs."""
    before = contents(copy)
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(copy / "var" / "supervisor.sock"))
        control.listen()
        done = rename(copy, "shop")
        assert (done.returncode, "supervisord runs here" in done.stderr) == (1, True)
    assert contents(copy) == before
    assert rename(copy, "shop").returncode == 0


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
    assert rename(copy).returncode == rename(copy, "a b").returncode == 1
    wrong = ["", "Shop", "2shop", "shop-2", "class", "json", "redis", "hiredis", "tests"]
    for name in [*wrong, "worker", "runtime", "example", "a\n", "shop_"]:
        assert refusal(copy, name).startswith(("usage: scripts/rename NAME", "rename: ")), name
    assert contents(copy) == before


def refusal(copy: Path, name: str) -> str:
    """What scripts/rename says when it ends, without the time that a new process takes."""
    main = runpy.run_path(str(copy / "scripts" / "rename"))["main"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["scripts/rename", name])
        with pytest.raises(SystemExit) as end:
            main()
    return str(end.value)


def test_a_clone_has_the_line_ends_of_the_shell(tracked: Path) -> None:
    """Also where git is set to write those of Windows."""
    other = tracked.parent / "windows"
    commit(tracked, "The layout")
    git(tracked, "clone", "--quiet", "--config", "core.autocrlf=true", str(tracked), str(other))
    for name in git(other, "ls-files", "-z").split("\0")[:-1]:
        assert (other / name).read_bytes() == (tracked / name).read_bytes(), name


OWN_FILES = {
    "api": """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"Another"})
""",
    "schedule": "from .runtime.schedule import Every\n\nSCHEDULE = {'rare': Every(3600, 'rare')}\n",
    "tasks": "def work(item: bytes) -> None:\n    print('another', item)\n",
}
OWN_TESTS = """
from ..layout import Layout


def test_all(layout: Layout) -> None:
    assert layout.get("/") == "Another"
    layout.push(b"item")
    layout.eventually(lambda: layout.said("worker", "another b'item'"))
"""
# Of each kind some: the whole takes long.
PARENT = "tests/test_launchers.py::test_the_api_answers_and_each_push_is_worked[parent]"
VERSION = "tests/test_console.py::test_version_is_that_of_the_project"
ENV = "tests/test_develop.py::test_what_the_server_reads_itself_is_used"
OWN = "tests/test_own_program.py"
PAGES = ("tests/test_readme.py", "tests/test_pages.py", f"{OWN}::test_it_runs_under_one_parent_too")
SOME = ("tests/yours", PARENT, VERSION, ENV, "tests/test_settings.py", *PAGES)


@fresh_only
@pytest.mark.timeout(300)
def test_the_tests_of_a_copy_pass_whatever_its_own_files_do(copy: Path) -> None:
    """Renamed, with another api, schedule and tasks, other settings, tests of these, a README."""
    assert rename(copy, "my_shop").returncode == 0
    for name, text in OWN_FILES.items():
        (copy / "my_shop" / f"{name}.py").write_text(text)
        (copy / "tests" / "yours" / f"test_{name}.py").unlink()
    settings = copy / "my_shop" / "settings.py"
    own = 'title: str = text("Shop", "a title")\n    port: int = whole(8000'
    settings.write_text(settings.read_text().replace("port: int = whole(5000", own))
    (copy / "tests" / "yours" / "test_own_settings.py").unlink()
    (copy / "tests" / "yours" / "test_all.py").write_text(OWN_TESTS)
    (copy / "README.md").write_text("# My shop\n")
    (copy / "README.ja.md").unlink()
    quick_install.put(copy)
    compile_package(copy / "my_shop")
    done = subprocess.run(
        [copy / "scripts" / "test", "-n", "0", *SOME], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
