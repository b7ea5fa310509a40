"""Worker processes of this layout on one queue, and what an item costs them and Redis."""

import signal
import subprocess
import tempfile
import time
from typing import NamedTuple, Self

from tests.layout import ROOT
from tests.server import Server
from tests.waiting import eventually

from . import tree
from .contenders import HERE
from .side import THEIRS, scripts
from .theirs.marks import NOOP, Marks

ITEM = '{"order": 1234567, "to": "somebody"}'
AT_ONCE = 100_000
"""How many one script pushes: Redis does nothing else meanwhile."""
FILL = """
local thousand = {}
for number = 1, 1000 do thousand[number] = ARGV[1] end
local left = tonumber(ARGV[2])
while left > 0 do
    redis.call("LPUSH", KEYS[1], unpack(thousand, 1, math.min(left, 1000)))
    left = left - 1000
end
"""
WITHIN = 60.0


class Look(NamedTuple):
    when: float
    done: int
    workers: float
    redis: float


class Workers:
    """A context; its workers end with it, and what is still queued stays."""

    def __init__(self, server: Server, key: str) -> None:
        self.key = key
        self._server = server
        self._folder = tempfile.TemporaryDirectory(prefix="ex", dir="/tmp")
        self._marks = Marks(self._folder.name)
        self._base = 0
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait(WITHIN)
        self._folder.cleanup()

    def waiting(self) -> int:
        return int(self._server.client.llen(self.key))

    def fill(self, count: int) -> None:
        for start in range(0, count, AT_ONCE):
            self._server.client.eval(FILL, 1, self.key, ITEM, min(AT_ONCE, count - start))

    def start(self, count: int) -> None:
        """As many more as are missing."""
        environ = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": f"{THEIRS}:{ROOT}",
            "REDIS_URL": self._server.url,
            "REDIS_KEY": self.key,
            "MARKS": self._folder.name,
            "LOG_LEVEL": "warning",
        }
        while len(self._processes) < count:
            process = subprocess.Popen(
                [scripts(HERE) / "python", THEIRS / "on_growth.py"],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            self._processes.append(process)

    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def await_idle(self) -> None:
        """Until all wait for an item."""
        info = self._server.client.info
        eventually(lambda: info("clients")["blocked_clients"] == len(self._processes), WITHIN)

    def cost(self, count: int) -> dict[str, float]:
        """Of an item, over the middle four fifths of `count`: us of CPU; and items a second.

        CPU outside of these is what a worker needs to start.
        """
        first = self._look_at(count // 10)
        last = self._look_at(count * 9 // 10)
        self._base += count
        done = last.done - first.done
        return {
            "rate": done / (last.when - first.when),
            "workers": (last.workers - first.workers) / done * 1e6,
            "redis": (last.redis - first.redis) / done * 1e6,
        }

    def _look_at(self, count: int) -> Look:
        """Once so many more are done."""
        eventually(lambda: self._marks.count(NOOP) >= self._base + count, WITHIN)
        return self._look()

    def _look(self) -> Look:
        assert self._server.process
        redis = tree.cpu([self._server.process.pid])
        return Look(time.perf_counter(), self._marks.count(NOOP), tree.cpu(self.pids()), redis)
