"""A contender at work: its server, its workers, what they did."""

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.launchers import SCRIPTS
from tests.layout import ROOT
from tests.server import Server
from tests.waiting import eventually

from .contenders import HERE, Contender
from .theirs.marks import Marks

THEIRS = Path(__file__).parent / "theirs"


@cache
def scripts(venv: str) -> Path:
    """The folder with the commands of this set, installed on first use."""
    if venv == HERE:
        return SCRIPTS
    command = ["scripts/install", venv]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return ROOT / done.stdout.split()[-1] / "bin"


def launched(
    folder: Path, command: str, cwd: Path, environ: dict[str, str], log: Path
) -> "subprocess.Popen[bytes]":
    """A command of this folder, in a session of its own; its output is added to the log."""
    program, *options = shlex.split(command)
    with open(log, "ab") as output:
        return subprocess.Popen(
            [folder / program, *options],
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


class Side:
    """One contender with an empty queue on `server`, and marks of its own."""

    def __init__(self, contender: Contender, server: Server, folder: Path) -> None:
        self.contender = contender
        self.marks = Marks(folder)
        self._bin = scripts(contender.venv)
        self._log = folder / "log"
        self._url = server.url
        self._environ = {
            "PATH": f"{self._bin}:/usr/bin:/bin",
            "HOME": str(folder),
            "PYTHONPATH": f"{THEIRS}:{ROOT}" if contender.venv == HERE else str(THEIRS),
            "PYTHONDONTWRITEBYTECODE": "1",
            "REDIS_URL": server.url,
            "MARKS": str(folder),
            **contender.environ,
        }
        self._workers: list[subprocess.Popen[bytes]] = []
        server.client.flushall()

    def push(self, *what: str) -> str:
        done = subprocess.run(
            [self._bin / "python", "push.py", self.contender.module, *what],
            cwd=THEIRS,
            env=self._environ,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return done.stdout

    def start(self) -> None:
        for number in range(self.contender.processes):
            command = self.contender.command.format(url=self._url, number=number)
            self._workers.append(launched(self._bin, command, THEIRS, self._environ, self._log))

    def kill(self) -> None:
        """kill -9 of all that was started, and of what that started."""
        sessions = {worker.pid for worker in self._workers}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[3]) in sessions:
                    os.kill(int(stat.parent.name), signal.SIGKILL)
        for worker in self._workers:
            worker.wait()
        self._workers.clear()

    def speed(self, kind: int, count: int, within: float) -> float:
        """Items a second, over the middle four fifths of `count`."""
        seen: list[tuple[float, int]] = []

        def enough() -> bool:
            seen.append((time.perf_counter(), self.marks.count(kind)))
            return seen[-1][1] >= 0.9 * count

        eventually(enough, within, self.report)
        first = next(each for each in seen if each[1] >= 0.1 * count)
        last = seen[-1]
        if last[1] == first[1]:  # within one look: from the last one before it
            first = seen[seen.index(first) - 1]
        return (last[1] - first[1]) / (last[0] - first[0])

    def await_count(self, kind: int, count: int, within: float) -> None:
        eventually(lambda: self.marks.count(kind) >= count, within, self.report)

    def report(self) -> str:
        return f"{self.contender.title}:\n{self._log.read_text(errors='replace')[-2000:]}"


def milliseconds(told: Path) -> list[float]:
    """From push to task, as the tasks have told."""
    return [float(line) for line in told.read_text().split()]


@contextlib.contextmanager
def at_work(contender: Contender, server: Server) -> Iterator[Side]:
    with tempfile.TemporaryDirectory(prefix="ex", dir="/tmp") as folder:
        side = Side(contender, server, Path(folder))
        try:
            yield side
        finally:
            side.kill()
