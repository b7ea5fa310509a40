"""The program that README.md adds, word for word."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import launchers
from .launchers import Launcher
from .layout import ROOT, Layout
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
    section = (ROOT / "README.md").read_text().split("### Another program\n")[1].split("\n## ")[0]
    function, script, part = re.findall(r"```\w+\n(.*?)```", section, re.DOTALL)
    return function, script, part


def test_a_program_is_a_function_a_line_and_a_section(
    launch: Launch, redis: Server, added: dict[str, str]
) -> None:
    """Under supervisord it gets ready, and stops with the others."""
    layout = launch(Layout, redis, **added)
    with open(layout.folder / "supervisord.conf", "a") as configuration:
        configuration.write(f"\n{recipe()[2]}")
    layout.start()
    layout.eventually(lambda: "mailer | " in layout.stdout())
    layout.eventually(lambda: layout.ctl("ready", "mailer").returncode == 0)
    assert "waiting for mail" in layout.ctl("ready", "mailer").stdout
    assert layout.shutdown() == 0
    assert "mailer stopped" in layout.stdout()


def test_it_runs_under_one_parent_too(launch: Launch, redis: Server, added: dict[str, str]) -> None:
    parent: Launcher = launch(launchers.parent, redis, **added)
    parent.start()
    parent.eventually(lambda: "mailer ready: waiting for mail" in parent.stdout())
    assert parent.stop() == [0]
    assert "mailer stopped" in parent.stdout()
