"""What an operator sees of the programs and does with them, with a real supervisord."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from example.view import programs
from example.view.programs import Program, Supervisord

from ..supervision.foreign import Foreign
from ..supervision.test_notify import program

WORK = """
say("READY=1\\nSTATUS=at work\\nX_COUNT_REQUESTS=7\\nX_COUNT_BAD=x")
say("X_COUNT_REQUESTS=8\\nX_COUNT_ODD-NAME=1")
while True:
    say("WATCHDOG=1")
    time.sleep(0.2)
"""
NUMBERED = "process_name = %(program_name)s_%(process_num)d\nnumprocs = 2\nautorestart = true\n"


@pytest.fixture
def here(folder: Path) -> Iterator[Foreign]:
    """Two of `work`, ready, and two that run by hand only."""
    by_hand = "".join(
        f"[program:{name}]\ncommand = /bin/sleep 1000\nautostart = false\nstartsecs = 0\n"
        for name in ("idle", "other")
    )
    made = Foreign(folder, program(folder, "work", WORK, NUMBERED) + by_hand, "ready = work")
    try:
        made.start()
        made.running("work:work_0", "work:work_1")
        assert made.ctl("ready", "--wait", "10").returncode == 0
        yield made
    finally:
        made.close()


@pytest.fixture
def server(here: Foreign) -> Supervisord:
    return Supervisord(f"unix://{here.folder}/s.sock", "local", "local")


def row(server: Supervisord, name: str) -> Program:
    [found] = [each for each in programs.read(server) if each.name == name]
    return found


def test_each_process_is_a_row(here: Foreign, server: Supervisord) -> None:
    rows = programs.read(server)
    assert [each.name for each in rows] == ["idle", "other", "work:work_0", "work:work_1"]
    idle, work = rows[0], rows[2]
    assert (idle.state, idle.pid, idle.memory, idle.last_exit) == ("STOPPED", 0, None, None)
    assert (work.group, work.program, work.state, work.ready) == ("work", "work", "RUNNING", True)
    assert (work.status, work.counts) == ("at work", {"requests": 8})
    assert work.memory
    assert work.memory > 1 << 20
    assert None not in (work.cpu_seconds, work.silent_seconds, work.uptime_seconds)
    os.kill(here.pid("work:work_0"), signal.SIGKILL)
    here.replaced("work:work_0", work.pid)
    work = row(server, "work:work_0")
    assert (work.restarts, work.last_exit) == (1, "terminated by SIGKILL")
    assert work.last_exit_code == -signal.SIGKILL


def test_restart_roll_and_scale(here: Foreign, server: Supervisord) -> None:
    """As supervisorctl does; supervisord goes on with each by itself."""

    def done(name: str) -> bool:
        return programs.progress(server, name)[1] is True

    before = here.pid("work:work_0"), here.pid("work:work_1")
    programs.restart(server, "work:work_0")
    here.eventually(lambda: done("work:work_0"))
    assert here.pid("work:work_0") != before[0]
    assert here.pid("work:work_1") == before[1]
    assert ".next" not in here.log()
    programs.roll(server, "work")
    here.eventually(lambda: done("work"))
    assert here.pid("work:work_1") != before[1]
    assert "work_0.next" in here.log()
    programs.scale(server, "work", 3)
    here.eventually(lambda: len(programs.read(server)) == 5)
    programs.restart(server, "idle")
    here.running("idle")
    assert row(server, "other").state == "STOPPED"


def test_an_impossible_action_is_reported(here: Foreign, server: Supervisord, folder: Path) -> None:
    for refused in (
        lambda: programs.restart(server, "nobody"),
        lambda: programs.scale(server, "work", 1000),
        lambda: programs.scale(server, "work", 10**12),
        lambda: programs.progress(server, "work"),
        lambda: programs.read(Supervisord(f"unix://{folder}/none", "", "")),
        lambda: programs.read(Supervisord(server.url, "local", "wrong")),
    ):
        with pytest.raises(programs.ERRORS):
            refused()
    assert here.process
    os.kill(here.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            programs.read(server)
    finally:
        os.kill(here.process.pid, signal.SIGCONT)
