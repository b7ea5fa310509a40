"""supervisorctl ready and roll."""

from collections.abc import Callable
from pathlib import Path

from .foreign import Foreign
from .test_notify import program

Make = Callable[..., Foreign]

SLEEPERS = """
[program:sleeper]
command = /bin/sleep 1000
process_name = sleeper_%(process_num)d
numprocs = 3
"""
NEVER_STARTED = "[program:spare]\ncommand = /bin/sleep 1000\nautostart = false\n"
DONE = "[program:done]\ncommand = /bin/true\nstartsecs = 0\n"
BAD = "[program:bad]\ncommand = /bin/false\nstartretries = 0\n"


def test_ready_shows_every_process_and_tells_by_its_status(foreign: Make) -> None:
    """Who has ended as expected, or is not meant to start, is no failure; who is FATAL is."""
    here = foreign(SLEEPERS + NEVER_STARTED + DONE + BAD).start()
    here.running("sleeper:sleeper_0", "sleeper:sleeper_1", "sleeper:sleeper_2")
    here.eventually(lambda: here.table()["bad"] == "FATAL")
    good = here.ctl("ready", "sleeper", "spare", "done")
    assert good.returncode == 0, good.stdout
    bad = here.ctl("ready")
    assert bad.returncode == 1
    heading, *rows = bad.stdout.splitlines()
    assert heading.split() == [
        *("PROCESS", "STATE", "READY", "WATCHDOG", "RESTARTS"),
        *("LAST", "EXIT", "MEMORY", "CPU", "STATUS"),
    ]
    assert len(rows) == 6
    [row] = [row for row in rows if row.startswith("bad")]
    assert "exit status 1" in row


def test_ready_waits(foreign: Make) -> None:
    here = foreign(SLEEPERS).start()
    assert here.ctl("ready", "--wait", "10").returncode == 0
    here.ctl("stop", "sleeper:sleeper_1")
    assert here.ctl("ready", "--wait", "0.5").returncode == 1
    row = here.ctl("ready", "sleeper:sleeper_1").stdout.splitlines()[1]
    assert "SIGTERM, stopped" in row


def test_ready_has_clear_errors(foreign: Make) -> None:
    here = foreign(SLEEPERS).start()
    for words, message in (
        (["nobody"], "no such program or process: nobody"),
        (["--wait"], "--wait takes a number of seconds"),
        (["--wait", "soon"], "--wait takes a number of seconds"),
        (["--wait", "nan"], "--wait takes a number of seconds"),
        (["--wait", "-1"], "--wait takes a number of seconds"),
    ):
        done = here.ctl("ready", *words)
        assert done.returncode == 2
        assert message in done.stdout


def test_roll_replaces_one_by_one(foreign: Make) -> None:
    """Each is stopped only when the one before is up again; who was stopped by hand stays so."""
    here = foreign(SLEEPERS).start()
    here.running("sleeper:sleeper_0", "sleeper:sleeper_1", "sleeper:sleeper_2")
    here.ctl("stop", "sleeper:sleeper_2")
    before = here.pid("sleeper:sleeper_0"), here.pid("sleeper:sleeper_1")
    done = here.ctl("roll", "sleeper")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[0] == "sleeper:sleeper_2: STOPPED, left alone"
    assert done.stdout.splitlines()[1].startswith("sleeper:sleeper_0: ready after ")
    assert done.stdout.splitlines()[2].startswith("sleeper:sleeper_1: ready after ")
    assert before[0] != here.pid("sleeper:sleeper_0")
    assert before[1] != here.pid("sleeper:sleeper_1")
    log = here.log()
    assert log.rindex("success: sleeper_0") < log.rindex("stopped: sleeper_1")


def test_roll_waits_for_ready_not_for_running(foreign: Make, folder: Path) -> None:
    code = 'time.sleep(2.5); say("READY=1"); time.sleep(1000)'
    here = foreign(program(folder, "slow", code), "ready = slow").start()
    here.eventually(lambda: here.ctl("ready").returncode == 0)
    assert "slow: not ready within 1 s" in here.ctl("roll", "slow", "--wait", "1").stdout
    here.eventually(lambda: here.ctl("ready").returncode == 0)
    assert "slow: ready after " in here.ctl("roll", "slow").stdout


def test_roll_stops_at_the_first_failure(foreign: Make, folder: Path) -> None:
    """And tells who runs the old version still."""
    script = folder / "version"
    script.write_text("#!/bin/sh\nexec sleep 1000\n")
    script.chmod(0o755)
    here = foreign(SLEEPERS.replace("/bin/sleep 1000", str(script))).start()
    here.running("sleeper:sleeper_0", "sleeper:sleeper_1", "sleeper:sleeper_2")
    kept = here.pid("sleeper:sleeper_1")
    script.write_text("#!/bin/sh\nexit 1\n")
    done = here.ctl("roll", "sleeper")
    assert done.returncode == 1
    assert "sleeper:sleeper_0: BACKOFF instead of ready" in done.stdout
    assert "not restarted: sleeper:sleeper_1, sleeper:sleeper_2" in done.stdout
    assert here.pid("sleeper:sleeper_1") == kept


def test_roll_has_clear_errors(foreign: Make) -> None:
    here = foreign(SLEEPERS).start()
    assert "no such program or process: nobody" in here.ctl("roll", "nobody").stdout
    assert "roll takes one group" in here.ctl("roll").stdout
    assert here.ctl("roll").returncode == 2


def test_verbs_tell_when_supervisord_is_away(foreign: Make) -> None:
    here = foreign(SLEEPERS).start()
    here.term()
    done = here.ctl("ready")
    assert done.returncode != 0
    assert "no such file" in done.stdout
