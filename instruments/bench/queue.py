"""The queue beside the loop that most people would write: scripts/bench queue [--quick].

Naive is the article's worker, `while True: item = await redis.brpop(…); await work(item)`.
Both run on uvloop, on one server with its append-only file on; medians of alternating rounds.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
import uvloop

from example.runtime.appetite import HAND_BYTES, STEP_ITEMS
from example.runtime.worker import Limits, Worker
from tests.server import Server
from tests.waiting import eventually

KEY = "TESTING"
ITEM = b"OK: 1234567890.1234567"
Work = Callable[[Any], Awaitable[None]]


async def nothing(_: bytes) -> None:
    pass


async def short_nap(_: bytes) -> None:
    await asyncio.sleep(0.001)


def run(main: Coroutine[Any, Any, float]) -> float:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


# one worker in this process: items a second


async def naive(url: str, count: int, work: Work) -> float:
    client = redis.asyncio.Redis.from_url(url)
    begun = time.perf_counter()
    for _ in range(count):
        _, item = await client.brpop([KEY])  # type: ignore[misc]
        await work(item)
    speed = count / (time.perf_counter() - begun)
    await client.aclose()
    return speed


async def ours(url: str, count: int, work: Work, limits: Limits) -> float:
    left, done = count, asyncio.Event()

    async def counted(item: bytes) -> None:
        nonlocal left
        await work(item)
        left -= 1
        if not left:
            done.set()

    worker = Worker(url, KEY, counted, limits, lambda: None)
    begun = time.perf_counter()
    serving = asyncio.create_task(worker.serve())
    await done.wait()
    speed = count / (time.perf_counter() - begun)
    await worker.stop(serving)
    return speed


async def sleepers(count: int) -> float:
    """The same naps by 64 coroutines without any queue."""

    async def one() -> None:
        for _ in range(count // 64):
            await asyncio.sleep(0.001)

    begun = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(64)))
    return count / (time.perf_counter() - begun)


class Bench:
    def __init__(self, server: Server, scale: float) -> None:
        self.server = server
        self.scale = scale
        self.redis_cpu = self.worker_cpu = 0.0  # us an item, of the last measure

    def count(self, full: int) -> int:
        return max(1000, int(full * self.scale))

    def fill(self, count: int) -> None:
        self.server.client.flushall()
        self.add(count)

    def add(self, count: int, key: str = KEY) -> None:
        with self.server.client.pipeline(transaction=False) as pipe:
            for part in range(0, count, 1000):
                pipe.lpush(key, *[ITEM] * min(1000, count - part))
                if part % 100_000 == 0:
                    pipe.execute()
            pipe.execute()

    def cpu(self) -> float:
        info = self.server.client.info("cpu")
        return float(info["used_cpu_user"] + info["used_cpu_sys"])

    def speed(self, main: Callable[[str, int], Coroutine[Any, Any, float]], full: int) -> float:
        count = self.count(full)
        self.fill(count)
        before, mine = self.cpu(), time.process_time()
        speed = run(main(self.server.url, count))
        self.redis_cpu = (self.cpu() - before) / count * 1e6
        self.worker_cpu = (time.process_time() - mine) / count * 1e6
        return speed

    def compare(self, rounds: int, full: int, work: Work, limits: Limits) -> tuple[float, float]:
        """Medians of naive's speed and ours, and this run's Redis CPU of ours."""
        speeds: tuple[list[float], list[float]] = ([], [])
        cost = []
        for _ in range(rounds):
            speeds[0].append(self.speed(lambda url, n: naive(url, n, work), 20_000))
            speeds[1].append(self.speed(lambda url, n: ours(url, n, work, limits), full))
            cost.append(self.redis_cpu)
        self.redis_cpu = statistics.median(cost)
        return statistics.median(speeds[0]), statistics.median(speeds[1])

    # processes

    def processes(self, number: int, full: int) -> float:
        """Items a second of so many worker processes, all of them ready before the first item."""
        client, count = self.server.client, self.count(full)
        self.fill(0)
        self.add(count, "aside")
        command = [sys.executable, "-m", "instruments.bench.queue", "--serve", self.server.url]
        workers = [subprocess.Popen(command) for _ in range(number)]
        try:
            eventually(lambda: client.zcard(f"{{{KEY}}}:workers") == number, within=20)
            begun = time.perf_counter()
            client.rename("aside", KEY)
            while client.exists(KEY):
                time.sleep(0.002)
            return count / (time.perf_counter() - begun)
        finally:
            for worker in workers:
                worker.terminate()
                worker.wait()

    def idle(self, seconds: float = 10.0) -> float:
        """The share of a core that an idle worker process uses."""
        self.fill(0)
        command = [sys.executable, "-m", "instruments.bench.queue", "--serve", self.server.url]
        with subprocess.Popen(command) as worker:
            stat = Path(f"/proc/{worker.pid}/schedstat")
            eventually(lambda: self.server.client.zcard(f"{{{KEY}}}:workers") == 1)
            time.sleep(1)
            before = int(stat.read_text().split()[0])
            time.sleep(seconds)
            used = int(stat.read_text().split()[0]) - before
            worker.terminate()
        return used / 1e9 / seconds

    # latency

    def latency(self, count: int) -> tuple[list[float], list[float]]:
        """Milliseconds from before LPUSH in another process to the task; naive's and ours.

        In turns of 100, so that both see the same moods of the machine.
        """
        found: tuple[list[float], list[float]] = ([], [])
        for _ in range(max(1, count // 100)):
            for side in (0, 1):
                self.fill(0)
                run(self._latencies(found[side], 100, ours_too=bool(side)))
        return found

    async def _latencies(self, found: list[float], count: int, ours_too: bool) -> float:
        url, done = self.server.url, asyncio.Event()
        left = count + 5

        async def work(item: bytes) -> None:
            nonlocal left
            left -= 1
            if left < count:  # the first ones warm up
                found.append((time.monotonic() - float(item)) * 1000)
            if not left:
                done.set()

        async def loop() -> None:
            client = redis.asyncio.Redis.from_url(url)
            try:
                while True:
                    _, item = await client.brpop([KEY])  # type: ignore[misc]
                    await work(item)  # type: ignore[arg-type]
            finally:
                await client.aclose()

        worker = Worker(url, KEY, work, Limits(), lambda: None)
        serving = asyncio.create_task(worker.serve() if ours_too else loop())
        command = [sys.executable, "-c", PUSH, url, KEY, str(left)]
        producer = await asyncio.create_subprocess_exec(*command)
        await done.wait()
        await producer.wait()
        if ours_too:
            await worker.stop(serving)
        else:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        return 0.0


PUSH = """
import sys, time, redis
url, key, count = sys.argv[1:]
client = redis.Redis.from_url(url)
for _ in range(int(count)):
    time.sleep(0.005)
    client.lpush(key, str(time.monotonic()))
