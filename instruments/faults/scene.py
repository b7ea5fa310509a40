"""One launcher under a light load, a fault that strikes, and what its user saw of it."""

import contextlib
import itertools
import os
import re
import signal
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tests.launchers import Launcher
from tests.server import Server
from tests.waiting import eventually

from .columns import Column, user_code
from .traffic import Load

if TYPE_CHECKING:
    from .table import Fault

SETTLED = 2.0
"""Seconds that everything must have worked again before the scene ends."""
SILENCE = {"app": 1.0, "worker": 1.0, "beat": 2.0}
"""Seconds without a success after which a user calls the program away."""
CALM = 3.0
"""Seconds that an item in hand has to end when the load is over."""
PROGRAMS = {"app": "request", "beat": "tick", "worker": "began"}
"""Program -> the kind of note that only this program writes."""


class Skip(Exception):  # noqa: N818 it is no error
    """This fault cannot be had on this machine; the message says why."""


@dataclass(frozen=True)
class Seen:
    """What a user saw."""

    failed: int
    """Requests without their answer."""
    lost: int
    """Items that Redis had confirmed, that nobody worked, and that are in Redis no more."""
    doubled: int
    """Items worked more than once."""
    missed: int
    """Seconds without their tick."""
    ticks_doubled: int
    seconds: float | None
    """From the fault, or its end if it has one, until all worked again; of a fault that is to
    end the launcher: until it ended. None for never."""
    fewer: int
    """Processes that were there before, and for which there is no other in the end."""
    orphans: int
    """Processes that live a second after the launcher has ended."""
    status: int | None
    """Exit status of the launcher, if the fault ended it."""
    away: tuple[str, ...] = field(default=(), compare=False)
    """What did not work in the end."""


