"""roll: a new version replaces one process after the other; a broken version replaces none."""

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .. import asking
from .foreign import Foreign
from .test_notify import program

Make = Callable[..., Foreign]

MANY = (
    "numprocs = 3\nprocess_name = %(program_name)s_%(process_num)d\nautorestart = true\n"
    "stopwaitsecs = 60\n"
)
NAMES = [f"work:work_{n}" for n in range(3)]
GOOD = """
    print("I am", os.environ["SUPERVISOR_PROCESS_NAME"])
    say("READY=1\\nSTATUS=at work")
    time.sleep(1000)
"""
SLOW = (
    """
    while not os.path.exists(sys.argv[0] + ".go"):
        time.sleep(0.05)
"""
    + GOOD
)
BAD = "import nope"
BRIEF = "say('READY=1'); time.sleep(0.3); sys.exit(3)"


def work(folder: Path, code: str = GOOD, more: str = MANY) -> str:
    """A program of several processes that say when they are ready."""
    return program(folder, "work", code, more)


@pytest.fixture
def here(foreign: Make, folder: Path) -> Foreign:
    """Three processes, ready."""
    started = foreign(work(folder), "ready = work").start()
    started.ready()
    return started


def pids(here: Foreign) -> list[int]:
    return [here.pid(name) for name in NAMES]


def release(folder: Path, code: str) -> None:
    """A new version of the program's code."""
    program(folder, "work", code)


def rolling(here: Foreign, *words: str) -> subprocess.Popen[str]:
    """A roll under way, with its first successor there."""
    roll = here.ctl_popen("roll", "work", *words)
    here.eventually(lambda: "work:work_0.next" in here.table())
    return roll


def test_each_is_replaced_when_its_successor_is_ready(here: Foreign) -> None:
    """Under the same names, with the same log, and nothing for `update` to do."""
    before = pids(here)
    done = here.ctl("roll", "work")
    assert done.returncode == 0, done.stdout
    said = done.stdout.splitlines()
    assert all(line.startswith(f"{n}: ready after ") for line, n in zip(said, NAMES, strict=True))
    assert list(here.table()) == NAMES
    here.running(*NAMES)
    assert not set(before) & set(pids(here))
    log = here.log()
    for n in range(3):
        assert log.index(f"ready: work_{n}.next") < log.index(f"stopped: work_{n} ")
    assert "No config updates" in here.ctl("reread").stdout
    assert here.ctl("update").stdout == ""
    assert here.ctl("tail", "work:work_0").stdout.count("I am work_0\n") == 2
    assert here.ctl("ready", "work").stdout.count("at work") == 3
    here.restart(*NAMES)
    assert here.ctl("roll", "work:*").returncode == 0


def test_several_are_rolled_one_after_another(here: Foreign) -> None:
    """Up to the first that fails."""
    before = pids(here)
    done = here.ctl("roll", "work:work_0", "nobody", "work:work_1")
    assert done.returncode == 1
    after = pids(here)
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, True, True]


@pytest.mark.parametrize(
    ("code", "why"),
    [(BAD, "exit status 1"), (SLOW, "within 1 s"), (BRIEF, "exit status 3")],
)
def test_a_broken_version_leaves_the_old_ones_running(
    here: Foreign, folder: Path, code: str, why: str
) -> None:
    """One that dies, never becomes ready, or is ready for a moment only. Once fixed, it rolls."""
    before = pids(here)
    release(folder, code)
    done = here.ctl("roll", "work", "--wait", "1")
    assert done.returncode == 1
    assert "work:work_0: the new one is " in done.stdout
    assert why in done.stdout
    assert "the old one goes on; see: tail work:work_0" in done.stdout
    assert f"not replaced: {', '.join(NAMES)}" in done.stdout
    assert list(here.table()) == NAMES
    assert pids(here) == before
    assert asking.ready(here.socket)
    release(folder, GOOD)
    assert here.ctl("roll", "work").returncode == 0
    assert not set(before) & set(pids(here))


def test_a_successor_that_is_killed_takes_nothing_over(here: Foreign, folder: Path) -> None:
    before = pids(here)
    release(folder, SLOW)
    roll = rolling(here)
    os.kill(here.pid("work:work_0.next"), signal.SIGKILL)
    out, _ = roll.communicate(timeout=20)
    assert roll.returncode == 1
    assert "terminated by SIGKILL" in out
    assert pids(here) == before


