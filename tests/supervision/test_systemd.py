"""The systemd units: supervisord with its programs, or these without it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ..launchers import SCRIPTS
from ..layout import ROOT


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("program", ["app", "beat", "worker"])
def test_the_unit_is_valid(folder: Path, program: str) -> None:
    """By systemd's own judgement, which wants the command to exist."""
    unit = (ROOT / "deploy" / "systemd" / "example@.service").read_text()
    file = folder / f"example@{program}.service"
    file.write_text(unit.replace("/srv/example/current/.venv/bin", str(SCRIPTS)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", file], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_unit_of_supervisord_is_valid(folder: Path) -> None:
    unit = (ROOT / "deploy" / "systemd" / "example.service").read_text()
    file = folder / "example.service"
    file.write_text(unit.replace("/srv/example/current/.venv/bin", str(SCRIPTS)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", file], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
