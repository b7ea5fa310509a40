"""While one edits: scripts/serve --reload, .env, and a debugger beside the rest."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Popen
from .layout import ROOT, Layout
from .package import package
from .server import Server


class Checkout(Layout):
    """A folder as somebody develops in: `scripts/serve --reload`, and the package beside it."""

    def __init__(self, folder: Path, redis: Server) -> None:
        folder = folder / "my app"
        folder.mkdir()
        super().__init__(folder, redis)
        self.commands = [[str(folder / "scripts" / "serve"), "--reload"]]
        shutil.copytree(ROOT / "scripts", folder / "scripts")
        (folder / "scripts" / "install").write_text("#!/bin/sh\n# All is there.\n")
        (folder / ".venv").symlink_to(sys.prefix)
        code = package(folder)
        self.override("code", f'[supervisord]\nenvironment = PYTHONPATH="{code}"\n')

    def ready(self) -> None:
        self.eventually(lambda: "reload | watching" in self.stdout(), within=30)
        self.all_ready()

    def edit(self, name: str, old: str, new: str) -> None:
        file = self.folder / "example" / f"{name}.py"
        file.write_text(file.read_text().replace(old, new))


Develop = Callable[..., Checkout]


@pytest.fixture
def kind() -> type[Checkout]:
    return Checkout


def test_a_program_follows_its_code(only: Develop) -> None:
    """Only programs that import the changed file are replaced; if all import it, all are.

    What the file begins when it is imported, such as a thread, holds up nothing.
    """
    checkout = only(app=1, beat=1, worker=1)
    worker = checkout.pid("worker")
    checkout.edit("api", "Hello, world!", "Changed")
    checkout.eventually(lambda: checkout.get() == "Changed")
    thread = "import threading; threading.Thread(target=threading.Event().wait).start()"
    checkout.edit("tasks", "async def work", f"{thread}\n\nasync def work")
    checkout.edit("tasks", "WORKING", "DOING")
    checkout.eventually(lambda: "DOING: OK" in checkout.stdout())
    checkout.replaced("worker", worker)
    runs = r"reload \| (\w+) runs the new code"
    checkout.eventually(lambda: re.findall(runs, checkout.stdout()) == ["app", "worker"])
    (checkout.folder / "example" / "own.py").write_text('HELLO = "Imported"\n')
    checkout.edit("api", '"Changed"', "own.HELLO")
    checkout.edit("api", "from starlette.app", "from . import own\nfrom starlette.app")
    checkout.eventually(lambda: checkout.get() == "Imported")
    checkout.edit("own", "Imported", "Once more")
    checkout.eventually(lambda: checkout.get() == "Once more")


WRONG = {
    "def wrong(:": "SyntaxError: invalid syntax",
    "import nope": "ModuleNotFoundError: No module named 'nope'",
    "raise SystemExit(5)": "an import ends with 5",
}


def test_code_that_cannot_be_imported_is_shown_and_not_run(only: Develop) -> None:
    """The old process goes on, and nothing counts as a crash. Fixed code runs."""
    checkout = only(app=1)
    app = checkout.pid("app")
    for wrong, shown in WRONG.items():
        checkout.edit("api", "app = ", f"{wrong}\napp = ")
        told = f"reload | {shown}\nreload | app goes on with the old code"
        checkout.eventually(lambda told=told: told in checkout.stdout())  # type: ignore[misc]
        assert (checkout.pid("app"), checkout.get()) == (app, "Hello, world!")
        checkout.edit("api", f"{wrong}\napp = ", "app = ")
    checkout.edit("api", "Hello, world!", "Mended")
    checkout.eventually(lambda: checkout.get() == "Mended")
    assert "exited: app" not in checkout.stdout()


def test_a_change_outside_the_programs_code_is_reported(only: Develop) -> None:
    """Its advice works; and a program that is new then follows its code too."""
    checkout = only(worker=1)
    with open(checkout.folder / "supervisord.conf", "a") as conf:
        conf.write("[program:more]\ncommand = example-worker\n")
    told = "reload | supervisord.conf has changed: supervisorctl update"
    checkout.eventually(lambda: told in checkout.stdout())
    checkout.ctl("update", check=True)
    checkout.edit("tasks", "WORKING", "DOING")
    checkout.eventually(lambda: "reload | more runs the new code" in checkout.stdout())


def test_a_debugger_takes_the_place_of_one_program(only: Develop, popen: Popen) -> None:
    """docs/production.md: the rest runs on, and the reloader leaves what was stopped alone."""
    checkout = only(app=1, worker=1)
    checkout.ctl("stop", "worker:*", check=True)
    checkout.edit("tasks", "logger.info", "breakpoint()\n    logger.info")
    worker = popen(
        [checkout.folder / "scripts" / "with-env", "example-worker"],
        checkout.environ | {"PYTHONPATH": str(checkout.folder)},
        stdin=subprocess.PIPE,
    )
    assert worker.stdin
    assert worker.stdout
    checkout.push(b"something")
    worker.stdin.write("p 'there is', item\ncontinue\n")
    worker.stdin.flush()
    assert any("('there is', 'something')" in line for line in worker.stdout)
    assert checkout.status("worker") == "STOPPED"
    assert checkout.get() == "Hello, world!"


def test_a_warning_fails_no_test_of_yours(folder: Path) -> None:
    """Nor while it is collected. It fails those of the machinery."""
    for name in ("tests", "tests/yours"):
        (folder / name).mkdir()
        warns = "import warnings\nwarnings.warn('a')\ndef test(): warnings.warn('b')\n"
        (folder / name / f"test_{len(name)}.py").write_text(warns)
        (folder / name / "__init__.py").touch()
    shared = (file for file in (ROOT / "tests").glob("[!_]*.py") if file.stem[:5] != "test_")
    for file in (ROOT / "pyproject.toml", ROOT / "example", ROOT / "tests" / "demo", *shared):
        (folder / file.relative_to(ROOT)).symlink_to(file)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:xdist"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert "FAILED tests/test_5.py::test" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def with_env(folder: Path, text: str, **environ: str) -> subprocess.CompletedProcess[str]:
    shutil.copytree(ROOT / "scripts", folder / "scripts", dirs_exist_ok=True)
    if not (folder / ".venv").exists():
        (folder / ".venv").symlink_to(sys.prefix)
    (folder / ".env").write_text(text)
    show = "import os; print([os.environ.get(name) for name in 'REDIS_KEY LOG_LEVEL OWN'.split()])"
    return subprocess.run(
        [folder / "scripts" / "with-env", "python", "-c", show],
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
    )


def test_env_is_read_and_never_over_the_environment(folder: Path) -> None:
    text = "# Mine\n\nexport REDIS_KEY='a b' # this\nLOG_LEVEL = debug\nOWN=\"1#2\"\nSHOP_TOKEN=x\n"
    done = with_env(folder, text, LOG_LEVEL="error")
    assert done.stdout == "['a b', 'error', '1#2']\n"
    assert done.stderr.splitlines() == [
        ".env: LOG_LEVEL has another value in the environment, which wins",
        ".env: not in settings.py, so for your own code: OWN, SHOP_TOKEN",
    ]


def test_a_comment_of_env_begins_after_a_blank(folder: Path) -> None:
    done = with_env(folder, "REDIS_KEY=a#b # this\nLOG_LEVEL=#\nOWN=  # not set\n")
    assert done.stdout == "['a#b', '#', '']\n"


def test_what_the_server_reads_itself_is_used(folder: Path) -> None:
    done = with_env(folder, "FORWARDED_ALLOW_IPS=10.0.0.7\nUVICORN_ROOT_PATH=/api\n")
    assert done.stderr == ""


def test_a_wrong_line_of_env_is_reported(folder: Path) -> None:
    done = with_env(folder, "LOG_LEVEL=info\nREDIS_KEY\n")
    assert (done.returncode, done.stderr) == (2, ".env: line 2 is not NAME=value\n")
