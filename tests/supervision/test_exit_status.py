"""critical: a FATAL program that matters ends supervisord with a status that tells it."""

import subprocess
from collections.abc import Callable

import pytest

from .foreign import Foreign

Make = Callable[..., Foreign]

PROGRAMS = """
[program:bad]
command = /bin/false
startretries = 1
priority = 1

[program:good]
command = /bin/sleep 1000
priority = 2
"""


def test_a_fatal_program_stops_the_rest_and_shows_in_the_status(foreign: Make) -> None:
    here = foreign(PROGRAMS, "critical = bad").start()
    assert here.wait() == 70
    log = here.log()
    assert log.index("bad is FATAL: stopping all, exit status 70") < log.index("stopped: good")


def test_a_program_lives_as_long_as_one_of_its_processes(foreign: Make) -> None:
    """A process that cannot start any more stops neither its siblings nor the rest."""
    pair = (
        "[program:pair]\ncommand=/bin/sh -c '[ %(process_num)d = 1 ] && exec sleep 1000; exit 1'\n"
        "numprocs=2\nprocess_name=%(program_name)s_%(process_num)d\nstartretries=0\n"
    )
    here = foreign(pair, "critical = pair").start()
    here.eventually(lambda: here.table().get("pair:pair_0") == "FATAL")
    here.running("pair:pair_1")
    assert "pair_0 is FATAL; 1 of pair go on" in here.log()
    assert here.lives()


def test_what_is_not_critical_changes_nothing(foreign: Make) -> None:
    here = foreign(PROGRAMS, "critical = good").start()
    here.eventually(lambda: here.table()["bad"] == "FATAL")
    assert here.table()["good"] == "RUNNING"
    assert here.term() == 0


@pytest.mark.parametrize("how", ["TERM", "shutdown"])
def test_a_stop_is_no_failure_even_in_backoff(foreign: Make, how: str) -> None:
    here = foreign(PROGRAMS.replace("startretries = 1", "startretries = 50"), "critical = all")
    here.start()
    here.eventually(lambda: here.table()["bad"] == "BACKOFF")
    if how == "shutdown":
        here.ctl("shutdown")
        assert here.wait() == 0
    else:
        assert here.term() == 0


def test_after_a_reload_too(foreign: Make) -> None:
    here = foreign("[program:good]\ncommand=/bin/sleep 1000", "critical = all").start()
    here.running("good")
    here.write(PROGRAMS, "critical = all")
    here.ctl("reload")
    assert here.wait() == 70


def test_as_pid_1(foreign: Make) -> None:
    """In a process namespace of its own, as in a container."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make a process namespace")
    here = foreign(PROGRAMS, "critical = bad")
    here.command = [*unshare, *map(str, here.command)]
    assert here.start().wait() == 70


def test_a_program_in_a_group_may_be_critical(foreign: Make) -> None:
    """By its own name, while the others of its group are not."""
    pair = "[group:pair]\nprograms = bad,good\n"
    here = foreign(pair + PROGRAMS, "critical = bad").start()
    assert here.wait() == 70


def test_a_group_is_critical_as_a_whole(foreign: Make) -> None:
    pair = "[group:pair]\nprograms = bad,good\n"
    here = foreign(pair + PROGRAMS, "critical = pair").start()
    here.eventually(lambda: here.table() == {"pair:bad": "FATAL", "pair:good": "RUNNING"})
    assert here.lives()
