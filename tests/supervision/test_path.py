"""path: which Python's commands run."""

import os
from collections.abc import Callable
from pathlib import Path

from ..launchers import SCRIPTS
from .foreign import Foreign

Make = Callable[..., Foreign]

# By a bare name that is there twice, in another venv and beside supervisord.
PYTHON = "[program:which]\ncommand = python -c 'import time; time.sleep(1000)'\n"


def other_venv(folder: Path) -> Path:
    """Another venv, which comes first on PATH."""
    (folder / "venv").mkdir()
    python = folder / "venv" / "python"
    python.write_text("#!/bin/sh\nexec sleep 1000\n")
    python.chmod(0o755)
    return python


def runs(here: Foreign, program: str) -> str:
    return Path(f"/proc/{here.pid(program)}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def environ(here: Foreign, program: str) -> list[str]:
    return Path(f"/proc/{here.pid(program)}/environ").read_text().split("\0")


def test_a_foreign_path_is_kept(foreign: Make, folder: Path) -> None:
    """Its venv is found first, and its programs get the PATH they had; ours is searched last."""
    python = other_venv(folder)
    path = f"{python.parent}:/usr/bin:/bin"
    last = "[program:last]\ncommand = pidproxy /none sleep 1000\n"
    here = foreign(PYTHON + last, PATH=path).start()
    here.running("which", "last")
    assert runs(here, "which") == "sleep 1000 "
    assert str(SCRIPTS) in runs(here, "last")
    assert f"PATH={path}" in environ(here, "which")


def test_first_where_the_file_asks(foreign: Make, folder: Path) -> None:
    """Also where the folder is on PATH already, behind another."""
    path = f"{other_venv(folder).parent}:{SCRIPTS}:/usr/bin:/bin"
    here = foreign(PYTHON, "path = first", PATH=path).start()
    here.running("which")
    assert runs(here, "which").startswith("python -c")
    [found] = [each for each in environ(here, "which") if each.startswith("PATH=")]
    assert found.startswith(f"PATH={SCRIPTS}{os.pathsep}")


def test_an_empty_path_is_supervisords_own(foreign: Make) -> None:
    here = foreign("[program:sleep]\ncommand = sleep 1000\n", PATH="").start()
    here.running("sleep")
    assert "PATH=" in environ(here, "sleep")
