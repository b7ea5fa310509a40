"""A stack that runs in a folder of its own: start, ask, restart of app, end."""

import atexit
import contextlib
import functools
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import redis

from instruments.bench.app import answers
from tests.package import package
from tests.server import free_port

from . import tree
from .contenders import ARQ, HERE, PEERS
from .side import THEIRS, launched, scripts
from .stacks import Stack

LOOK = 0.005
"""Seconds between two looks, and between two requests."""
GRACE = 2.0
"""Seconds after its parent's end in which a process may still end by itself."""
WITHIN = 30.0


@functools.cache
def our_package() -> str:
    """The package with the application of all, and a task that leaves the mark of all."""
    folder = Path(tempfile.mkdtemp(prefix="ex", dir="/tmp"))
    atexit.register(shutil.rmtree, folder)
    task = "import stack_tick\n\n\nasync def work(item: str) -> None:\n    stack_tick.done()\n"
    return package(folder, api="from on_http import app\n", tasks=task)


class Running:
    """`url` leads to a Redis database of the stack's own."""

    PLACE = ("folder", "port", "url", "control", "news", "ours", "peers", "arq")
    """What the stack's files and commands may name in braces."""

    def __init__(self, stack: Stack, folder: Path, url: str) -> None:
        self.stack = stack
        self.folder = folder
        self.port = free_port()
        ports = (free_port(), free_port())
        bins = (scripts(HERE), scripts(PEERS), scripts(ARQ))
        values = map(str, (folder, self.port, url, *ports, *bins))
        self.place = dict(zip(self.PLACE, values, strict=True))
        self.environ = {
            "PATH": f"{scripts(stack.venv)}:{scripts(HERE)}:/usr/bin:/bin",
            "HOME": str(folder),
            "PYTHONPATH": f"{our_package()}:{THEIRS}",
            "REDIS_URL": url,
            "MARKS": str(folder),
            # supervisord.conf has the address itself.
            **({} if stack.conf else {"PORT": str(self.port)}),
        }
        self.started: list[subprocess.Popen[bytes]] = []
        self._log = folder / "log"
        self._lay()
        with redis.Redis.from_url(url) as client:
            client.flushdb()

    def _lay(self) -> None:
        (self.folder / "var").mkdir()
        if self.stack.conf:
            (self.folder / "supervisord.conf").write_text(self.stack.conf())
        for name, text in self.stack.files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.format(**self.place))

    def push(self) -> None:
        """One item, in the stack's own way."""
        if self.stack.push:
            venv = ARQ if "arq" in self.stack.push else PEERS
            self._do([str(scripts(venv) / "python"), "-c", self.stack.push])
        else:
            with redis.Redis.from_url(self.environ["REDIS_URL"]) as client:
                client.lpush("TESTING", "the first")

    def start(self) -> None:
        command = self.stack.command.format(**self.place)
        self.started.append(
            launched(scripts(self.stack.venv), command, self.folder, self.environ, self._log)
        )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The parent that runs."""
        return self.started[-1]

    def living(self) -> list[int]:
        return tree.living(f"MARKS={self.folder}")

    def first_answer(self) -> float:
        """When app answered first, by the system's clock."""
        self.eventually(lambda: answers(self.port))
        return time.monotonic()

    def items(self) -> list[float]:
        """When each item was done."""
        with contextlib.suppress(FileNotFoundError):
            return [float(line) for line in (self.folder / "done").read_text().split()]
        return []

    def eventually(self, check: Callable[[], object]) -> None:
        deadline = time.monotonic() + WITHIN
        while not check():
            assert time.monotonic() < deadline, self.report()
            time.sleep(LOOK)

    def restart(self) -> None:
        """app, as documented; where it cannot be restarted alone, everything."""
        if self.stack.restart:
            command = shlex.split(self.stack.restart.format(**self.place))
            self._do(command)
        else:
            self.process.terminate()
            self.process.wait(WITHIN)
            self.clear(signal.SIGTERM)
            self.eventually(lambda: not self.living())
            self.start()

    def end(self) -> tuple[float, int]:
        """TERM: the seconds until the parent has ended, and how many it has left."""
        begun = time.monotonic()
        self.process.terminate()
        self.process.wait(WITHIN)
        seconds = time.monotonic() - begun
        return seconds, self.left(GRACE)

    def left(self, within: float) -> int:
        """How many processes live after so many seconds; zero is told at once."""
        deadline = time.monotonic() + within
        while (found := len(self.living())) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    def clear(self, number: int = signal.SIGKILL) -> None:
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _do(self, command: list[str]) -> None:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            executable=shutil.which(command[0], path=self.environ["PATH"]),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert not done.returncode, f"{command}: {done.stdout}{done.stderr}{self.report()}"

    def report(self) -> str:
        return f"{self.stack.name}:\n{self._log.read_text(errors='replace')[-2000:]}"


@contextlib.contextmanager
def running(stack: Stack, url: str) -> Iterator[Running]:
    """The stack, laid out and not yet started; nothing is left of it afterwards."""
    with tempfile.TemporaryDirectory(prefix="ex", dir="/tmp", ignore_cleanup_errors=True) as folder:
        found = Running(stack, Path(folder), url)
        try:
            yield found
        finally:
            while found.living():
                found.clear()
            for process in found.started:
                process.wait()


class Requests:
    """One client that asks again and again, each time over a fresh connection."""

    TIMEOUT = 5.0

    def __init__(self, port: int) -> None:
        self.port = port
        self.made = self.failed = self.in_a_row = 0
        self.slowest = 0.0
        """Seconds of the answer that took longest."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> "Requests":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _go_on(self) -> None:
        while not self._stop.wait(LOOK):
            begun = time.monotonic()
            if self._ask():
                self.in_a_row += 1
                self.slowest = max(self.slowest, time.monotonic() - begun)
            else:
                self.failed += 1
                self.in_a_row = 0
            self.made += 1

    def _ask(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=self.TIMEOUT)
        with contextlib.closing(connection), contextlib.suppress(OSError, HTTPException):
            connection.request("GET", "/")
            with connection.getresponse() as answer:
                return (answer.status, answer.read()) == (200, b"Hello, world!")
        return False
