"""reload: a faulty file ends nothing. That sockets stay open over a reload: test_sockets.py."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ..launchers import SCRIPTS
from ..server import free_port
from .foreign import Foreign

Make = Callable[..., Foreign]

SLEEPER = "[program:sleeper]\ncommand = /bin/sleep 1000\n"
RAISES = "[rpcinterface:other]\nsupervisor.rpcinterface_factory = raises:make\n"
CALLS_MAIN = "import sys; from supervisor.supervisord import main; main(['-n', '-c', sys.argv[1]])"


@pytest.mark.parametrize(
    ("programs", "plugin", "fault"),
    [
        ("[program:broken]\n", "", "program section program:broken does not specify a command"),
        (SLEEPER, "wakes = on", "[rpcinterface:supervision] unknown part: wakes"),
        (RAISES, "", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_faulty_file_ends_nothing(
    foreign: Make, folder: Path, programs: str, plugin: str, fault: str
) -> None:
    """By HUP and by supervisorctl; once it is mended, the reload comes."""
    (folder / "raises.py").write_text("1 / 0\n")
    here = foreign(SLEEPER, PYTHONPATH=str(folder)).start()
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


def test_a_program_that_calls_main_may_reload(foreign: Make) -> None:
    """The file is then not in the command line."""
    here = foreign(SLEEPER)
    here.command = [SCRIPTS / "python", "-c", CALLS_MAIN, here.conf]
    here.start()
    here.reload()


def test_a_socket_stays_open_also_by_python_m(foreign: Make) -> None:
    """supervisord's class is then another than the one that others import."""
    port = free_port()
    here = foreign(
        f"[fcgi-program:sleeper]\ncommand = /bin/sleep 1000\nsocket = tcp://127.0.0.1:{port}\n"
    )
    here.command = [SCRIPTS / "python", "-m", "supervisor.supervisord", "-n", "-c", here.conf]
    here.start()
    here.running("sleeper")
    here.reload()
    here.running("sleeper")
    assert here.term() == 0


def test_off_is_stock(foreign: Make) -> None:
    here = foreign(SLEEPER, "reload = off").start()
    here.running("sleeper")
    here.write("[program:broken]\n", "reload = off")
    assert here.process
    here.process.send_signal(signal.SIGHUP)
    assert here.wait() == 2