def test_ctrl_c_leaves_every_process_as_it_was(here: Foreign, folder: Path) -> None:
    """Or replaced; it says which are not."""
    before = pids(here)
    release(folder, SLOW)
    roll = rolling(here)
    roll.send_signal(signal.SIGINT)
    out, _ = roll.communicate(timeout=20)
    assert roll.returncode == 1
    assert f"not replaced: {', '.join(NAMES)}" in out
    assert list(here.table()) == NAMES
    assert pids(here) == before


def test_ctrl_c_leaves_nobody_stopped(here: Foreign, folder: Path) -> None:
    """In place, the one that was stopped is started again."""
    before = pids(here)
    release(folder, SLOW)
    roll = here.ctl_popen("roll", "work", "--in-place")
    here.eventually(lambda: here.pid(NAMES[0]) != before[0])
    roll.send_signal(signal.SIGINT)
    out, _ = roll.communicate(timeout=20)
    assert roll.returncode == 1
    assert "told to stop" in out
    here.running(*NAMES)
    assert pids(here)[1:] == before[1:]


def test_a_second_ctrl_c_does_not_wait(here: Foreign, folder: Path) -> None:
    """For a successor that ignores TERM, for instance. The roll ends without supervisorctl."""
    before = pids(here)
    deaf = """
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(sys.argv[0] + ".deaf", "w").close()
    """
    release(folder, deaf + SLOW)
    roll = rolling(here)
    here.eventually(lambda: (folder / "work.py.deaf").exists())
    assert roll.stdout
    roll.send_signal(signal.SIGINT)
    assert roll.stdout.readline() == "stopping the roll\n"
    here.eventually(lambda: here.table()["work:work_0.next"] == "STOPPING")
    roll.send_signal(signal.SIGINT)
    out, _ = roll.communicate(timeout=20)
    assert roll.returncode == 1
    assert out == "not waiting for its end: see supervisord's log\n"
    os.kill(here.pid("work:work_0.next"), signal.SIGKILL)
    here.eventually(lambda: list(here.table()) == NAMES)
    assert pids(here) == before


def test_one_at_a_time(here: Foreign, folder: Path) -> None:
    """No other roll or scale meanwhile. If its client is killed, a roll still comes to its end."""
    release(folder, SLOW)
    roll = rolling(here)
    for words in (["roll", "work"], ["roll", "work:work_1"], ["scale", "work", "4"]):
        other = here.ctl(*words)
        assert other.returncode == 1
        assert "being rolled" in other.stdout
    assert asking.ready(here.socket), "a successor is no part of the whole yet"
    roll.kill()
    roll.communicate()
    (folder / "work.py.go").touch()
    here.eventually(lambda: "roll: work:work_2: ready after" in here.log())
    assert here.ctl("scale", "work", "4").returncode == 0
    assert here.ctl("roll", "work").returncode == 0
    assert len(here.table()) == 4


@pytest.mark.parametrize("end", ["TERM", "stop", "update"])
def test_what_ends_all_ends_a_roll(here: Foreign, folder: Path, end: str) -> None:
    """With the successor, and for good."""
    release(folder, SLOW)
    roll = rolling(here)
    here.pids.add(here.pid("work:work_0.next"))
    if end == "TERM":
        assert here.term() == 0
    elif end == "stop":
        here.ask("stopProcessGroup", "work")
    else:
        here.write("", "ready = work")
        here.ctl("update")
    out, _ = roll.communicate(timeout=20)
    assert roll.returncode != 0
    assert "Traceback" not in out
    if end == "stop":
        assert re.search("STOPP(ING|ED) instead of ready", out)
        here.eventually(lambda: here.table() == dict.fromkeys(NAMES, "STOPPED"))
    if end == "update":
        assert here.table() == {}


def test_a_process_that_should_not_run_is_left_alone(here: Foreign) -> None:
    """One that was stopped by hand. If all were, nothing is rolled, and the status says so."""
    here.ask("stopProcess", "work:work_2")
    done = here.ctl("roll", "work")
    assert done.returncode == 0
    assert "work:work_2: STOPPED, left alone" in done.stdout
    here.ask("stopProcessGroup", "work")
    done = here.ctl("roll", "work")
    assert done.returncode == 1
    assert "none of its processes runs: start work:*" in done.stdout


