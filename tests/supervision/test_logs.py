"""logs: all output on supervisord's stdout, whatever its reader does."""

import contextlib
import json
import os
import pty
import resource
import signal
import socket
import subprocess
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from example.supervision import writer as writers
from example.supervision.writer import Writer

from ..launchers import SCRIPTS
from .foreign import EVENTS, Foreign

Make = Callable[..., Foreign]

TALKER = f"""
[program:talker]
process_name = talker_%(process_num)02d
numprocs = 1
command = /bin/sh -c 'echo to stdout; echo to stderr >&2; printf without-end'
startsecs = 0
autorestart = false
{EVENTS}
"""


def burst(lines: int, numprocs: int, width: int = 1) -> str:
    """A program that says `lines` numbered lines of `width` at once, and then stays."""
    return f"""
[program:burst]
process_name = burst_%(process_num)02d
numprocs = {numprocs}
command = /bin/sh -c 'seq -f %%0{width}.f 1 {lines}; echo all said; exec sleep 1000'
{EVENTS}
"""


def test_lines_carry_the_name_of_their_program(foreign: Make) -> None:
    """Both channels, the last line without an end, and supervisord's own lines."""
    here = foreign(TALKER).start()
    here.eventually(lambda: "talker_00 | without-end\n" in here.stdout())
    assert "talker_00 | to stdout\n" in here.stdout()
    assert "talker_00 | to stderr\n" in here.stdout()
    here.eventually(lambda: "INFO exited: talker_00" in here.stdout())
    assert "supervisord | " in here.stdout()


@pytest.mark.parametrize("word", ["json", "JSON"])
def test_json_is_one_object_a_line(foreign: Make, word: str) -> None:
    """LOG_FORMAT=json, in any case; a line that is an object already is not wrapped again."""
    programs = f"""
[program:own]
command = sh -c 'echo "{{\\"level\\": \\"INFO\\", \\"message\\": \\"mine\\"}}"; exec sleep 1000'
{EVENTS}
"""
    here = foreign(TALKER + programs, LOG_FORMAT=word).start()
    here.eventually(lambda: "without-end" in here.stdout() and "mine" in here.stdout())
    lines = [json.loads(line) for line in here.stdout().splitlines() if line.startswith("{")]
    assert {"program": "own", "level": "INFO", "message": "mine"} in lines
    said = {(line["program"], line["message"]) for line in lines}
    assert ("talker_00", "to stderr") in said
    assert any(line["program"] == "supervisord" and line["level"] == "INFO" for line in lines)


def test_colour_on_a_terminal_only(foreign: Make) -> None:
    """A terminal gets coloured prefixes, and each program its own; NO_COLOR is heeded."""
    ours, theirs = pty.openpty()
    here = foreign(TALKER).start(stdout=theirs)
    os.close(theirs)
    seen = b""

    def shown() -> bool:
        nonlocal seen
        seen += os.read(ours, 4096)
        return b"\x1b[0m without-end" in seen

    here.eventually(shown)
    assert b"m" + b"talker_00 |\x1b[0m to stdout" in seen
    os.close(ours)


@pytest.mark.parametrize("numprocs", [1, 4])
def test_a_burst_arrives_whole_and_in_order(foreign: Make, numprocs: int) -> None:
    """30,000 lines of each of the programs at once."""
    here = foreign(burst(30_000, numprocs)).start()
    here.eventually(lambda: here.stdout().count("| all said") == numprocs, within=60)
    for number in range(numprocs):
        prefix = f"burst_{number:02d} | "
        mine = [line.removeprefix(prefix) for line in here.stdout().splitlines() if prefix in line]
        assert mine[:-1] == [str(n) for n in range(1, 30_001)]


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
def test_a_stuck_reader_freezes_nothing(foreign: Make, kind: str) -> None:
    """Nobody reads: supervisorctl answers, programs go on, TERM works, lost lines are counted."""
    reader, writer = {"pipe": os.pipe, "socket": _sockets, "terminal": pty.openpty}[kind]()
    here = foreign(burst(10_000, 2, width=1000)).start(stdout=writer)
    os.close(writer)
    here.running("burst:burst_00", "burst:burst_01")
    files = [next(here.folder.glob(f"burst_0{n}-stdout*.log")) for n in (0, 1)]
    here.eventually(lambda: all("all said" in _tail(file) for file in files), within=60)
    before = time.monotonic()
    assert here.term() == 0
    # One second is the writer's last attempt; the rest of the bound is for a slow machine.
    assert time.monotonic() - before < 5
    assert "stdout: dropped " in here.log()
    os.close(reader)


