"""supervisorctl ready."""

import os
import pty
import re
import signal
import termios
from collections.abc import Callable, Iterator

from example.supervision import show

from .foreign import Foreign

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
    """One that has ended as expected, or is not meant to start, is no failure; FATAL is."""
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


def test_ages_are_in_the_unit_that_fits_whatever_the_clock_does() -> None:
    row = {"name": "x", "state": "RUNNING", "ready_seconds": 300_000, "restarts": 1}
    row |= {"last_exit": "exit status 1", "last_exit_why": "", "last_exit_at": 1000.0}
    _, later = show.table([row], now=1500.0)
    assert "RUNNING  3 d 11 h" in later
    assert "exit status 1, 8 min ago" in later
    _, after_the_clock_was_set_back = show.table([row], now=10.0)
    assert "exit status 1, 0 s ago" in after_the_clock_was_set_back


def test_ready_waits(foreign: Make) -> None:
    here = foreign(SLEEPERS).start()
    assert here.ctl("ready", "--wait", "10").returncode == 0
    here.ctl("stop", "sleeper:sleeper_1")
    assert here.ctl("ready", "--wait", "0.5").returncode == 1
    row = here.ctl("ready", "sleeper:sleeper_1").stdout.splitlines()[1]
    assert "SIGTERM, stopped" in row


def test_ready_waits_for_supervisord_too(foreign: Make) -> None:
    """As in a script that has just started it."""
    here = foreign(SLEEPERS)
    assert "supervisord does not answer" in here.ctl("ready", "--wait", "0.2").stdout
    waiting = here.ctl_popen("ready", "--wait", "20")
    here.start()
    out, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == 0, out


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


def test_ready_follows(foreign: Make) -> None:
    """It shows the table anew until Ctrl-C, also while supervisord is away and back."""
    here = foreign(SLEEPERS).start()
    assert here.ctl("ready", "all", "--wait", "10").returncode == 0
    with here.ctl_popen("ready", "sleeper", "--follow") as follow:
        assert follow.stdout
        line = iter(follow.stdout)
        until(line, "PROCESS")
        until(line, "PROCESS")
        here.term()
        until(line, "supervisord does not answer")
        here.start()
        until(line, "PROCESS")
        here.ctl("ready", "--wait", "10")
        until(line, "yes")
        follow.send_signal(signal.SIGINT)
        assert follow.wait(10) == 0


def test_ready_follows_on_a_terminal(foreign: Make) -> None:
    """Each table takes the place of the one before, cut to the terminal as it is then."""
    here = foreign(SLEEPERS).start()
    leader, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 40))
    follow = here.ctl_popen("ready", "--follow", stdout=terminal)
    os.close(terminal)
    seen = b""
    while seen.count(b"\x1b[HPROCESS") < 2:
        seen += os.read(leader, 4096)
    wide = longest(seen)
    termios.tcsetwinsize(leader, (3, 60))
    while b"... and 3 more" not in seen:
        seen += os.read(leader, 4096)
    follow.send_signal(signal.SIGINT)
    follow.wait(10)
    os.close(leader)
    assert (wide, longest(seen)) == (40, 60)


def longest(seen: bytes) -> int:
    return max(map(len, re.sub(rb"\x1b\[[HJK]", b"", seen).split(b"\r\n")))


def until(lines: Iterator[str], start: str) -> None:
    """Read on until a line has `start` in it."""
    assert any(start in line for line in lines)


def test_verbs_tell_when_supervisord_is_away(foreign: Make) -> None:
    here = foreign(SLEEPERS).start()
    here.term()
    done = here.ctl("ready")
    assert done.returncode != 0
    assert "no such file" in done.stdout
