"""Real worker processes on a real server, and what they have told in their ledger."""

import ast
import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..forks import FORKS, become_program
from ..server import Server
from ..waiting import eventually

T = TypeVar("T")
KEY = "TESTING"
# In one step, since an item that moves between two looks would be seen by neither.
COUNT = """
local held = 0
for _, hand in ipairs(redis.call('KEYS', ARGV[1])) do
  for _, id in ipairs(redis.call('HKEYS', hand)) do
    held = held + (tonumber(id) and 1 or 0)
  end
end
for _, started in ipairs(redis.call('KEYS', ARGV[2])) do
  held = held + (redis.call('TYPE', started).ok == 'list' and 1 or 0)
end
return {redis.call('EXISTS', unpack(KEYS)), held}
"""


class Worker:
    """A worker process, `tests.queue.program`: forked, which saves the time of its imports.

    It can do what subprocess.Popen can do.
    """

    def __init__(self, options: str, log: Path) -> None:
        log.touch()
        self._process = FORKS.Process(target=_run, args=(options, log, dict(os.environ)))
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("worker", timeout)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _run(options: str, log: Path, environ: dict[str, str]) -> None:
    become_program(environ, log, log)
    sys.argv[1:] = [options]
    runpy.run_module("tests.queue.program", run_name="__main__")


class Workers:
    """`start` some, push items, look at the ledger; `close` leaves no process."""

    def __init__(self, folder: Path, redis: Server, url: str | None = None) -> None:
        self.folder = folder
        self.redis = redis
        self.url = url or redis.url
        self.answer_seconds = 0.0  # how long they wait for an answer; 0: as shipped
        # Until a link is tried with more, and the machine asked for more threads; 0: as shipped.
        self.recovery_seconds = 0.0
        self.log_format = "text"
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self.logs: list[Path] = []
        self.all: list[Worker] = []

    def start(self, work: str = "bytes", host: str = "", **limits: float) -> Worker:
        """Start a worker and wait until it is ready."""
        worker = self.launch(work, host, **limits)
        log = self.logs[-1]
        self.eventually(lambda: "ready: " in log.read_text() or worker.poll() is not None)
        return worker

    def launch(self, work: str = "bytes", host: str = "", **limits: float) -> Worker:
        """Start a worker."""
        options = {
            "ledger": str(self.ledger), "url": self.url, "key": KEY,
            "work": work, "host": host, "limits": limits, "answer_seconds": self.answer_seconds,
            "log_format": self.log_format, "recovery_seconds": self.recovery_seconds,
        }  # fmt: skip
        self.logs.append(self.folder / f"worker{len(self.logs)}.log")
        self.all.append(Worker(json.dumps(options), self.logs[-1]))
        return self.all[-1]

    def push(self, *items: bytes | str) -> None:
        self.redis.client.lpush(KEY, *items)

    def told(self, what: str, pid: int | None = None) -> list[str]:
        """The items of all lines `what`, perhaps of one process only, in order."""
        return [item for _, by, item in self.lines(what) if pid in (None, by)]

    def lines(self, what: str) -> list[tuple[float, int, str]]:
        """Time, process and item of all lines `what`, in order."""
        whole = self.ledger.read_text().rpartition("\n")[0]  # the last one may be half written
        lines = (line.split(" ", 3) for line in whole.splitlines())
        return [
            (float(at), int(by), ast.literal_eval(item)) for word, by, at, item in lines
            if word == what
        ]  # fmt: skip

    def ended(self) -> Counter[str]:
        return Counter(self.told("end"))

    def key(self, name: str) -> str:
        return f"{{{KEY}}}:{name}"

    def dead(self) -> list[dict[bytes, bytes]]:
        entries: Any = self.redis.client.xrange(self.key("dead"))
        return [entry for _, entry in entries]

    def hand(self) -> dict[str, str]:
        """What stands in the hand of one worker that has one."""
        client: Any = self.redis.client
        hands = client.keys(self.key("hand:*"))
        fields = client.hgetall(hands[0]) if hands else {}
        return {name.decode(): value.decode() for name, value in fields.items()}

    def in_hand(self) -> int:
        """How many items all workers have in hand."""
        return self._count()[1]

    def at_rest(self) -> bool:
        """Whether nothing is left to do, and nobody holds anything."""
        return self._count() == [0, 0]

    def _count(self) -> list[int]:
        """How many keys hold what waits, and how many items are in hand."""
        waiting = (KEY, self.key("retry"), self.key("suspects"))
        moving = (self.key("hand:*"), self.key("next:*"))
        client: Any = self.redis.client
        counts: list[int] = client.eval(COUNT, len(waiting), *waiting, *moving)
        return counts

    def kill(self, worker: Worker, number: int = signal.SIGKILL) -> int:
        """Signal a worker and wait for its end; returns its status."""
        worker.send_signal(number)
        return worker.wait(30)

    def log(self, index: int = -1) -> str:
        return self.logs[index].read_text()

    def eventually(self, check: Callable[[], T], within: float = 15.0) -> T:
        return eventually(check, within, self.report)

    def report(self) -> str:
        tails = (f"--- {log.name}\n" + log.read_text()[-1500:] for log in self.logs)
        return "\n".join(["--- ledger", self.ledger.read_text()[-1500:], *tails])

    def close(self) -> None:
        for worker in self.all:
            worker.send_signal(signal.SIGKILL)
            worker.wait(30)