def test_a_pipe_of_another_user_freezes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be opened again without blocking, as in some containers: we write what it takes."""

    def refuse(*_: object) -> int:
        raise PermissionError

    reader, target = os.pipe()
    monkeypatch.setattr(os, "open", refuse)
    writer = Writer(target)
    writer.open()
    sent = b"".join(b"%0999d\n" % number for number in range(500))
    for line in sent.splitlines(keepends=True):
        writer.put(line)
        writer.push()
    got = b""
    while len(got) < len(sent):
        got += os.read(reader, 50_000)
        writer.push()
    assert got == sent
    for fd in (reader, target, writer.fd):
        os.close(fd)


def test_short_lines_take_little_more_than_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for a slow reader is bounded in memory, not only in characters."""
    monkeypatch.setattr(writers, "LIMIT", 1 << 17)
    writer = Writer(-1)
    tracemalloc.start()
    try:
        for number in range(writers.LIMIT):
            writer.put(b"%d\n" % (number % 10))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert (writer.size, writer.dropped) == (writers.LIMIT, writers.LIMIT // 2)
    assert taken < writers.LIMIT * 1.5


def test_dropped_lines_are_reported_when_the_reader_is_back(foreign: Make) -> None:
    reader, writer = os.pipe()
    here = foreign(burst(20_000, 1, width=1000)).start(stdout=writer)
    os.close(writer)
    here.running("burst:burst_00")
    [file] = here.folder.glob("burst_00-stdout*.log")
    here.eventually(lambda: "all said" in _tail(file), within=60)
    os.set_blocking(reader, False)
    seen = b""

    def told() -> bool:
        nonlocal seen
        with contextlib.suppress(BlockingIOError):
            while block := os.read(reader, 1 << 16):
                seen += block
        return b"supervisord | dropped " in seen

    here.eventually(told, within=30)
    os.close(reader)


def test_a_reader_that_went_away_ends_nothing(foreign: Make) -> None:
    """Of both channels, as in `supervisord 2>&1 | head`: one line tells, and a restart, a reload
    and the end are as ever."""
    reader, writer = os.pipe()
    here = foreign(burst(1000, 1)).start(stdout=writer, stderr=writer)
    os.close(writer)
    os.close(reader)
    here.running("burst:burst_00")
    here.restart("burst:burst_00")
    assert here.process
    here.process.send_signal(signal.SIGHUP)
    here.eventually(lambda: here.log().count("supervisord started") == 2)
    here.running("burst:burst_00")
    assert here.term() == 0
    # Once in each of the two runs.
    assert here.log().count("stdout: Broken pipe: nobody reads it any more") == 2
    assert "Traceback" not in here.log()


def test_a_terminal_that_went_away_ends_nothing(foreign: Make) -> None:
    ours, theirs = pty.openpty()
    here = foreign(burst(1000, 1)).start(stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)
    here.running("burst:burst_00")
    here.reload()
    assert here.term() == 0
    assert "Traceback" not in here.log()


def test_a_full_disk_holds_lines_up(foreign: Make) -> None:
    """Nothing can be written for a while: supervisord goes on, then all lines come."""
    ticker = f"""
[program:ticker]
command = /bin/sh -c 'seq 1 50; while read go; do seq 51 100; echo all said; done <fifo'
directory = %(here)s
{EVENTS}
"""
    here = foreign(ticker)
    os.mkfifo(here.folder / "fifo")
    here.start()
    with open(here.folder / "fifo", "w") as go:
        here.eventually(lambda: "ticker | 50\n" in here.stdout())
        assert here.process
        _, hard = resource.prlimit(here.process.pid, resource.RLIMIT_FSIZE)
        size = (here.folder / "stdout").stat().st_size
        # A limit to the size of files stands for the disk: supervisord alone meets it.
        resource.prlimit(here.process.pid, resource.RLIMIT_FSIZE, (size, hard))
        go.write("go\n")
        go.flush()
        [file] = here.folder.glob("ticker-stdout*.log")
        here.eventually(lambda: "all said" in _tail(file))
        assert here.lives()
        assert "ticker | 51\n" not in here.stdout()
        resource.prlimit(here.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        here.eventually(lambda: "all said" in here.stdout())
    lines = [line for line in here.stdout().splitlines() if line.startswith("ticker | ")]
    assert lines[:-1] == [f"ticker | {n}" for n in range(1, 101)]


def test_tail_follows_as_before(foreign: Make) -> None:
    """`supervisorctl tail -f` shows the file, which is written as before."""
    here = foreign(burst(10, 1)).start()
    here.running("burst:burst_00")
    command = [str(SCRIPTS / "supervisorctl"), "-c", str(here.conf), "tail", "-f", "burst:burst_00"]
    with subprocess.Popen(command, env=here.environ, stdout=subprocess.PIPE) as tail:
        assert tail.stdout
        try:
            assert any(b"all said" in line for line in tail.stdout)
            here.restart("burst:burst_00")
            assert any(b"all said" in line for line in tail.stdout)
        finally:
            tail.kill()


def test_a_log_file_that_is_stdout_is_shown_like_all(foreign: Make) -> None:
    """Each line once, also after the first piece, and beside events; supervisord's own too."""
    says = "/bin/sh -c 'for n in 1 2 3; do echo line $n; sleep 0.2; done; exec sleep 1000'"
    files = {
        "plain": "stdout_logfile = /dev/stdout\n",
        "whole": "stdout_logfile = /dev/fd/1\nstdout_logfile_maxbytes = 0\n" + EVENTS,
        "error": "stderr_logfile = /dev/stderr\n",
    }
    here = foreign(
        "".join(f"[program:{name}]\ncommand = {says}\n{each}" for name, each in files.items())
    )
    own = "logfile = /dev/stdout\nlogfile_maxbytes = 0"
    here.conf.write_text(
        here.conf.read_text()
        .replace("logfile = %(here)s/supervisord.log", own)
        .replace("error]\ncommand = " + says, "error]\ncommand = " + says.replace("$n;", "$n >&2;"))
    )
    reader, writer = os.pipe()
    here.start(stdout=writer, stderr=writer)
    os.close(writer)
    here.running(*files)
    assert "No config updates" in here.ctl("reread").stdout
    assert here.term() == 0
    with open(reader, "rb") as stdout:
        lines = stdout.read().decode().splitlines()
    for name in files:
        assert [line for line in lines if "line" in line and f"{name} |" in line] == [
            f"{name} | line {n}" for n in (1, 2, 3)
        ]
    assert not [line for line in lines if line.startswith("line")]
    assert sum("spawned: 'plain'" in line for line in lines) == 1
    assert not [line for line in lines if "Illegal seek" in line]


@pytest.mark.parametrize("plugin", ["", "tail = off"])
def test_tail_shows_any_bytes(foreign: Make, plugin: str) -> None:
    """Colours, NUL, what is not UTF-8, and half a character at the edge of what is asked for."""
    says = b"\x1b[31mred\0 \xff \xc3\xa9\n"
    show = "/bin/sh -c 'cat bytes; exec sleep 1000'"
    here = foreign(f"[program:any]\ncommand = {show}\ndirectory = %(here)s\n", plugin)
    (here.folder / "bytes").write_bytes(says)
    here.start()
    here.running("any")
    [file] = here.folder.glob("any-stdout*.log")
    here.eventually(lambda: file.read_bytes() == says)
    done = here.ctl("tail", "any")
    if plugin:
        assert done.returncode != 0
        return
    assert done.stdout.strip() == "^[[31mred^@ \ufffd é"
    assert here.ctl("tail", "-2", "any").stdout.strip() == "\ufffd"


def test_lines_go_on_after_a_reload(foreign: Make) -> None:
    here = foreign(burst(3, 1)).start()
    here.running("burst:burst_00")
    here.reload()
    here.eventually(lambda: here.stdout().count("burst_00 | all said") == 2)
    assert here.process
    here.process.send_signal(signal.SIGHUP)
    here.eventually(lambda: here.stdout().count("burst_00 | all said") == 3)


def test_a_stuck_reader_freezes_no_reload(foreign: Make) -> None:
    """Nor what supervisord says between its two runs."""
    reader, writer = os.pipe()
    here = foreign(burst(3_000, 1, width=1000)).start(stdout=writer)
    os.close(writer)
    here.running("burst:burst_00")
    here.reload()
    here.running("burst:burst_00")
    assert here.term() == 0
    os.close(reader)


def test_off_is_stock(foreign: Make) -> None:
    here = foreign(TALKER, "logs = off").start()
    here.eventually(lambda: "INFO exited: talker_00" in here.stdout())
    assert "talker_00 |" not in here.stdout()
    assert "supervisord |" not in here.stdout()


def _sockets() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def _tail(file: Path) -> str:
    with open(file, "rb") as log:
        log.seek(max(0, file.stat().st_size - 100))
        return log.read().decode()
