"""beat on the real script, with a clock that the test sets."""

import asyncio
import logging
import threading
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
from example.runtime.schedule import Cron, Entry, Every

from ..server import Server
from .test_beat import KEY, echo, pushed


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
    simulation = simulate({"whole": Every(4, echo), "not": Every(7.5, lambda _: "")})
    simulation.run(3600)
    items = [item for item in reversed(redis.client.lrange(KEY, 0, -1)) if item]
    assert [float(item) for item in items] == [1_800_000_004 + 4 * i for i in range(900)]
    assert redis.client.llen(KEY) == 900 + 480


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


# Redis's clock


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
