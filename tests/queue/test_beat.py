"""Ticks: each tick once, never early, however many beats there are and whatever befalls them."""

import asyncio
import itertools
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from redis.exceptions import ResponseError

from example.runtime import beat, queue
from example.runtime.beat import Beat
from example.runtime.queue import SOURCE
from example.runtime.schedule import Cron, Entry, Every, check

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


# simulated time: the real script, with a clock that the test sets


class Simulation:
    """A beat whose clock and whose Redis's clock are the test's; Redis's is `ahead`."""

    def __init__(
        self, redis: Server, schedule: dict[str, Entry], start: float, runner: asyncio.Runner
    ) -> None:
        self.redis = redis
        self.runner = runner
        self.now = start
        self.ahead = 0.0
        self.schedule = schedule
        self.beat = self.another()

    def another(self, limit: int = 10**9) -> Beat:
        return Beat(self.redis.url, KEY, self.schedule, limit, lambda: self.now)

    def run(self, seconds: float, step: Callable[[], Any] | None = None) -> None:
        async def main() -> None:
            end = self.now + seconds
            try:
                while self.now < end:
                    self.redis.client.set("clock", round((self.now + self.ahead) * 1000))
                    pause = await self.beat.step()
                    if any(each.making for each in self.beat.timers if each.name != "stuck"):
                        await self.beat.rest(10)
                    else:
                        self.now = min(end, self.now + pause)
            finally:
                await self.beat.close()

        self.runner.run(main())


@pytest.fixture
def simulate(redis: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Simulation]]:
    real = SOURCE
    clock = b"{redis.call('GET','clock')/1000,0}"
    source = real.replace(b"redis.call('TIME')", clock).replace(
        b"time[1] * 1000 + math.floor(time[2] / 1000)", b"math.floor(time[1] * 1000 + 0.5)"
    )
    assert source != real
    monkeypatch.setattr(beat, "SOURCE", source)
    monkeypatch.setattr(queue, "SHA", redis.client.script_load(source))
    with asyncio.Runner() as runner:
        yield lambda schedule, start=1_800_000_000.5: Simulation(redis, schedule, start, runner)


def test_an_hour_does_not_drift(redis: Server, simulate: Callable[..., Simulation]) -> None:
    simulation = simulate({"second": Every(1, echo), "third": Every(7.5, lambda _: "")})
    simulation.run(3600)
    items = [item for item in reversed(redis.client.lrange(KEY, 0, -1)) if item]
    assert [float(item) for item in items] == [1_800_000_001 + i for i in range(3600)]
    assert redis.client.llen(KEY) == 3600 + 480


def test_missed_ticks_are_counted_and_one_is_made_up_for(
    redis: Server, simulate: Callable[..., Simulation], caplog: pytest.LogCaptureFixture
) -> None:
    simulation = simulate({"x": Every(10, echo)})
    simulation.run(20)
    assert pushed(redis) == [1_800_000_010, 1_800_000_020]
    simulation.now += 1003
    simulation.run(5)
    assert pushed(redis)[2:] == [1_800_001_020]
    assert "99 ticks of 'x' were missed" in caplog.text