class Scene:
    """A launcher and its Redis in a folder of their own, from before the start to after the end."""

    def __init__(self, column: Column, url: str = "redis://127.0.0.1:{port}") -> None:
        self.column = column
        self._folder = tempfile.TemporaryDirectory(prefix="ex", dir="/tmp")
        self.folder = Path(self._folder.name)
        self.redis = Server(self.folder / "redis")
        home = self.folder / "l"
        home.mkdir()
        self.launcher: Launcher = column.make(home, self.redis)
        var = home / "var"
        var.mkdir(exist_ok=True)
        self.launcher.out = var / "stdout"
        environ = self.launcher.environ
        # No coverage of a copy of the package, which is gone when the report is made.
        for name in [name for name in environ if name.startswith("COVERAGE_")]:
            del environ[name]
        environ |= {
            "PYTHONPATH": str(user_code()),
            "PYTHONUNBUFFERED": "1",
            "FAULTS": str(self.folder),
            "REDIS_URL": url.format(port=self.redis.port),
        }
        self.load = Load(self.launcher.port, self.redis.port)
        self.stdout: int | None = None
        self.reader: int | None = None
        self.cleanup = contextlib.ExitStack()
        self.began = self.struck = self.healed = self.finished = 0.0
        self.status: int | None = None
        self.ended_at = float("inf")
        self.whole_at = 0.0
        self.crew = 0
        self.victim = 0
        self.left: int | None = None
        self.kept_then = ""
        self.endless: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.load.stop()
        self.launcher.close()
        self.redis.__exit__()
        self.cleanup.close()
        self._folder.cleanup()

    # what a test does

    def start(self) -> None:
        """Start the launcher and the load."""
        Launcher.start(self.launcher, self.stdout)
        self.load.start()
        self.began = time.monotonic()

    def works(self) -> None:
        """Wait until app answers, and items and ticks are worked."""
        self.eventually(lambda: self.successes("app") and self.successes("beat"))
        self.eventually(lambda: self.successes("worker"))
        self.began = time.monotonic()
        self.wait(1.0)
        self.crew = len(self.launcher.living())

    def ask(self, what: str) -> None:
        """Ask the programs to misbehave: see hooks.py."""
        (self.folder / what).touch()

    def pid(self, program: str) -> int:
        """The process of `program` that did the last thing."""
        return next(
            pid for _, kind, pid, _ in reversed(self.journal()) if kind == PROGRAMS[program]
        )

    def signal(self, program: str, number: int) -> None:
        """Signal a program; a worker gets it while it has an item in hand."""
        if program == "worker":
            self.in_hand("slow")
        self.victim = self.pid(program)
        self.strikes()
        os.kill(self.victim, number)

    def kill_worker(self) -> None:
        """kill -9, whatever it has in hand."""
        self.victim = self.pid("worker")
        self.strikes()
        os.kill(self.victim, signal.SIGKILL)

    def strikes(self) -> None:
        """The fault begins now."""
        self.struck = time.monotonic()

    def in_hand(self, kind: str) -> None:
        """Push an item of this kind, and wait until a worker has it in hand."""
        item = eventually(lambda: self.load.push(kind))
        assert item
        if kind == "endless":
            self.endless.add(item)
        self.eventually(lambda: any(n[1] == "began" and n[3] == item for n in self.journal()))

    def signal_parent(self, number: int) -> None:
        self.launcher.processes[-1].send_signal(number)

    def wait(self, seconds: float) -> None:
        """Let the fault last."""
        time.sleep(seconds)

    def heals(self) -> None:
        """The fault has an end of its own, and it is now."""
        self.healed = time.monotonic()

    def eventually(self, check: Any, within: float = 30.0) -> None:
        eventually(check, within, self.report)

    def report(self) -> str:
        """What to show when something was not as promised."""
        logs = [self.launcher.out, *sorted((self.folder / "l" / "var").glob("*.log"))]
        tails = (path.read_text(errors="replace")[-2000:] for path in logs)
        return "\n".join(f"--- {path.name}\n{tail}" for path, tail in zip(logs, tails, strict=True))

    # what is seen

    def journal(self) -> list[tuple[float, str, int, str]]:
        """(time, kind, pid, what) of all that the programs did."""
        notes = []
        path = self.folder / "journal"
        for line in path.read_text().splitlines() if path.exists() else []:
            when, kind, pid, what = line.split(" ", 3)
            notes.append((float(when), kind, int(pid), what))
        return notes

    def successes(self, program: str) -> dict[str, list[float]]:
        """Who was served -> when, for each whom the program serves."""
        served: dict[str, list[float]] = defaultdict(list)
        if program == "app":
            for request in list(self.load.requests):
                if not request.error:
                    served[f"app ({request.client})"].append(request.ended)
            return served
        prefix = {"beat": "OK: ", "worker": "item "}[program]
        for when, kind, _, what in self.journal():
            if kind == "worked" and what.startswith(prefix):
                served[program].append(when)
        return served

    def ended(self) -> bool:
        """Whether the launcher has ended by itself."""
        status = self.launcher.processes[-1].poll()
        if status is not None and self.status is None:
            self.status = status
            self.ended_at = time.monotonic()
        return status is not None

    def settled(self) -> bool:
        """Whether everything has been working for a while since the fault, or its end."""
        now, since = time.monotonic(), max(self.struck, self.healed)
        if now - since < SETTLED or now - self.whole_at < SETTLED or self._waiting():
            return False
        for program, silence in SILENCE.items():
            served = self.successes(program)
            if len(served) < (len(Load.CLIENTS) if program == "app" else 1):
                return False
            for times in served.values():
                lately = [now - SETTLED, *(when for when in times if when > now - SETTLED), now]
                if times[-1] < since or _longest_gap(lately) > silence:
                    return False
        return True

    def fewer(self) -> int:
        """How many processes have gone, or are stuck, and nobody has taken their place."""
        return max(0, self.crew - len(self.launcher.living() - {self.victim}))

    def watch(self, patience: float) -> None:
        """Until all works again, or the launcher has ended for good, or patience is at its end."""
        deadline = self.struck + patience
        while time.monotonic() < deadline and not self.settled():
            if self.ended() and not self.launcher.living():
                break
            if self.fewer():
                self.whole_at = time.monotonic()
            time.sleep(0.1)
        self.finished = time.monotonic()
        self.kept_then = self.kept()

    def watch_end(self, patience: float) -> None:
        """Until the launcher has ended, or patience is at its end."""
        deadline = self.struck + patience
        while time.monotonic() < deadline and not self.ended():
            time.sleep(0.02)
        self.finished = time.monotonic()

    def calm(self) -> None:
        """Give what is in hand the time to end: what is nowhere then is lost."""
        deadline = time.monotonic() + CALM
        while time.monotonic() < deadline and self.lost():
            time.sleep(0.1)

    def lost(self) -> list[str]:
        """Items that are neither worked nor in Redis."""
        kept = self.kept()
        return [item for item in self._waiting() if item not in kept]

    def orphans(self) -> int:
        """How many processes outlive the launcher by a second."""
        if self.left is not None:
            return self.left
        if not self.ended():
            return 0
        deadline = time.monotonic() + 1.0
        while self.launcher.living() and time.monotonic() < deadline:
            time.sleep(0.05)
        return len(self.launcher.living())

    def _waiting(self) -> set[str]:
        """Items that were pushed and not worked so far."""
        worked = {what for _, kind, _, what in self.journal() if kind == "worked"}
        return {each for each in list(self.load.pushed) if each not in worked | self.endless}

    def kept(self) -> str:
        """All that Redis holds, whatever it is that holds it."""
        client: Any = self.redis.client
        parts: list[bytes] = []
        for key in client.scan_iter():
            kind = client.type(key)
            if kind == b"list":
                parts += client.lrange(key, 0, -1)
            elif kind == b"hash":
                parts += client.hvals(key)
            elif kind == b"zset":
                parts += client.zrange(key, 0, -1)
            elif kind == b"stream":
                for _, values in client.xrange(key):
                    parts += values.values()
        return b"\n".join(parts).decode(errors="replace")

    def seen(self, fault: "Fault", orphans: int) -> Seen:
        """What a user saw, once the load is over and all is calm."""
        worked = Counter(what for _, kind, _, what in self.journal() if kind == "worked")
        # Whoever ends a launcher, or finds it ended, asks nothing more of it; while it starts for
        # the first time, nobody does yet.
        until = min(self.ended_at, self.struck if fault.ends else float("inf"))
        since = self._first("app") if fault.at_start else self.began
        failed = [each for each in self.load.requests if each.error and since <= each.begun < until]
        counted = not (fault.ends or fault.should_end or fault.at_start)
        missed, ticks_doubled = self._ticks() if counted else (0, 0)
        return Seen(
            failed=len(failed),
            lost=len(self.lost()),
            doubled=sum(worked[item] > 1 for item in self.load.pushed),
            missed=missed,
            ticks_doubled=ticks_doubled,
            seconds=self.seconds(fault),
            fewer=0 if fault.ends or fault.should_end or self.status is not None else self.fewer(),
            orphans=orphans,
            status=self.status,
            away=tuple(self._away()),
        )

    def seconds(self, fault: "Fault") -> float | None:
        """Until all was served again, or of a fault that is to end the launcher, until it ended."""
        since = max(self.struck, self.healed)
        if fault.ends or fault.should_end:
            return None if self.status is None else self.ended_at - since
        if self.status is not None or list(self._away()) or self.fewer():
            return None
        back = max(since, self.whole_at)
        for program, silence in SILENCE.items():
            for times in self.successes(program).values():
                for sooner, later in itertools.pairwise([self.began, *times]):
                    if later > self.struck and later - sooner > silence:
                        back = max(back, later)
        done = {what: when for when, kind, _, what in self.journal() if kind == "worked"}
        for item, pushed in self.load.pushed.items():
            if item in done and done[item] - pushed > SILENCE["worker"] + 1:
                back = max(back, done[item])
        return back - since

    def _away(self) -> Iterator[str]:
        for program, silence in SILENCE.items():
            served = self.successes(program)
            if not served:
                yield program
            for who, times in served.items():
                if self.finished - times[-1] > silence + 0.5:
                    yield who

    def _first(self, program: str) -> float:
        times = [when for series in self.successes(program).values() for when in series]
        return min(times, default=float("inf"))

    def _ticks(self) -> tuple[int, int]:
        """(missed, doubled) since the load began.

        By their number, and where a tick carries its time, what is doubled by that.
        """
        begun, worked = (
            Counter(
                what
                for when, kind, _, what in self.journal()
                if kind == wanted and what.startswith("OK: ") and self.began <= when < self.finished
            )
            for wanted in ("began", "worked")
        )
        waiting = re.findall(r"^OK: .*$", self.kept_then, re.MULTILINE)
        expected = self.finished - self.began
        if set(begun) | set(waiting) <= {"OK: {time.time()}"}:
            got = begun.total() + len(waiting)
            return max(0, int(expected - got)), max(0, int(got - expected))
        got = len(set(begun) | set(waiting))
        return max(0, int(expected - got)), sum(n - 1 for n in worked.values())


def _longest_gap(times: list[float]) -> float:
    return max(later - sooner for sooner, later in itertools.pairwise(times))
