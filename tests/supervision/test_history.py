"""history: each end that nobody has asked for, with its reason, also from before the last start."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

from example.supervision import history

from .. import asking
from .foreign import Foreign

Make = Callable[..., Foreign]
KEPT = "history = history.jsonl"

SLEEPER = "[program:sleeper]\ncommand = /bin/sleep 1000\nautorestart = true\n"
DEAF = """
[program:deaf]
command = /bin/sh -c 'trap "" TERM; exec sleep 1000'
stopwaitsecs = 1
"""
DONE = "[program:done]\ncommand = /bin/true\nstartsecs = 0\n"
ENDS = "[program:ends]\ncommand = /bin/sh -c 'sleep 1.2'\nautorestart = true\n"
FAILS = """
[program:fails]
command = /bin/sh -c 'printf "one\\ntwo \\033[31mred\\n" >&2; exit 3'
startretries = 0
"""


def recorded(here: Foreign, reason: str, times: int = 1) -> None:
    """Wait until `history` has it so often."""
    here.eventually(
        lambda: str(asking.ask(here.socket, "supervision.history")).count(reason) >= times
    )


def told(here: Foreign, *names: str) -> str:
    done = here.ctl("history", *names)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_each_end_that_nobody_asked_for(foreign: Make) -> None:
    """When, how and why, after how long, and what it wrote last; who was stopped, or ends as its
    file expects, is not there."""
    here = foreign(SLEEPER + DEAF + DONE + ENDS + FAILS, KEPT).start()
    here.running("sleeper", "deaf", "ends")
    os.kill(here.pid("sleeper"), signal.SIGKILL)
    here.ask("stopProcess", "deaf")
    here.running("sleeper")
    here.restart("sleeper")
    recorded(here, "exit status 0")
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  "
    said = told(here)
    for line in (
        "supervisord  started",
        r"ends  exit status 0, had run for 1\.\d s",
        r"sleeper  terminated by SIGKILL, had run for \d+\.\d s",
        r"deaf  terminated by SIGKILL, killed to stop, had run for \d+\.\d s",
        r"fails  exit status 3, had run for 0\.\d s\n    one\n    two  \[31mred",
    ):
        assert re.search(f"^{when}{line}$", said, re.MULTILINE), line
    assert said.count("sleeper") == 1
    assert "done" not in said
    assert told(here, "fails").count("exit status") == 1


def test_the_last_lines_are_its_own(foreign: Make, folder: Path) -> None:
    """Not those of the one before, which wrote to the same log file."""
    script = f"test -e {folder}/second || echo first; touch {folder}/second; exit 3"
    failing = f"[program:fails]\ncommand = /bin/sh -c '{script}'\nstartretries = 1\n"
    here = foreign(failing, KEPT).start()
    recorded(here, "exit status 3", 2)
    assert told(here).count("    first") == 1


def test_it_outlives_supervisord(foreign: Make, folder: Path) -> None:
    """A line for each start tells what was before."""
    here = foreign(FAILS, KEPT).start()
    recorded(here, "exit status 3")
    assert here.term() == 0
    here.start()
    recorded(here, "exit status 3", 2)
    assert re.findall("started|exit status", told(here)) == ["started", "exit status"] * 2
    assert (folder / "history.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_file_is_bounded_and_may_be_damaged(folder: Path) -> None:
    path = folder / "history.jsonl"
    for n in range(3 * history.MOST):
        history.add(path, {"n": n})
        if n % 50 == 0:
            with path.open("a") as file:
                file.write('{"n": "cut off\n')
    kept = [record["n"] for record in history.read(path)]
    assert history.MOST // 2 < len(kept) <= history.MOST
    assert kept == list(range(3 * history.MOST - len(kept), 3 * history.MOST))
    assert path.stat().st_mode & 0o777 == 0o600


def test_clear_errors(foreign: Make) -> None:
    here = foreign(SLEEPER, KEPT).start()
    done = here.ctl("history", "nobody")
    assert done.returncode == 2
    assert "no such program or process: nobody" in done.stdout
    assert here.ctl("help", "history").stdout.startswith("history")


def test_without_its_folder_all_else_goes_on(foreign: Make) -> None:
    here = foreign(SLEEPER, "history = nowhere/history.jsonl").start()
    here.running("sleeper")
    assert "history: no folder" in here.log()


def test_without_its_file_all_else_goes_on(foreign: Make, folder: Path) -> None:
    (folder / "history.jsonl").mkdir()
    here = foreign(SLEEPER, KEPT).start()
    here.running("sleeper")
    assert "history.jsonl'; left off" in here.log()
    assert "Traceback" not in here.log()


def test_off_is_stock(foreign: Make, folder: Path) -> None:
    here = foreign(SLEEPER).start()
    assert "this supervisord does not offer it" in here.ctl("history").stdout
    assert not (folder / "history.jsonl").exists()