def test_a_beat_that_starts_makes_up_for_the_last_tick_only(
    redis: Server, simulate: Callable[..., Simulation]
) -> None:
    """A nightly job whose beat was down at night is pushed in the morning, once."""
    night = datetime(2026, 6, 1, 3, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    entry = Cron("0 3 * * *", "Europe/Berlin", echo)
    simulation = simulate({"nightly": entry}, night - 3600)
    simulation.run(2 * 3600)
    assert pushed(redis) == [night]
    simulation.now += 3 * 86400 + 3600
    simulation.beat = simulation.another()
    simulation.run(3600)
    assert pushed(redis) == [night, night + 3 * 86400]


def test_a_new_entry_waits_for_its_first_tick(
    redis: Server, simulate: Callable[..., Simulation]
) -> None:
    simulation = simulate({"hourly": Every(3600, echo)})
    simulation.run(60)
    assert pushed(redis) == []


def test_a_full_queue_gets_no_ticks_which_is_logged_once_and_counted(
    redis: Server, simulate: Callable[..., Simulation], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    simulation = simulate({"x": Every(1, echo)})
    simulation.beat = simulation.another(limit=3)
    simulation.run(10)
    assert len(pushed(redis)) == 3
    assert caplog.text.count("queue full") == 1
    redis.client.delete(KEY)
    simulation.run(1)
    assert len(pushed(redis)) == 1
    assert "7 ticks of 'x' were not pushed" in caplog.text


def test_a_push_that_redis_refuses_leaves_the_tick_open(
    redis: Server, simulate: Callable[..., Simulation]
) -> None:
    """Only a tick that was pushed is on record. Here the list is of another type."""
    simulation = simulate({"x": Every(10, echo)})
    simulation.run(12)
    redis.client.rename(KEY, "aside")
    redis.client.set(KEY, "not a list")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        simulation.run(10)
    redis.client.delete(KEY)
    redis.client.rename("aside", KEY)
    simulation.run(5)
    assert pushed(redis) == [1_800_000_010, 1_800_000_020]


def test_functions_may_be_async_and_may_block_without_holding_up_others(
    redis: Server, simulate: Callable[..., Simulation]
) -> None:
    release = threading.Event()

    async def slow(now: float) -> str:
        await asyncio.sleep(0.01)
        return "async"

    def late(now: float) -> Any:
        return slow(now)

    def stuck(now: float) -> str:
        release.wait(60)
        return "stuck"

    entries = {"a": slow, "b": late, "stuck": stuck, "good": echo}
    simulation = simulate({name: Every(1, push) for name, push in entries.items()})
    try:
        simulation.run(10)
    finally:
        release.set()
    counts = Counter(item for item in redis.client.lrange(KEY, 0, -1))
    assert counts[b"async"] == 20
    assert len(counts) == 11


def test_a_function_that_hangs_costs_a_tick_and_a_bounded_number_of_threads(
    redis: Server,
    simulate: Callable[..., Simulation],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(beat, "MAKE_SECONDS", 0.05)
    release, calls = threading.Event(), []

    def hangs(now: float) -> str:
        calls.append(now)
        release.wait(60)
        return "hung"

    async def hangs_too(now: float) -> str:
        await asyncio.sleep(60)
        return "hung"

    simulation = simulate({"x": Every(1, hangs), "y": Every(10, hangs_too), "z": Every(1, "1")})
    try:
        simulation.run(20)
    finally:
        release.set()
    assert len(calls) == beat.HUNG
    assert caplog.text.count("schedule entry 'x' failed") == 20
    assert caplog.text.count("schedule entry 'y' failed") == 2
    assert len(pushed(redis)) == 20


def test_a_function_slower_than_its_period_pushes_at_its_own_pace_and_is_logged_once(
    redis: Server, simulate: Callable[..., Simulation], caplog: pytest.LogCaptureFixture
) -> None:
    async def slow(now: float) -> str:
        simulation.now += 1.2
        return echo(now)

    simulation = simulate({"x": Every(1, slow)})
    simulation.run(9)
    assert pushed(redis) == [1_800_000_001 + 2 * i for i in range(4)]
    assert caplog.text.count("the function of 'x' took 1.2 s") == 1


@pytest.mark.parametrize("error", [RuntimeError("broken"), SystemExit(1), asyncio.CancelledError()])
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_an_entry_that_raises_does_not_keep_others_from_their_time(
    error: BaseException,
    kind: str,
    redis: Server,
    simulate: Callable[..., Simulation],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nor does it end beat; and what it left out is not told as missed."""

    def broken(now: float) -> str:
        if now < 1_800_000_004:
            raise error
        return "works"

    async def broken_too(now: float) -> str:
        return broken(now)

    bad = Every(1, broken if kind == "plain" else broken_too)
    simulation = simulate({"bad": bad, "good": Every(1, echo)})
    redis.client.hset(f"{{{KEY}}}:ticks", "bad", "1800000000000")
    simulation.run(5)
    assert redis.client.llen(KEY) == 5 + 2
    assert caplog.text.count("schedule entry 'bad' failed") == 3
    assert "missed" not in caplog.text


@pytest.mark.parametrize("nothing", [None, 5, "\ud800"])
def test_an_entry_that_gives_no_item_does_not_keep_others_from_their_time(
    nothing: Any,
    redis: Server,
    simulate: Callable[..., Simulation],
    caplog: pytest.LogCaptureFixture,
) -> None:
    simulation = simulate({"bad": Every(1, lambda now: nothing), "good": Every(1, echo)})
    simulation.run(5)
    assert len(pushed(redis)) == 5
    assert "schedule entry 'bad' failed" in caplog.text


# daylight saving


@pytest.mark.parametrize(
    ("expression", "day", "expected"),
    [
        ("30 2 * * *", "2026-03-29", ["2026-03-29T03:00:00+02:00"]),  # 2:30 is skipped
        ("30 2 * * *", "2026-10-25", ["2026-10-25T02:30:00+02:00"]),  # 2:30 comes twice
        (
            "30 2-3 * * *",
            "2026-10-25",
            ["2026-10-25T02:30:00+02:00", "2026-10-25T03:30:00+01:00"],
        ),
        ("0 12 * * *", "2026-10-25", ["2026-10-25T12:00:00+01:00"]),
    ],
)
def test_cron_over_a_daylight_saving_change(expression: str, day: str, expected: list[str]) -> None:
    zone = ZoneInfo("Europe/Berlin")
    entry = Cron(expression, "Europe/Berlin", "")
    at = round(datetime.fromisoformat(day).replace(tzinfo=zone).timestamp() * 1000) - 1
    end = at + 24 * 3600_000
    found = []
    while (at := entry.after(at)) <= end:
        found.append(datetime.fromtimestamp(at / 1000, zone).isoformat())
    assert found == expected


def test_an_hourly_job_runs_in_both_of_the_hours_that_have_the_same_name() -> None:
    entry = Cron("30 * * * *", "Europe/Berlin", "")
    at = round(datetime(2026, 10, 24, 23, tzinfo=ZoneInfo("UTC")).timestamp() * 1000)
    slots = []
    for _ in range(4):
        at = entry.after(at)
        slots.append(at)
    assert {b - a for a, b in itertools.pairwise(slots)} == {3600_000}


@pytest.mark.parametrize(
    "expression", ["30 2 * * *", "*/7 * * * *", "0 2,3 * * *", "30 * * * *", "15 1-4 * * SUN"]
)
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-06-01"])
def test_the_latest_tick_is_one_that_counting_forward_finds_too(expression: str, day: str) -> None:
    """All beats agree on the ticks, whenever they look."""
    zone = ZoneInfo("Europe/Berlin")
    entry = Cron(expression, "Europe/Berlin", "")
    midnight = datetime.fromisoformat(day).replace(tzinfo=zone)
    start = round(midnight.timestamp() * 1000)
    slots = []
    at = start - 8 * 86400_000
    while at < start + 86400_000:
        at = entry.after(at)
        slots.append(at)
    for now in range(start, start + 6 * 3600_000, 600_000):
        assert entry.latest(now) == max(slot for slot in slots if slot <= now)


WRONG = {
    "zone": (Cron("0 3 * * *", "Mars/Base", "x"), "time zone 'Mars/Base' is not known"),
    "folder": (Cron("0 3 * * *", "Europe", "x"), "time zone 'Europe' is not known"),
    "words": (Cron("every day", "UTC", "x"), "'every day' is not a cron expression"),
    "never": (Cron("0 0 30 2 *", "UTC", "x"), "'0 0 30 2 *' is not a cron expression"),
    "no text": (Cron(5, "UTC", "x"), "5 is not a cron expression"),  # type: ignore[arg-type]
    "zero": (Every(0, "x"), "use seconds from 0.001"),
    "nan": (Every(float("nan"), "x"), "use seconds from 0.001"),
    "minute": (Every("1m", "x"), "use seconds from 0.001"),  # type: ignore[arg-type]
    "nothing": (Every(1, None), "None is neither bytes nor a str"),  # type: ignore[arg-type]
    "surrogate": (Every(1, "\udc80"), "is neither bytes nor a str that UTF-8 can hold"),
    "empty-handed": (Every(1, lambda: "x"), "must take one argument"),  # type: ignore[misc,arg-type]
    "string": ("0 3 * * *", "is neither Every"),
    "": (Every(1, "x"), "its name is not printable text"),
}


def test_every_fault_of_a_schedule_is_named() -> None:
    faults = check({name: entry for name, (entry, _) in WRONG.items()})
    assert len(faults) == len(WRONG)
    for fault, (name, (_, words)) in zip(faults, WRONG.items(), strict=True):
        assert fault.startswith(f"{name!r}: ")
        assert words in fault
    assert check([]) == ["SCHEDULE is not a dict of names and entries"]


def test_a_right_schedule_has_no_faults() -> None:
    async def push(now: float) -> bytes:
        return b""

    pushes = ["x", b"x", bytearray(b"x"), push, echo, lambda now, more=1: "x", str, time.ctime]
    every = {f"every {i}": Every(0.001, push) for i, push in enumerate(pushes)}  # type: ignore[arg-type]
    cron = {each: Cron(each, "Europe/Berlin", "x") for each in ("0 0 29 2 *", "0 12 * * MON#5")}
    assert check(every | cron) == []


def test_beat_with_a_wrong_schedule_ends_with_2_and_names_every_fault(
    redis: Server, popen: Popen
) -> None:
    wrong = """{"a": beat.Every(0, "x"), "b": beat.Cron("0 0 30 2 *", "UTC", "x")}"""
    entry = """{"x": beat.Every(0.1, lambda now: f"{now:.3f}")}"""
    program = popen([sys.executable, "-c", BEAT.replace(entry, wrong), redis.url])
    out, _ = program.communicate(timeout=30)
    assert program.returncode == 2
    assert "wrong schedule: 'a': " in out
    assert "wrong schedule: 'b': " in out
    assert "Traceback" not in out


# Redis's clock, and its moods


@pytest.mark.parametrize("already", [True, False])
def test_redis_clock_may_jump_forward(
    already: bool, redis: Server, simulate: Callable[..., Simulation]
) -> None:
    """Or ours may stand still, while the machine sleeps. A tick that passes so is pushed soon."""
    simulation = simulate({"hourly": Every(3600, echo)}, 1_800_000_000 - 1800)
    if already:
        redis.client.hset(f"{{{KEY}}}:ticks", "hourly", (1_800_000_000 - 3600) * 1000)
    simulation.run(60)
    simulation.ahead = 1790
    simulation.run(31)
    assert pushed(redis) == [1_800_000_000]


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
