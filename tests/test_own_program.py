"""The program that README.md adds, word for word."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import launchers, pages
from .copies import fresh_only
from .launchers import Launcher
from .layout import ROOT, Layout
from .mine import Mine
from .package import package
from .server import Server

Launch = Callable[..., Any]


@pytest.fixture
def added(folder: Path) -> dict[str, str]:
    """An environment with a copy of the package to which README's program was added."""
    function, script, _ = recipe()
    programs = (ROOT / "example/programs.py").read_text()
    code = package(folder / "package", programs=f"{programs}\n\n{function}")
    name, module, attribute = re.findall(r"[\w.-]+", script)
    command = folder / "bin" / name
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom {module} import {attribute}\n{attribute}()\n")
    command.chmod(0o755)
    path = f"{launchers.SCRIPTS}:{command.parent}:/usr/bin:/bin"
    return {"PYTHONPATH": code, "PATH": path}


def recipe() -> tuple[str, str, str]:
    """The code blocks of README's section: the function, the script's line, supervisord's part."""
    section = pages.section((ROOT / "README.md").read_text(), "Another program")
    (function,), (script,), (part,) = (
        pages.blocks(section, language) for language in ("python", "toml", "ini")
    )
    return function, script, part


@fresh_only
def test_a_program_is_a_function_a_line_and_a_section(
    launch: Launch, redis: Server, added: dict[str, str]
) -> None:
    """Under supervisord it gets ready, and stops with the others."""
    layout = launch(Layout, redis, **added)
    layout.only(worker=1)
    with open(layout.folder / "supervisord.conf", "a") as configuration:
        configuration.write(f"\n{recipe()[2]}")
    layout.start()
    layout.eventually(lambda: "mailer_00 | " in layout.stdout())
    layout.all_ready("mailer")
    assert "waiting for mail" in layout.ctl("ready", "mailer").stdout
    assert layout.shutdown() == 0
    assert "mailer stopped" in layout.stdout()


@fresh_only
def test_it_runs_under_one_parent_too(launch: Launch, redis: Server, added: dict[str, str]) -> None:
    parent: Launcher = launch(launchers.parent, redis, **added)
    parent.start()
    parent.eventually(lambda: "mailer ready: waiting for mail" in parent.stdout())
    assert parent.stop() == [0]
    assert "mailer stopped" in parent.stdout()


@pytest.mark.parametrize(
    ("name", "module", "code"),
    [
        ("app", "api", "import nope"),
        ("beat", "schedule", "def"),
        ("worker", "tasks", "1 / 0"),
        ("worker", "tasks", "import nope"),
    ],
)
def test_a_module_that_cannot_be_imported_is_reported_once(
    folder: Path, redis: Server, name: str, module: str, code: str
) -> None:
    """One traceback, and the status that means: it would be the same the next time."""
    mine = Mine(folder, redis, [f"example-{name}"], **{module: code})
    mine.start()
    assert mine.ends() == 2
    said = mine.stdout()
    assert f"{module}.py cannot be imported" in said
    assert said.count("Traceback") == 1


def test_a_module_that_waits_for_something_may_be_tried_again(folder: Path, redis: Server) -> None:
    mine = Mine(folder, redis, ["example-worker"], tasks="raise ConnectionError('no database yet')")
    mine.start()
    assert mine.ends() == 1
    assert "no database yet" in mine.stdout()


def test_a_module_without_what_it_must_have(folder: Path, redis: Server) -> None:
    mine = Mine(folder, redis, ["example-app"], api="application = None")
    mine.start()
    assert mine.ends() == 2
    assert "wrong module: api.py has no 'app'" in mine.stdout()


def test_a_broken_module_ends_the_layout_at_once(launch: Launch, redis: Server) -> None:
    """It is critical and could never start: nobody tries it again."""
    layout = launch(Layout, redis)
    layout.only(app=1, worker=1)
    layout.environ["PYTHONPATH"] = package(layout.folder / "package", tasks="import nope")
    layout.start()
    layout.eventually(lambda: layout.processes[0].poll() == 70)
    assert layout.stdout().count("No module named 'nope'") == 1


def test_an_address_that_is_not_used_is_reported(launch: Launch, redis: Server) -> None:
    """Under supervisord, which holds the socket; not where it is the same."""
    layout = launch(Layout, redis, PORT="6000", HOST="::1")
    layout.only(app=1)
    layout.start()
    layout.ready()
    assert "HOST and PORT not read: app serves on the socket that it was given" in layout.stdout()
