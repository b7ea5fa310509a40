"""One program's life, seen from outside, with a program of the test's own."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from .conftest import Popen
from .waiting import eventually

PROGRAM = """
import asyncio, multiprocessing, time
from example.runtime import log, process

def work():
    {work}

async def main():
    async with process.Process("thing") as this:
        this.ready("at hand")
        await asyncio.to_thread(work)
        await this.stopping.wait()
        {after}

log.configure("info", "{form}")
process.run(main)
"""


@pytest.fixture
def start(popen: Popen) -> Popen:
    def begin(
        after: str = "pass", form: str = "text", work: str = "pass", **environ: str
    ) -> subprocess.Popen[str]:
        code = PROGRAM.format(after=after, form=form, work=work)
        program = popen([sys.executable, "-c", code], {"PYTHONUNBUFFERED": "", **environ})
        assert program.stdout
        assert "thing ready: at hand" in program.stdout.readline()
        return program

    return begin


def test_the_first_term_lets_it_finish(start: Popen) -> None:
    """TERM: what is in hand ends, then the exit status is 0."""
    program = start(after="await asyncio.sleep(0.2); print('finished', flush=True)")
    program.terminate()
    out, _ = program.communicate(timeout=10)
    assert program.returncode == 0
    assert "thing stopping: SIGTERM" in out
    assert "finished" in out
    assert "thing stopped" in out


def test_a_second_term_ends_it_at_once(start: Popen) -> None:
    """A TERM that comes half a second later ends what is in hand; the status is 128 + 15."""
    program = start(after="await asyncio.sleep(60)")

    def ended_by_term() -> bool:
        program.terminate()
        return program.poll() is not None

    eventually(ended_by_term, within=5)
    assert program.returncode == 143


def test_a_term_to_the_process_and_its_group_is_one(start: Popen) -> None:
    """A repeat within half a second, as `timeout` sends it, does not cut off what is in hand."""
    program = start(after="await asyncio.sleep(0.2)")
    program.terminate()
    assert program.stdout
    assert "thing stopping" in program.stdout.readline()
    program.terminate()
    assert program.wait(5) == 0


def test_an_exception_ends_it_with_a_traceback(start: Popen) -> None:
    program = start(after="raise LookupError('oops')")
    program.terminate()
    out, _ = program.communicate(timeout=10)
    assert program.returncode == 1
    assert "thing stopped" not in out


def test_a_forked_child_has_no_part_in_its_signals(start: Popen) -> None:
    """As a pool's, which ends its own by TERM: the child ends of that, and the parent goes on."""
    program = start(
        work="""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(abs, [1, 2])
    print("child:", child.exitcode)
"""
    )
    assert program.stdout
    assert next(line for line in program.stdout if "child:" in line) == "child: -15\n"
    program.terminate()
    out, _ = program.communicate(timeout=10)
    assert program.returncode == 0
    assert out.count("thing stopping: SIGTERM") == 1


def test_what_is_printed_shows_at_once(start: Popen) -> None:
    program = start(work="print('got it')")
    assert program.stdout
    assert program.stdout.readline() == "got it\n"


def test_an_end_at_once_loses_nothing_that_was_printed(start: Popen) -> None:
    program = start(work="print('half a line', end='')", after="process.exit_at_once(5)")
    program.terminate()
    out, _ = program.communicate(timeout=10)
    assert program.returncode == 5
    assert "half a line" in out


def test_a_command_that_it_starts_does_not_wait_for_the_supervisors_pipe(popen: Popen) -> None:
    """But a debugger reads what is typed there, as by `supervisorctl fg`."""
    work = "import subprocess; print(subprocess.run(['cat'], capture_output=True), input())"
    code = PROGRAM.format(after="pass", form="text", work=work)
    program = popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert program.stdin
    assert program.stdout
    program.stdin.write("typed\n")
    program.stdin.flush()
    assert any("returncode=0" in line and "typed" in line for line in program.stdout)


@pytest.mark.parametrize("closed", ["<&-", "2>&-"])
def test_its_standard_descriptors_may_be_closed(popen: Popen, closed: str) -> None:
    code = PROGRAM.format(after="pass", form="text", work="pass")
    program = popen(["sh", "-c", 'exec "$0" -c "$1" ' + closed, sys.executable, code])
    assert program.stdout
    assert "thing ready: at hand" in program.stdout.readline()
    program.terminate()
    assert program.wait(5) == 0


def test_json_lines(start: Popen) -> None:
    """LOG_FORMAT=json: each line is an object with time, level, logger and message."""
    program = start(form="json")
    program.terminate()
    out, _ = program.communicate(timeout=10)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["message"] for line in lines] == ["thing stopping: SIGTERM", "thing stopped"]
    assert lines[0]["level"] == "INFO"
    assert lines[0]["logger"] == "example.runtime.process"
    assert datetime.fromisoformat(lines[0]["time"]).tzinfo


EXTRA = """
import logging
from example.runtime import log

log.configure("info", "json")
logging.getLogger("mine").info("sent %s", "it", extra={"to": "Ada", "size": 3, "who": object})
"""


def test_json_lines_keep_what_extra_gives(popen: Popen) -> None:
    """Whatever it is; text lines have the message only, as ever."""
    out, _ = popen([sys.executable, "-c", EXTRA]).communicate(timeout=10)
    line = json.loads(out)
    assert (line["message"], line["to"], line["size"]) == ("sent it", "Ada", 3)
    assert line["who"] == "<class 'object'>"


def test_it_speaks_sd_notify(start: Popen, folder: Path) -> None:
    """READY and STATUS, WATCHDOG well within its time, STOPPING: as systemd wants them."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "n"))
        manager.settimeout(5)
        program = start(NOTIFY_SOCKET=str(folder / "n"), WATCHDOG_USEC="300000")
        said = [manager.recv(1000) for _ in range(4)]
        assert said.count(b"READY=1\nSTATUS=at hand") == 1
        # Readiness again with each sign of life: the first word of it may have been missed.
        assert said[-1] == b"READY=1\nWATCHDOG=1"
        program.terminate()
        eventually(lambda: manager.recv(1000) == b"STOPPING=1")
        assert program.wait(5) == 0


def test_a_manager_that_does_not_listen_hurts_nobody(start: Popen, folder: Path) -> None:
    """A socket with nobody behind it, or one whose queue is full, neither stops nor slows it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "n"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            other.connect(str(folder / "n"))
            with contextlib.suppress(BlockingIOError):
                while True:
                    other.send(b"x")
        program = start(NOTIFY_SOCKET=str(folder / "n"))
        program.terminate()
        assert program.wait(5) == 0


def test_it_dies_with_a_supervisor(folder: Path) -> None:
    """Below supervisord, kill -9 of the parent kills the program; below a shell it lives on."""
    shell = subprocess.Popen(
        ["sh", "-c", f'"{sys.executable}" -c "$PROGRAM" & echo $!; wait'],
        env=os.environ
        | {
            "PROGRAM": PROGRAM.format(after="pass", form="text", work="pass"),
            "SUPERVISOR_ENABLED": "1",
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    assert shell.stdout
    pid = int(shell.stdout.readline())
    assert "ready" in shell.stdout.readline()
    shell.kill()
    shell.communicate()
    with pytest.raises(ProcessLookupError):
        eventually(lambda: os.kill(pid, 0), within=2)
