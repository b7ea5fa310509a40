"""The console scripts take no arguments, and say so."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from .launchers import SCRIPTS
from .layout import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMANDS = [
    *([str(SCRIPTS / name)] for name in PROJECT["scripts"]),
    [sys.executable, "-m", "example"],
]


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: Path(command[-1]).name)
def test_help_tells_what_it_is_and_anything_else_is_refused(command: list[str]) -> None:
    """Without starting anything, also where the settings are wrong."""
    done = run(*command, "--help", PORT="many")
    assert done.returncode == 0, done.stderr
    # Which reads no settings.
    health = command[0].endswith("-health")
    assert ("HEALTH_FILE" if health else "REDIS_URL") in done.stdout
    done = run(*command, "--port=80", "help")
    assert (done.returncode, done.stdout) == (2, "")
    # One of them has commands.
    assert re.search("unrecognized arguments: --port=80 help|invalid choice: 'help'", done.stderr)


@pytest.mark.parametrize("command", [COMMANDS[0], COMMANDS[-1]], ids=["script", "parent"])
def test_version_is_that_of_the_project(command: list[str]) -> None:
    done = run(*command, "--version", PORT="many")
    assert (done.returncode, done.stdout) == (0, f"{PROJECT['version']}\n")


def test_arguments_of_a_launcher_of_ones_own_are_its_own() -> None:
    """`start_…` looks at none: here of a program that finds itself not needed."""
    code = "import example; example.start_redis()"
    assert run(sys.executable, "-c", code, "--help", REDIS_URL="redis://192.0.2.1").returncode == 4
