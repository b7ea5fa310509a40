"""Signals in the first moments."""

import signal
from collections.abc import Callable
from pathlib import Path

from .foreign import Foreign

Make = Callable[..., Foreign]

SLOW = "[rpcinterface:slow]\nsupervisor.rpcinterface_factory = tests.supervision.slow_exec:make\n"
SLEEP = "[program:sleep]\ncommand = sleep 1000\nstartsecs = 0\nautostart = false\n"


def test_a_stop_right_after_a_start_is_heard(foreign: Make) -> None:
    """Before the program is what runs: supervisord's own handlers are still there then."""
    here = foreign(SLOW + SLEEP, PYTHONPATH=str(Path(__file__).parent.parent.parent)).start()
    here.ask("startProcess", "sleep")
    assert here.ask("stopProcess", "sleep")
    assert "stopped: sleep (terminated by SIGTERM)" in here.log()
    assert "SIGKILL" not in here.log()


def test_a_stop_that_was_held_back_is_heard(foreign: Make) -> None:
    """As PID 1 supervisord would not get what comes before it listens."""
    here = foreign(SLEEP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        process = here.spawn()
        process.send_signal(signal.SIGTERM)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert here.wait() == 0
