"""reload: a faulty file ends nothing. That sockets stay open over a reload: test_sockets.py."""

import signal
from collections.abc import Callable

import pytest

from .foreign import Foreign

Make = Callable[..., Foreign]

SLEEPER = "[program:sleeper]\ncommand = /bin/sleep 1000\n"


@pytest.mark.parametrize(
    ("programs", "plugin", "fault"),
    [
        ("[program:broken]\n", "", "program section program:broken does not specify a command"),
        (SLEEPER, "wakes = on", "[rpcinterface:supervision] unknown part: wakes"),
    ],
)
def test_a_faulty_file_ends_nothing(foreign: Make, programs: str, plugin: str, fault: str) -> None:
    """By HUP and by supervisorctl; once it is mended, the reload comes."""
    here = foreign(SLEEPER).start()
    here.running("sleeper")
    pid = here.pid("sleeper")
    here.write(programs, plugin)
    assert here.process
    here.process.send_signal(signal.SIGHUP)
    here.eventually(lambda: here.log().count(f"no reload: {fault}") == 1)
    here.ctl("reload")
    here.eventually(lambda: here.log().count(f"no reload: {fault}") == 2)
    assert here.pid("sleeper") == pid
    here.write(SLEEPER)
    here.process.send_signal(signal.SIGHUP)
    here.eventually(lambda: here.log().count("supervisord started") == 2)
    here.replaced("sleeper", pid)
    assert here.term() == 0


def test_off_is_stock(foreign: Make) -> None:
    here = foreign(SLEEPER, "reload = off").start()
    here.running("sleeper")
    here.write("[program:broken]\n", "reload = off")
    assert here.process
    here.process.send_signal(signal.SIGHUP)
    assert here.wait() == 2
