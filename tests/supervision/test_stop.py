"""stop: in order of priority, and within one bound."""

import contextlib
import signal
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from xmlrpc.client import MultiCall, ServerProxy

import pytest
from supervisor.xmlrpc import SupervisorTransport

from ..launchers import lives
from .foreign import Foreign
from .test_notify import program

Make = Callable[..., Foreign]


def group(name: str, priority: int, drains: str) -> str:
    """A program that takes `drains` seconds to stop, or for ever. Nobody writes to its stdin."""
    trap = f'trap "echo {name} stops; sleep {drains}; echo {name} done; exit 0" TERM'
    command = f"/bin/sh -c '{trap}; echo {name} up; read -r _'"
    return (
        f"[program:{name}]\ncommand = {command}\npriority = {priority}\nstopwaitsecs = 60\n"
        "stdout_events_enabled = true\n"
    )


def up(here: Foreign, *names: str) -> None:
    here.running(*names)
    here.eventually(lambda: all(f"{name} up" in here.stdout() for name in names))


def test_the_last_to_start_is_the_first_to_stop(foreign: Make) -> None:
    """Each group has ended before the next is told to stop."""
    programs = group("store", 1, "0.1") + group("work", 2, "0.5") + group("cron", 3, "0.1")
    here = foreign(programs, "stop = 9").start()
    up(here, "store", "work", "cron")
    assert here.term() == 0
    said = [line for line in here.stdout().splitlines() if "stops" in line or "done" in line]
    order = [
        f"{name} | {name} {what}"
        for name in ("cron", "work", "store")
        for what in ("stops", "done")
    ]
    assert said == order
    assert "SIGKILL" not in here.log()


def test_groups_of_one_priority_stop_together(foreign: Make) -> None:
    """Neither waits for the other, nor takes of its time: both need more than half the bound."""
    programs = group("store", 1, "0.1") + group("one", 2, "3") + group("two", 2, "3")
    here = foreign(programs, "stop = 6").start()
    up(here, "store", "one", "two")
    assert here.term() == 0
    assert "SIGKILL" not in here.log()
    said = [line for line in here.stdout().splitlines() if "stops" in line or "done" in line]
    assert {line.partition(" | ")[2] for line in said[:2]} == {"one stops", "two stops"}
    assert said[4:] == ["store | store stops", "store | store done"]


def test_all_together_stay_within_the_bound(foreign: Make) -> None:
    """Two groups that never end are killed, and the last one still has its time to end well."""
    programs = group("store", 1, "0.2") + group("stuck", 2, "100") + group("stuck2", 3, "100")
    here = foreign(programs, "stop = 6").start()
    up(here, "store", "stuck", "stuck2")
    before = time.monotonic()
    assert here.term() == 0
    assert time.monotonic() - before < 6 + 2
    assert "killing 'stuck' " in here.log()
    assert "killing 'stuck2' " in here.log()
    assert "store | store done" in here.stdout()


def test_many_groups_get_a_share_each(foreign: Make) -> None:
    """Also where there are more groups than seconds nobody is killed who ends in time."""
    programs = "".join(group(f"p{n:02d}", n, "0") for n in range(12))
    here = foreign(programs, "stop = 5").start()
    up(here, *(f"p{n:02d}" for n in range(12)))
    assert here.term() == 0
    assert "SIGKILL" not in here.log()


def test_a_second_signal_ends_it_now(foreign: Make) -> None:
    """Half a second or more after the first. Groups whose turn has not come are killed too."""
    here = foreign(group("store", 1, "100") + group("stuck", 2, "100"), "stop = 60").start()
    up(here, "store", "stuck")
    assert here.process
    here.process.terminate()
    here.eventually(lambda: "stuck stops" in here.stdout())
    told = time.monotonic()
    here.eventually(lambda: time.monotonic() - told > 0.5)
    assert here.term(within=5) == 0
    assert "store stops" not in here.stdout()
    assert not any(lives(pid) for pid in here.pids)