"""


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench queue", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the items, one round")
    parser.add_argument("--millions", type=int, default=10, help="the longest queue; default 10")
    parser.add_argument("--serve", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        report(Bench(server, 0.1 if options.quick else 1), options)


def report(bench: Bench, options: argparse.Namespace) -> None:
    rounds = 1 if options.quick else 5
    limits = Limits()
    python = ".".join(map(str, sys.version_info[:3]))
    version = bench.server.client.info("server")["redis_version"]
    print(
        f"Python {python}, uvloop, redis-py {redis.__version__}, server {version} with AOF,"
        f" {os.cpu_count()} cores\nconcurrency {limits.concurrency}, up to {STEP_ITEMS} items a"
        f" request, {HAND_BYTES >> 20} MiB in hand, JOB_TIMEOUT {limits.job_timeout:g} s"
    )

    def show(what: str, value: str, wanted: str) -> None:
        print(f"{what:58} {value:>34}   {wanted}", flush=True)

    theirs, mine = bench.compare(rounds, 300_000, nothing, limits)
    show(
        "no-op tasks, default settings",
        f"{mine:,.0f}/s = {mine / theirs:.1f} x {theirs:,.0f}/s",
        ">= 20 x naive",
    )
    show("  Redis CPU an item", f"{bench.redis_cpu:.2f} us", "<= 3 us")
    show("  worker CPU an item", f"{bench.worker_cpu:.2f} us", "")
    theirs, mine = bench.compare(rounds, 100_000, nothing, Limits(concurrency=1))
    show("no-op tasks, concurrency 1", f"{mine / theirs:.1f} x", ">= 1 x naive")

    nap = statistics.median(run(sleepers(bench.count(64_000))) for _ in range(rounds))
    naps = statistics.median(
        bench.speed(lambda url, n: ours(url, n, short_nap, limits), 64_000) for _ in range(rounds)
    )
    show(
        "1 ms tasks beside the same naps without a queue",
        f"{naps:,.0f}/s = {naps / nap:.2f} x {nap:,.0f}/s",
        ">= 0.8",
    )

    pairs = [(bench.processes(1, 500_000), bench.processes(2, 500_000)) for _ in range(rounds)]
    show(
        "two worker processes beside one",
        f"{statistics.median(two / one for one, two in pairs):.2f} x",
        ">= 1.5 where cores allow",
    )

    naive_ms, our_ms = bench.latency(2000 // (10 if options.quick else 1))
    for share in (0.5, 0.99):
        a, b = percentile(naive_ms, share), percentile(our_ms, share)
        show(
            f"idle queue, p{share * 100:.0f} from push to task",
            f"{b:.3f} ms = {b / a:.2f} x {a:.3f} ms",
            "<= 1.1 x naive",
        )

    sizes = sorted({1, max(1, options.millions)} if not options.quick else {1})
    speeds = []
    for millions in sizes:
        bench.fill(millions * 1_000_000)
        before = bench.cpu()
        speed = run(ours(bench.server.url, 300_000, nothing, limits))
        cost = (bench.cpu() - before) / 300_000 * 1e6
        speeds.append(speed)
        show(f"with {millions} million queued", f"{speed:,.0f}/s, Redis {cost:.2f} us", "flat")
    for slow, fast in itertools.pairwise(speeds):
        show("  the longest beside the shortest", f"{fast / slow:.2f} x", "about 1")
    bench.server.client.flushall()

    show("an idle worker process", f"{bench.idle() * 100:.3f} % of a core", "< 0.2 %")


def serve(url: str) -> None:
    """A worker process for others to measure."""
    from example.runtime import process, worker

    async def nothing_hinted(_: bytes) -> None:
        pass

    async def main() -> None:
        async with process.Process("worker") as this:
            await worker.run(this, url, KEY, nothing_hinted, Limits())

    process.run(main)


if __name__ == "__main__":
    main()
