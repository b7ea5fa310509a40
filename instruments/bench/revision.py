"""This worker beside that of another revision: scripts/bench revision REVISION.

Both run as `example-worker` does, with all default settings but the one that is measured, on one
server with its append-only file on; alternating rounds, medians with the lowest and highest ratio.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.layout import ROOT
from tests.server import Server
from tests.waiting import eventually

KEY = "TESTING"
ITEM = b"OK: 1234567890.1234567"
ROUNDS = 7
START = "from example import start_worker; start_worker()"
TICKS = os.sysconf("SC_CLK_TCK")
NOTHING = "async def work(item: bytes) -> None:\n    pass\n"
NAP = "import asyncio\n\nasync def work(item: bytes) -> None:\n    await asyncio.sleep(0.001)\n"


@dataclass(frozen=True)
class Measure:
    speed: float  # items a second
    worker: float  # CPU, us an item
    redis: float  # CPU, us an item


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench revision", description=__doc__)
    parser.add_argument("revision", help="what to compare with, as git names it")
    revision = parser.parse_args().revision
    cases = {
        "no-op tasks": (NOTHING, {}, 800_000),
        "no-op tasks, concurrency 1": (NOTHING, {"CONCURRENCY": "1"}, 400_000),
        "1 ms tasks": (NAP, {}, 100_000),
    }
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trees = [
            stack.enter_context(checked_out(folder / name, commit))
            for name, commit in (("then", revision), ("now", "HEAD"))
        ]
        server = stack.enter_context(Server(folder))
        print(f"HEAD beside {revision}: ratios above 1 are better in speed, worse in CPU")
        for name, (tasks, settings, count) in cases.items():
            for tree in trees:
                (tree / "example/tasks.py").write_text(tasks)
            rounds = [
                [drained(server, tree, settings, count) for tree in trees] for _ in range(ROUNDS)
            ]
            show(name, rounds)


@contextlib.contextmanager
def checked_out(folder: Path, revision: str) -> Iterator[Path]:
    """A working tree of this revision."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), revision], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def drained(server: Server, tree: Path, settings: dict[str, str], count: int) -> Measure:
    """The middle four fifths of draining `count` items by a worker of this tree."""
    server.client.flushall()
    for part in range(0, count, 10_000):
        server.client.lpush(KEY, *[ITEM] * min(10_000, count - part))
    names = {
        "REDIS_URL": server.url,
        "REDIS_KEY": KEY,
        "PYTHONPATH": str(tree),
        "LOG_LEVEL": "error",
    }
    worker = subprocess.Popen(
        [sys.executable, "-c", START], env=os.environ | names | settings, cwd=tree
    )
    try:
        first, last = (at_most(server, worker, count * share) for share in (0.9, 0.1))
    finally:
        worker.terminate()
        worker.wait()
    length, seconds, mine, redis = (a - b for a, b in zip(last, first, strict=True))
    items = -length
    return Measure(items / seconds, mine / items * 1e6, redis / items * 1e6)


def at_most(
    server: Server, worker: "subprocess.Popen[bytes]", length: float
) -> tuple[int, float, float, float]:
    """Once so few wait: how many, the time, and the CPU seconds of worker and server."""
    eventually(lambda: server.client.llen(KEY) <= length, within=60)
    fields = Path(f"/proc/{worker.pid}/stat").read_text().rsplit(")", 1)[1].split()
    info = server.client.info("cpu")
    mine = (int(fields[11]) + int(fields[12])) / TICKS
    redis = float(info["used_cpu_user"] + info["used_cpu_sys"])
    return server.client.llen(KEY), time.perf_counter(), mine, redis


def show(name: str, rounds: list[list[Measure]]) -> None:
    print(name)
    for what, unit in (("speed", "/s"), ("worker", " us"), ("redis", " us")):
        then, now = (statistics.median(getattr(each[i], what) for each in rounds) for i in (0, 1))
        ratios = [getattr(each[1], what) / getattr(each[0], what) for each in rounds]
        middle = statistics.median(ratios)
        digits = 0 if what == "speed" else 2
        print(
            f"  {what:8} {now:>10,.{digits}f}{unit} = {middle:.3f} x {then:,.{digits}f}{unit}"
            f"   [{min(ratios):.2f}, {max(ratios):.2f}]",
            flush=True,
        )


if __name__ == "__main__":
    main()
