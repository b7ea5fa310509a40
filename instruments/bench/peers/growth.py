"""The growth's measures: what one more costs, of items that wait, of workers, of programs."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.server import Server

from . import tree
from .many_programs import measure as programs
from .many_workers import ITEM, Workers

DEPTHS = [1, 10_000, 100_000, 1_000_000, 10_000_000]
WORKERS = [1, 2, 4, 8, 16, 32, 64]
ITEMS = 300_000
"""How many are worked while so many wait, or by so many workers."""
IDLE = 1.0
"""Seconds over which idle workers' CPU is taken."""
# A fork that rewrites the file would be measured in whichever round it strikes.
OPTIONS = ("--auto-aof-rewrite-percentage", "0")
Row = dict[str, Any]
Progress = Callable[[str], None]


def measure(rounds: int, scale: float, only: str, progress: Progress) -> Row:
    parts = {"queued": queued, "workers": workers, "programs": programs}
    found = {name: part(rounds, scale, progress) for name, part in parts.items() if only in name}
    about = {"rounds": rounds, "items": items(scale), "size": len(ITEM), "cores": os.cpu_count()}
    return found | about


@contextlib.contextmanager
def server() -> Iterator[Server]:
    with (
        tempfile.TemporaryDirectory(prefix="ex", dir="/tmp") as folder,
        Server(Path(folder), *OPTIONS) as found,
    ):
        yield found


def queued(rounds: int, scale: float, progress: Progress) -> list[Row]:
    """One worker, while so many more wait: all queues are filled first, and then take turns."""
    rows: list[Row] = []
    with server() as redis:
        for depth in DEPTHS:
            before = redis.client.info("memory")["used_memory"]
            progress(f"growth: {depth:,} items are queued")
            with Workers(redis, f"TESTING.{depth}") as none:
                none.fill(count := max(1, int(depth * scale)))
            grown = redis.client.info("memory")["used_memory"] - before
            rows.append({"count": count, "bytes": grown / count, "costs": [], "key": none.key})
        for number in range(rounds):
            for row in rows:
                progress(f"growth, round {number + 1} of {rounds}: {row['count']:,} queued")
                row["costs"].append(worked_above(redis, row, items(scale)))
    return rows


def worked_above(redis: Server, row: Row, count: int) -> dict[str, float]:
    with Workers(redis, row["key"]) as worker:
        worker.fill(row["count"] + count - worker.waiting())
        worker.start(1)
        return worker.cost(count)


def workers(rounds: int, scale: float, progress: Progress) -> list[Row]:
    """In each round, workers are added; each time, all work the same number of items together."""
    counts = [each for each in WORKERS if each <= max(2, WORKERS[-1] * scale)]
    rows: list[Row] = [{"count": each, "costs": [], "idle": []} for each in counts]
    with server() as redis:
        for number in range(rounds):
            with Workers(redis, "TESTING") as some:
                for row in rows:
                    progress(f"growth, round {number + 1} of {rounds}: {row['count']} workers")
                    some.start(row["count"])
                    some.await_idle()
                    row["idle"].append(idle(redis, some))
                    some.fill(items(scale))
                    row["costs"].append(some.cost(items(scale)))
    return rows


def idle(redis: Server, some: Workers) -> Row:
    """Of one worker among these: MiB, and shares of a core."""
    assert redis.process
    server_pid, pids = redis.process.pid, some.pids()
    shares = tree.shares([lambda: pids, lambda: [server_pid]], IDLE)
    return {
        "memory": tree.memory(pids) / len(pids),
        "worker": shares[0] / len(pids),
        "redis": shares[1] / len(pids),
    }


def items(scale: float) -> int:
    return max(2000, int(ITEMS * scale))