def test_a_process_that_is_down_is_tried_first(foreign: Make, folder: Path) -> None:
    """A good version first replaces those that were given up. A bad one ends there."""
    here = foreign(work(folder, more=f"{MANY}startretries = 0\n"), "ready = work").start()
    here.ready()
    before = here.pid(NAMES[0])
    release(folder, BAD)
    here.ctl("restart", "work:work_1")
    for _ in range(2):
        here.eventually(lambda: here.table()["work:work_1"] == "FATAL")
        done = here.ctl("roll", "work")
        assert done.returncode == 1
        assert "work:work_1: BACKOFF instead of ready" in done.stdout
        assert here.pid(NAMES[0]) == before
    here.eventually(lambda: here.table()["work:work_1"] == "FATAL")
    release(folder, GOOD)
    done = here.ctl("roll", "work")
    assert done.returncode == 0
    assert done.stdout.startswith("work:work_1: ready after ")
    assert here.pid(NAMES[0]) != before


def test_a_process_that_ended_as_expected_is_no_failure(foreign: Make) -> None:
    here = foreign("[program:done]\ncommand = /bin/true\nstartsecs = 0\n").start()
    here.eventually(lambda: here.table()["done"] == "EXITED")
    done = here.ctl("roll", "done")
    assert done.returncode == 0
    assert "done: EXITED, left alone" in done.stdout


PORT = MANY.replace("numprocs", 'environment = PORT="80%(process_num)02d"\nnumprocs')


@pytest.mark.parametrize(
    ("more", "plugin", "words"),
    [
        ("", "", []),
        (PORT, "", []),
        (MANY, "", ["--in-place"]),
        (MANY, "roll = work=in-place", []),
    ],
)
def test_in_place_where_two_at_once_would_do_harm(
    foreign: Make, folder: Path, more: str, plugin: str, words: list[str]
) -> None:
    """Without a number, or with one that means more; or where somebody says so. A broken version
    then takes the old one's place, and that is said."""
    here = foreign(work(folder, more=more), f"ready = work\n{plugin}").start()
    here.ready()
    assert here.ctl("roll", "work", *words).returncode == 0
    assert ".next" not in here.log()
    assert "ready: work" in here.log()
    release(folder, BAD)
    done = here.ctl("roll", "work", *words)
    assert done.returncode == 1
    assert "BACKOFF instead of ready (exit status 1), and the old one is gone" in done.stdout
    release(folder, GOOD)
    here.ready()  # it is tried again meanwhile


def test_beside_where_somebody_says_so(foreign: Make, folder: Path) -> None:
    """A program without a number of which two may run."""
    here = foreign(work(folder, more=""), "ready = work\nroll = work=beside").start()
    here.ready()
    before = here.pid("work")
    assert here.ctl("roll", "work").returncode == 0
    assert here.pid("work") != before
    assert "ready: work.next" in here.log()
    assert list(here.table()) == ["work"]


def test_all_are_behind_one_socket(foreign: Make, folder: Path) -> None:
    """Of an fcgi-program: the successor has it too, and it stays open."""
    programs = work(folder).replace("[program:work]", "[fcgi-program:work]")
    here = foreign(f"{programs}socket = unix://{folder}/held.sock\n", "ready = work").start()
    here.ready()
    socket = os.readlink(f"/proc/{here.pid(NAMES[0])}/fd/0")
    assert here.ctl("roll", "work").returncode == 0
    assert {os.readlink(f"/proc/{pid}/fd/0") for pid in pids(here)} == {socket}


def test_a_program_within_a_group(foreign: Make, folder: Path) -> None:
    """By its own name, or all programs of the group by that of the group."""
    other = "[program:other]\ncommand = /bin/sleep 1000\n[group:both]\nprograms = work,other\n"
    here = foreign(work(folder) + other, "ready = work").start()
    here.ready()
    before = here.pid("both:work_0"), here.pid("both:other")
    assert here.ctl("roll", "work").returncode == 0
    assert here.pid("both:work_0") != before[0]
    assert here.pid("both:other") == before[1]
    assert here.ctl("roll", "both").returncode == 0
    assert here.pid("both:other") != before[1]
    assert "other.next" not in here.log()


def test_clear_errors(here: Foreign) -> None:
    for words, status, message in (
        (["nobody"], 1, "nobody: no such program or process"),
        (["work:nobody"], 1, "work:nobody: no such program or process"),
        ([], 2, "roll takes groups or processes"),
        (["work", "--wait"], 2, "--wait takes a number of seconds"),
    ):
        done = here.ctl("roll", *words)
        assert done.returncode == status
        assert message in done.stdout


def test_off_is_stock(foreign: Make) -> None:
    here = foreign("[program:x]\ncommand = /bin/sleep 1000\n", "roll = off").start()
    assert "this supervisord does not offer it" in here.ctl("roll", "x").stdout
