"""crash_loop and config_error: when a program is tried again, and when not."""

import os
import re
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from ..launchers import SCRIPTS
from .foreign import Foreign
from .test_notify import program

Make = Callable[..., Foreign]

# With startsecs = 0 it counts as RUNNING at once: stock would restart it for ever.
LOOPER = "[program:looper]\ncommand=/bin/sh -c 'exit 1'\nstartsecs=0\nautorestart=true\n"


def spawned(here: Foreign, name: str) -> list[str]:
    return re.findall(rf"spawned: '{name}' with pid", here.log())


def test_a_program_that_keeps_dying_after_running_is_given_up(foreign: Make) -> None:
    """After five deaths in the window; `supervisorctl status` shows the reason."""
    here = foreign(LOOPER, "crash_loop = 5/60/1").start()
    here.eventually(lambda: here.table()["looper"] == "FATAL")
    assert len(spawned(here, "looper")) == 5
    assert "Died 5 times within 60 s" in here.ctl("status").stdout


def test_each_restart_waits_longer(foreign: Make) -> None:
    """The first comes at once, the second after 1 s, the third after 2 s, and so on to the cap."""
    here = foreign(LOOPER, "crash_loop = 6/60/2").start()
    here.eventually(lambda: here.table()["looper"] == "FATAL", within=30)
    found = re.findall(r"(\S+ \S+),(\d+) INFO spawned: 'looper'", here.log())
    times = [datetime.fromisoformat(f"{when}.{fraction}") for when, fraction in found]
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    assert all(gap > least - 0.1 for gap, least in zip(gaps, (0, 1, 2, 2, 2), strict=True)), gaps


def test_each_program_may_have_its_own_limit(foreign: Make) -> None:
    programs = LOOPER + LOOPER.replace("looper", "free") + LOOPER.replace("looper", "tight")
    here = foreign(programs, "crash_loop = 5/60/0 free=off tight=2/60/0").start()
    here.eventually(lambda: here.table()["looper"] == "FATAL")
    here.eventually(lambda: len(spawned(here, "free")) > 20)
    assert here.table()["tight"] == "FATAL"
    assert len(spawned(here, "tight")) == 2


def test_startretries_is_the_files_own(foreign: Make) -> None:
    """Of a program that dies before it is RUNNING, until its database is there, say: it is tried
    as often as the file says, however low the limit for those that did run."""
    early = "[program:early]\ncommand=/bin/false\nstartretries=4\n"
    here = foreign(early, "crash_loop = 2/60/0").start()
    here.eventually(lambda: here.table()["early"] == "FATAL", within=20)
    assert len(spawned(here, "early")) == 5


def test_a_few_kills_are_healed_at_once(foreign: Make) -> None:
    """Two deaths, as one poison item may cause, stay far below the shipped limit."""
    steady = "[program:steady]\ncommand=/bin/sleep 1000\nautorestart=true\n"
    here = foreign(steady, "crash_loop = 10/120/5").start()
    for _ in range(2):
        here.running("steady")
        pid = here.pid("steady")
        os.kill(pid, signal.SIGKILL)
        here.replaced("steady", pid)
    here.running("steady")


def test_a_configuration_error_is_not_tried_again(foreign: Make) -> None:
    """Exit status 2 at the start: FATAL with one start; any other status has its retries."""
    here = foreign(
        "[program:soon]\ncommand=/bin/sh -c 'exit 2'\nstartsecs=0\n"
        "[program:wrong]\ncommand=/bin/sh -c 'exit 2'\n"
        "[program:other]\ncommand=/bin/sh -c 'exit 1'\nstartretries=1\n",
        "config_error = 2",
    ).start()
    here.eventually(lambda: here.table() == dict.fromkeys(("soon", "wrong", "other"), "FATAL"))
    assert len(spawned(here, "soon")) == len(spawned(here, "wrong")) == 1
    assert len(spawned(here, "other")) == 2
    assert "Exit status 2: its configuration is wrong" in here.ctl("status", "wrong").stdout


def test_a_slow_machine_is_no_excuse_for_a_wrong_configuration(foreign: Make) -> None:
    """Where a program takes more than seconds to find out, and must say when it is ready."""
    here = foreign(
        "[program:wrong]\ncommand=/bin/sh -c 'sleep 5.5; exit 2'\nstartsecs=0\n",
        "config_error = 2\nready = wrong",
    ).start()
    here.eventually(lambda: here.table() == {"wrong": "FATAL"})
    assert len(spawned(here, "wrong")) == 1


