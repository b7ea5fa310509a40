"""wake: signals are handled when they come."""

import time
from collections.abc import Callable
from pathlib import Path

from .foreign import Foreign

Make = Callable[..., Foreign]

FIVE = "\n".join(f"[program:p{n}]\ncommand = /bin/sleep 1000\npriority = {n}" for n in range(5))


def test_what_dies_at_once_is_never_shown_running(foreign: Make) -> None:
    """Twenty of twenty reach FATAL on the way through BACKOFF only."""
    here = foreign(
        "[program:f]\ncommand=/bin/false\nprocess_name=%(process_num)d\nnumprocs=20\nstartretries=2"
    ).start()
    here.eventually(lambda: set(here.table().values()) == {"FATAL"})
    assert "success" not in here.log()


def test_a_stop_does_not_wait_for_the_clock(foreign: Make) -> None:
    """Five groups stop several times sooner than with wake off, also those that do not run."""
    took = []
    for plugin in ("", "wake = off"):
        here = foreign(FIVE, plugin).start()
        here.running("p0", "p1", "p2", "p3", "p4")
        here.ask("stopProcess", "p1")
        here.ask("stopProcess", "p3")
        before = time.monotonic()
        assert here.term() == 0
        took.append(time.monotonic() - before)
    assert took[0] * 3 < took[1], took


def test_a_stop_of_one_process_leaves_the_core_to_it(foreign: Make) -> None:
    """While supervisorctl waits for its end, supervisord works less than with wake off."""
    slow = "[program:slow]\ncommand = sh -c 'trap \"exec sleep 0.5\" TERM; read -r _'"
    worked = []
    for plugin in ("", "wake = off"):
        here = foreign(slow, plugin).start()
        here.running("slow")
        before = cpu(here)
        here.ask("stopProcess", "slow")
        worked.append(cpu(here) - before)
        assert here.table() == {"slow": "STOPPED"}
        assert here.term() == 0
    assert worked[0] * 3 < worked[1], worked


def cpu(here: Foreign) -> int:
    """Of supervisord, so far, in nanoseconds."""
    assert here.process
    return int(Path(f"/proc/{here.process.pid}/schedstat").read_text().split()[0])


def test_reloads_leave_no_descriptor_behind(foreign: Make) -> None:
    """The wake-up number is given back: after three reloads TERM and a crash are still seen."""
    here = foreign(FIVE).start()
    for _ in range(3):
        here.running("p0", "p1", "p2", "p3", "p4")
        old = here.pid("p0")
        here.reload()
        here.replaced("p0", old)
    here.running("p0", "p1", "p2", "p3", "p4")
    assert "Traceback" not in here.log()
    assert here.term() == 0
