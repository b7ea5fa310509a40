"""Ticks: each tick once, never early, however many beats there are and whatever befalls them."""

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from example.runtime.beat import Beat
from example.runtime.schedule import Every

from ..conftest import Popen
from ..server import Server
from ..waiting import eventually

KEY = "TESTING"


def echo(now: float) -> str:
    return f"{now:.3f}"


def assert_no_tick_escaped(slots: list[float], period: float, log: str) -> None:
    """Each tick was pushed once, or counted as missed, as happens on a busy machine."""
    steps = [round((b - a) / period, 3) for a, b in itertools.pairwise(slots)]
    assert all(step >= 1 and step == int(step) for step in steps), steps
    missed = sum(int(count) for count in re.findall(r"(\d+) ticks of 'x' were missed", log))
    assert sum(steps) - len(steps) == missed


def pushed(redis: Server) -> list[float]:
    """What was pushed, oldest first."""
    return [float(item) for item in reversed(redis.client.lrange(KEY, 0, -1))]


# several beats, real time


def test_many_beats_with_skewed_clocks_push_each_tick_once_and_none_early(
    redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Five beats, whose clocks run too fast or slow and start anywhere, for 60 ticks."""

    # In a thread it might be slow, and its item then be pushed for a later tick than it names.
    async def tick(now: float) -> str:
        return f"{now:.3f}"

    async def main() -> None:
        async def one(number: int) -> None:
            rate, start = 1 + (number - 2) / 20, number * 1e6
            skewed = lambda: start + time.monotonic() * rate  # noqa: E731
            every = Every(0.05, tick)
            each = Beat(redis.url, KEY, {"x": every}, 10**6, skewed)
            while len(pushed(redis)) < 60:
                await each.rest(await each.step())
            await each.close()

        await asyncio.gather(*(one(number) for number in range(5)))

    # What Redis's clock says at the moment of each push.
    spy = redis.client.monitor()  # type: ignore[no-untyped-call]
    with spy as monitor:
        listener = monitor.listen()
        asyncio.run(main())
        slots = pushed(redis)
        times: dict[float, float] = {}
        for command in listener:
            if command["command"].startswith(f"LPUSH {KEY} "):
                times[float(command["command"].split()[-1])] = command["time"]
            if len(times) == len(slots):
                break
    assert_no_tick_escaped(slots, 0.05, caplog.text)
    assert all(at >= slot for slot, at in times.items())


BEAT = """
import sys
from example.runtime import beat, log, process

async def main():
    async with process.Process("beat") as this:
        entry = {"x": beat.Every(0.1, lambda now: f"{now:.3f}")}
        await beat.run(this, sys.argv[1], "TESTING", entry, 10**6)

log.configure("info", "text")
process.run(main)
"""


@pytest.fixture
def start(redis: Server, popen: Popen) -> Callable[[], subprocess.Popen[str]]:
    def begin() -> subprocess.Popen[str]:
        program = popen([sys.executable, "-c", BEAT, redis.url])
        assert program.stdout
        assert "beat ready" in program.stdout.readline()
        return program

    return begin


def test_beats_may_be_killed_as_long_as_one_lives(
    redis: Server, start: Callable[[], subprocess.Popen[str]]
) -> None:
    """kill -9 of one of two: no tick is missed, none comes twice."""
    first, second = start(), start()
    eventually(lambda: len(pushed(redis)) > 5)
    first.kill()
    eventually(lambda: len(pushed(redis)) > 20)
    second.terminate()
    log = first.communicate()[0] + second.communicate()[0]
    assert_no_tick_escaped(pushed(redis), 0.1, log)


def test_a_paused_beat_does_not_flood_on_waking(
    redis: Server, start: Callable[[], subprocess.Popen[str]]
) -> None:
    """SIGSTOP for 2 s: it makes up for one tick at most, and counts the missed ones."""
    program = start()
    eventually(lambda: len(pushed(redis)) > 3)
    os.kill(program.pid, signal.SIGSTOP)
    time.sleep(2)  # the pause is the point
    before = len(pushed(redis))
    os.kill(program.pid, signal.SIGCONT)
    woken = time.monotonic()
    eventually(lambda: len(pushed(redis)) > before + 5)
    assert time.monotonic() - woken > 0.35
    program.terminate()
    out, _ = program.communicate()
    assert "ticks of 'x' were missed" in out
    assert program.returncode == 0


def test_redis_killed_in_flight_costs_beat_only_the_ticks_of_that_time(
    redis: Server, start: Callable[[], subprocess.Popen[str]]
) -> None:
    program = start()
    eventually(lambda: len(pushed(redis)) > 3)
    redis.kill()
    redis.start()
    before = len(pushed(redis))
    eventually(lambda: len(pushed(redis)) > before + 5)
    slots = pushed(redis)
    assert len(set(slots)) == len(slots)
    assert program.poll() is None


def test_a_refused_push_is_logged_once_until_one_is_accepted(
    redis: Server, start: Callable[[], subprocess.Popen[str]]
) -> None:
    """Also while Redis answers everything else: here it is a replica; then it is out of memory."""
    program = start()
    eventually(lambda: pushed(redis))
    redis.client.replicaof("127.0.0.1", "1")
    eventually(lambda: refusals(redis, "READONLY") > 2)
    redis.client.replicaof("NO", "ONE")
    pushes_again(redis)
    redis.client.config_set("maxmemory", "1")
    eventually(lambda: refusals(redis, "OOM") > 2)
    redis.client.config_set("maxmemory", "0")
    pushes_again(redis)
    program.terminate()
    out, _ = program.communicate()
    assert re.findall("Redis (?:refuses|back)", out) == ["Redis refuses", "Redis back"] * 2


def refusals(redis: Server, kind: str) -> int:
    """How often Redis has refused."""
    stats: Any = redis.client.info("errorstats")
    return int(stats.get(f"errorstat_{kind}", {"count": 0})["count"])


def pushes_again(redis: Server) -> None:
    before = len(pushed(redis))
    eventually(lambda: len(pushed(redis)) > before)
