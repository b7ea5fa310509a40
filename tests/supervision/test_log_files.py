"""Log files that cannot be opened are named, and cost supervisord nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ..launchers import open_files
from .foreign import Foreign
from .test_startup import SLEEPER, refusal

Make = Callable[..., Foreign]

LISTENER = "[eventlistener:sleeper]\ncommand = /bin/sleep 1000\nevents = TICK_5\n"


def test_supervisords_own_log_is_named(foreign: Make, folder: Path) -> None:
    (folder / "supervisord.log").mkdir()
    said = refusal(foreign(SLEEPER))
    assert f"logfile = {folder}/supervisord.log: Is a directory; let this user" in said


@pytest.mark.parametrize("program", [SLEEPER, LISTENER])
def test_a_programs_log_is_named_and_no_descriptor_is_lost(
    foreign: Make, folder: Path, program: str
) -> None:
    log = folder / "gone" / "program.log"
    log.parent.mkdir()
    here = foreign(f"{program}autostart = false\nstderr_logfile = {log}\nstartretries = 0\n")
    here.start()
    log.parent.rmdir()
    assert here.process
    before = but_sockets(here.process.pid)
    for _ in range(3):
        assert "spawn error" in here.ctl("start", "sleeper").stdout
    assert but_sockets(here.process.pid) == before
    assert f"making dispatchers for 'sleeper': ENOENT: {log}" in here.log()


def but_sockets(pid: int) -> list[str]:
    """What is open, but for the sockets: supervisorctl's may be, or may just have been, closed."""
    return sorted(each for each in open_files(pid) if not each.startswith("socket:"))


def test_supervisord_may_have_no_output_at_all(foreign: Make) -> None:
    """As after `>&-` in a shell, and with some launchers of daemons."""
    here = foreign(SLEEPER)
    here.command = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *here.command]
    here.start()
    here.running("sleeper")
    assert here.term() == 0