def test_a_program_in_a_group_may_have_its_own_status(foreign: Make) -> None:
    """By the name of the program, which is neither that of the group nor of a process."""
    here = foreign(
        "[group:pair]\nprograms = wrong,other\n"
        "[program:wrong]\ncommand=/bin/sh -c 'exit 3'\nprocess_name = wrong_%(process_num)d\n"
        "[program:other]\ncommand=/bin/sh -c 'exit 3'\nstartretries=1\n",
        "config_error = wrong=3",
    ).start()
    here.eventually(lambda: set(here.table().values()) == {"FATAL"})
    assert [len(spawned(here, name)) for name in ("wrong_0", "other")] == [1, 2]


def test_exitcodes_say_what_is_expected(foreign: Make) -> None:
    """Not 0 by itself: of three that exit at once, only one exits as its file expects."""
    here = foreign(
        "".join(
            f"[program:{name}]\ncommand=/bin/sh -c 'exit {status}'\nstartsecs=0\nexitcodes=64\n"
            for name, status in (("told", 64), ("ended", 0), ("wrong", 2))
        ),
        "crash_loop = 3/60/0\nconfig_error = 2",
    ).start()
    here.eventually(lambda: here.table() == {"told": "EXITED", "ended": "FATAL", "wrong": "FATAL"})
    assert [len(spawned(here, name)) for name in ("told", "ended", "wrong")] == [1, 3, 1]
    assert here.ctl("ready", "told").returncode == 0


def mortal(folder: Path) -> str:
    """A program that says that it is ready, and dies; while there is a file `broken`, it only
    dies, with the status that the file holds."""
    code = """
        if os.path.exists("broken"):
            sys.exit(int(open("broken").read()))
        say("READY=1")
        sys.exit(1)
    """
    more = f"autorestart = true\nstartsecs = 0\nstartretries = 0\ndirectory = {folder}"
    return program(folder, "mortal", code, more)


@pytest.mark.parametrize("startsecs", [0, 1])
@pytest.mark.parametrize("status", [1, 2])
def test_what_was_ready_once_is_never_given_up(
    foreign: Make, folder: Path, startsecs: int, status: int
) -> None:
    """However it dies from then on: it is logged, tried later and later, and nothing else ends."""
    program = mortal(folder).replace("startsecs = 0", f"startsecs = {startsecs}")
    here = foreign(program, "critical = all\ncrash_loop = 3/60/0.5\nconfig_error = 2").start()
    here.eventually(lambda: "ready: mortal" in here.log())
    (folder / "broken").write_text(str(status))
    why = "Died 3 times within 60 s; tried again every 0.5 s"
    here.eventually(lambda: f"mortal: {why}" in here.log())
    # Between two tries only: so it is asked in the quickest way.
    here.eventually(lambda: why in here.ask("getProcessInfo", "mortal")["spawnerr"], within=40)
    tried = len(spawned(here, "mortal"))
    here.eventually(lambda: len(spawned(here, "mortal")) > tried + 2, within=40)
    (folder / "broken").unlink()
    said = here.log().count("ready: mortal")
    here.eventually(lambda: here.log().count("ready: mortal") > said)
    assert here.log().count(f"CRIT mortal: {why}") == 1


def test_nor_is_what_was_ready_and_cannot_even_be_started(foreign: Make, folder: Path) -> None:
    """As while its venv is rebuilt."""
    python = folder / "python"
    python.symlink_to(sys.executable)
    here = foreign(
        mortal(folder).replace(f"{SCRIPTS}/python", str(python)),
        "critical = all\ncrash_loop = 3/60/0.1",
    ).start()
    here.eventually(lambda: "ready: mortal" in here.log())
    python.unlink()
    here.eventually(lambda: "can't find command" in here.log())
    here.eventually(lambda: here.log().count("spawnerr: can't find") > 5)
    python.symlink_to(sys.executable)
    said = here.log().count("ready: mortal")
    here.eventually(lambda: here.log().count("ready: mortal") > said)


def test_off_is_stock(foreign: Make) -> None:
    programs = LOOPER + "[program:wrong]\ncommand=/bin/sh -c 'exit 2'\nstartretries=1\n"
    here = foreign(programs, "crash_loop = off\nconfig_error = off\n").start()
    here.eventually(lambda: len(spawned(here, "looper")) > 20)
    here.eventually(lambda: here.table()["wrong"] == "FATAL")
    assert len(spawned(here, "wrong")) == 2