def test_a_repeat_within_half_a_second_is_the_same(foreign: Make) -> None:
    """TERM and INT in quick succession: what is in hand has its time."""
    here = foreign(group("slow", 1, "1"), "stop = 60").start()
    up(here, "slow")
    assert here.process
    here.process.send_signal(signal.SIGINT)
    assert here.term() == 0
    assert "received SIGINT" in here.log()
    assert "received SIGTERM" in here.log()
    assert "slow | slow done" in here.stdout()


def test_a_first_signal_is_none_too_many(foreign: Make) -> None:
    """During a stop that began in another way, as by `supervisorctl shutdown`."""
    here = foreign(group("slow", 1, "2"), "stop = 60").start()
    up(here, "slow")
    here.ctl("shutdown")
    here.eventually(lambda: "slow stops" in here.stdout())
    assert here.term() == 0
    assert "slow | slow done" in here.stdout()


def drainer(folder: Path, says: str) -> str:
    """A program that takes 2.5 s to stop, of which the file allows 1."""
    code = f"""
        import signal
        signal.signal(signal.SIGTERM, lambda *_: (time.sleep(2.5), print("drained"), sys.exit(0)))
        say("READY=1\\nX_STOP_SECONDS={says}")
        time.sleep(1000)
    """
    return program(folder, "drainer", code, "stopwaitsecs = 1")


@pytest.mark.parametrize(("says", "drains"), [("4", True), ("0.5", False), ("long", False)])
def test_a_program_may_say_how_long_it_takes(
    foreign: Make, folder: Path, says: str, drains: bool
) -> None:
    """Longer than its stopwaitsecs, which is for those who say nothing, or no sense."""
    here = foreign(drainer(folder, says), "logs = on\nstop = 9").start()
    here.eventually(lambda: "ready: drainer" in here.log())
    here.ask("stopProcessGroup", "drainer")  # stopProcess has supervisord turn without rest
    assert ("drained" in here.stdout()) == drains
    assert ("SIGKILL" in here.log()) != drains
    assert "may take" not in here.log()


def test_what_a_program_says_does_not_go_beyond_the_bound(foreign: Make, folder: Path) -> None:
    """One line at the start says how much is cut off when everything stops."""
    store = group("store", 1, "0")
    here = foreign(store + drainer(folder, "30"), "stop = 2").start()
    warning = "drainer may take 30 s to stop; stop = 2 leaves it 1.3"
    here.eventually(lambda: warning in here.log())
    here.running("store")
    assert here.term() == 0
    assert here.log().count("may take") == 1
    assert "SIGKILL" in here.log()
    assert "drained" not in here.log()


def test_a_stop_in_the_same_turn_takes_no_time_away(foreign: Make, folder: Path) -> None:
    """One that `scale` takes away just then drains as all others do."""
    many = "numprocs = 2\nprocess_name = slow_%(process_num)d\n"
    here = foreign(group("slow", 1, "1") + many, "stop = 60").start()
    here.running("slow:slow_0", "slow:slow_1")
    here.eventually(lambda: here.stdout().count("slow up") == 2)
    transport = SupervisorTransport("local", "local", f"unix://{folder}/s.sock")
    with ServerProxy("http://127.0.0.1", transport) as server:
        both = MultiCall(server)
        both.supervisor.shutdown()
        both.supervision.scale("slow", 1)
        # No answer may come, since supervisord ends.
        with contextlib.suppress(OSError, HTTPException):
            both()
    assert here.wait() == 0
    assert here.stdout().count("slow done") == 2


def test_off_is_stock(foreign: Make) -> None:
    """Each group has its own stopwaitsecs."""
    programs = group("slow", 1, "2").replace("stopwaitsecs = 60", "stopwaitsecs = 20")
    here = foreign(programs, "stop = off").start()
    up(here, "slow")
    assert here.term() == 0
    assert "slow | slow done" in here.stdout()
