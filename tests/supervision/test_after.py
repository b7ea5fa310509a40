"""after: a program may wait until others are ready, or a step is done."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .. import asking
from .foreign import Foreign
from .test_notify import program

Make = Callable[..., Foreign]

APP = "[program:app]\ncommand = /bin/sleep 1000\nnumprocs = 2\nprocess_name = app_%(process_num)d\n"
NAMES = ("app:app_0", "app:app_1")


def step(folder: Path, status: int = 0) -> str:
    """A step that ends once there is a file `go`."""
    script = folder / "migrate.sh"
    script.write_text(f"#!/bin/sh\nuntil [ -e {folder}/go ]; do sleep 0.1; done\nexit {status}\n")
    script.chmod(0o755)
    return f"[program:migrate]\ncommand = {script}\nautorestart = false\nstartsecs = 0\n"


SLOW = """
    while not os.path.exists("go"):
        time.sleep(0.05)
    say("READY=1")
    time.sleep(1000)
"""


def waits(here: Foreign, whom: str) -> None:
    """Wait until `ready` says that app is held back."""
    here.eventually(lambda: f"waits for {whom}" in str(here.rows()))
    assert f"waits for {whom}" in here.ctl("ready", "app").stdout
    assert {here.table()[name] for name in NAMES} == {"STOPPED"}
    assert not asking.ready(here.socket)


def test_it_waits_for_a_step_to_be_done(foreign: Make, folder: Path) -> None:
    """A step is done when it has ended as expected, not while it runs. Logged once each time."""
    here = foreign(APP + step(folder), "after = app: migrate").start()
    here.eventually(lambda: here.table()["migrate"] == "RUNNING")
    waits(here, "migrate")
    (folder / "go").touch()
    here.running(*NAMES)
    assert asking.ready(here.socket)
    assert here.log().count("app_0 waits for migrate") == 1
    assert "No config updates" in here.ctl("reread").stdout


def test_it_waits_until_another_is_ready(foreign: Make, folder: Path) -> None:
    """Until it says so itself, if it is a program that does; and for several."""
    store = program(folder, "store", SLOW, f"directory = {folder}")
    other = store.replace("program:store", "program:other")
    here = foreign(APP + store + other, "ready = store\nafter = app: store other").start()
    here.eventually(lambda: here.table()["store"] == "RUNNING")
    assert {here.table()[name] for name in NAMES} == {"STOPPED"}
    (folder / "go").touch()
    here.running(*NAMES)


def test_a_step_that_fails_holds_it_back(foreign: Make, folder: Path) -> None:
    """Until somebody mends it and has it done."""
    (folder / "go").touch()
    here = foreign(APP + step(folder, status=1), "after = app: migrate").start()
    here.eventually(lambda: here.table()["migrate"] == "EXITED")
    waits(here, "migrate")
    step(folder)
    here.ctl("start", "migrate")
    here.running(*NAMES)


def test_a_start_by_hand_waits_for_nobody(foreign: Make, folder: Path) -> None:
    """Nor does a restart of what has run."""
    here = foreign(APP + step(folder), "after = app: migrate").start()
    waits(here, "migrate")
    assert here.ctl("start", "app:app_0").returncode == 0
    here.running("app:app_0")
    assert here.table()["app:app_1"] == "STOPPED"
    assert here.ctl("restart", "app:app_0").returncode == 0
    here.running("app:app_0")


def test_what_is_added_later_waits_too(foreign: Make, folder: Path) -> None:
    here = foreign(step(folder), "after = app: migrate").start()
    here.eventually(lambda: here.table()["migrate"] == "RUNNING")
    here.write(APP + step(folder), "after = app: migrate")
    here.ctl("update")
    waits(here, "migrate")
    (folder / "go").touch()
    here.running(*NAMES)


def test_a_stop_is_as_ever_meanwhile(foreign: Make, folder: Path) -> None:
    here = foreign(APP + step(folder), "after = app: migrate").start()
    waits(here, "migrate")
    assert here.term() == 0


def test_within_a_group_nobody_waits_for_itself(foreign: Make, folder: Path) -> None:
    """A chain, and a group whose first member is the step."""
    both = "[group:both]\nprograms = migrate,app\n"
    last = "[program:last]\ncommand = /bin/sleep 1000\n"
    here = foreign(
        APP + step(folder) + both + last, "after = both: migrate\n  last: both\n"
    ).start()
    here.eventually(lambda: here.table()["both:migrate"] == "RUNNING")
    here.eventually(lambda: "last waits for both" in here.log())
    (folder / "go").touch()
    here.running("both:app_0", "both:app_1", "last")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("app migrate", "expected who: whom whom"),
        ("app: migrate, migrate: app", "these wait for each other: app, migrate"),
        ("app: app", "these wait for each other: app"),
    ],
)
def test_nonsense_is_reported_at_the_start(
    foreign: Make, folder: Path, value: str, message: str
) -> None:
    here = foreign(APP + step(folder), f"after = {value}")
    done = subprocess.run(here.command, env=here.environ, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"after = {value}: {message}" in done.stdout + done.stderr


def test_whom_nobody_knows_is_waited_for_by_nobody(foreign: Make) -> None:
    here = foreign(APP, "after = app: migrat").start()
    here.running(*NAMES)
    assert "after: no program, process or group is called migrat" in here.log()


def test_off_is_stock(foreign: Make, folder: Path) -> None:
    here = foreign(APP + step(folder), "after = off").start()
    here.running(*NAMES)
