"""What people see of the queue is true: each item in one place, each event counted once."""

import asyncio
import time
from collections import deque
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from example.runtime import runs, snapshot
from example.runtime.beat import Beat, Every
from example.runtime.hand import Hand
from example.runtime.producer import SyncProducer
from example.runtime.queue import SOURCE, Consumer, keys, script
from example.runtime.runs import BOUNDS
from example.runtime.snapshot import Sample, Snapshot

from ..server import Server
from .workers import KEY, Workers

SAMPLES = f"{{{KEY}}}:samples"
LONG = 10**14  # ms since the epoch, far from now


def look(redis: Server) -> Snapshot:
    return asyncio.run(snapshot.read(redis.url, KEY))


@pytest.fixture
def consumer(redis: Server) -> Consumer:
    redis.client.script_load(SOURCE)
    consumer = Consumer(KEY)
    ask(redis, consumer.join())
    return consumer


def ask(redis: Server, request: Any) -> Any:
    return cast(Any, redis.client).execute_command(*request)


def test_a_queue_that_nobody_has_used_is_empty(redis: Server) -> None:
    found = look(redis)
    assert (found.waiting, found.in_hand, found.oldest_seconds, found.samples) == (0, 0, None, [])
    assert set(found.totals.values()) == {0}
    assert redis.client.keys() == []


def test_each_item_is_in_one_place(redis: Server, consumer: Consumer) -> None:
    client = redis.client
    client.lpush(KEY, *"abcdef")
    ask(redis, consumer.step(2, 1000, []))
    consumer.start(ask(redis, consumer.wait(1)))
    client.zadd(f"{{{KEY}}}:retry", {"x#1 0 1 due": 1, "x#2 0 1 not yet": LONG})
    client.zadd(f"{{{KEY}}}:suspects", {"x#3 2 0 suspect": LONG})
    client.zadd(f"{{{KEY}}}:later", {"x#4 0 0 later": LONG})
    client.xadd(f"{{{KEY}}}:dead", {"item": "dead"})
    found = look(redis)
    assert (found.waiting, found.in_hand, found.workers) == (4, 3, 1)
    assert (found.retrying, found.later, found.dead) == (2, 1, 1)


def test_keys_of_another_type_are_no_error(redis: Server) -> None:
    """Except for the list itself, which must not look like an empty queue."""
    for key in keys(KEY)[2:]:
        redis.client.set(key, "x")
    assert look(redis).waiting == 0
    redis.client.set(KEY, "x")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        look(redis)


def test_what_cannot_be_counted_holds_up_neither_beat_nor_worker(redis: Server) -> None:
    """Here another program's keys have the names of totals and samples."""
    for key in (f"{{{KEY}}}:totals", SAMPLES):
        redis.client.set(key, "x")

    async def main() -> None:
        beat = Beat(redis.url, KEY, {"x": Every(0.05, "x")}, limit=10)
        hand = Hand(redis.url, KEY, dead_limit=10)
        try:
            while not redis.client.llen(KEY):
                await beat.rest(await beat.step())
            await beat.sample()
            await hand.join(is_stopping=False, running=[])
            await hand.tend([])
            assert await hand.step(1, 100, lambda: None) == 1
        finally:
            await hand.close()
            await beat.close()

    asyncio.run(main())


def test_what_befalls_items_is_counted(workers: Workers) -> None:
    """Done, failed, tried again, given up, given to others; pushed at once and for later."""
    redis = workers.redis
    first = workers.start(max_attempts=2)
    workers.push("die")
    workers.eventually(lambda: first.poll() is not None)
    workers.push("a", "b", "fail", "giveup")
    SyncProducer(redis.url, KEY, 100).push("later", after=0.01)
    workers.start(max_attempts=1)
    # The one that kills is alone with each of four workers.
    for _ in range(3):
        workers.eventually(lambda: workers.all[-1].poll() is not None)
        workers.start(max_attempts=1)
    workers.eventually(lambda: look(redis).dead == 3 and workers.at_rest())
    totals = look(redis).totals
    redelivered = totals["redelivered"]
    assert totals == {
        "pushed": 6, "done": 3, "failed": 2, "retried": 0, "dead": 3,
        "redelivered": redelivered, "taken": 3 + 2 + 1 + redelivered,
    }  # fmt: skip
    assert redelivered >= 3


def test_a_dead_worker_does_not_count_even_before_others_take_over(
    redis: Server, consumer: Consumer
) -> None:
    assert look(redis).workers == 1
    redis.client.zincrby(f"{{{KEY}}}:workers", -6000, consumer.name)
    assert look(redis).workers == 0


# how long the oldest has waited


class Line:
    """A queue in simulated time, and what samples of it say."""

    def __init__(self, most: int) -> None:
        self.now = 1_000_000
        self.line: deque[int] = deque()  # when each came, the next one first
        self.hand: list[int] = []
        self.listed = self.out = 0
        self.samples: deque[Sample] = deque(maxlen=most)
        self.truths: deque[float | None] = deque(maxlen=most)

    def push(self, count: int) -> None:
        self.line.extend([self.now] * count)
        self.listed += count

    def take(self, count: int) -> None:
        for _ in range(min(count, len(self.line))):
            self.hand.append(self.line.popleft())
            self.out += 1

    def put_back(self, index: int) -> None:
        if self.hand:
            self.line.appendleft(self.hand.pop(index % len(self.hand)))
            self.out -= 1

    def finish(self, count: int) -> None:
        del self.hand[:count]

    def wait(self, milliseconds: int) -> None:
        """One second has one sample."""
        for _ in range(milliseconds):
            self.now += 1
            if self.now % 1000 == 0:
                self.samples.append(self.sample())
                self.truths.append(self.truth())

    def sample(self) -> Sample:
        return Sample(self.now / 1000, len(self.line), 0, 0, 0, 0, 0, self.listed, [])

    def age(self) -> tuple[float | None, bool]:
        samples = [*self.samples, self.sample()]
        *_, last = snapshot.oldest_waits(samples, [*[0] * len(self.samples), self.out])
        return last

    def truth(self) -> float | None:
        return (self.now - min(self.line)) / 1000 if self.line else None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["push", "take", "put_back", "finish", "wait"]), st.integers(0, 3000)
    ),
    max_size=60,
)


def play(line: Line, steps: list[tuple[str, int]], put_back: bool) -> None:
    for what, amount in steps:
        if what == "put_back":
            line.put_back(amount if put_back else -1)
        else:
            getattr(line, what)(amount if what == "wait" else amount % 40)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_the_oldest_age_is_exact_to_a_second(steps: list[tuple[str, int]]) -> None:
    """Also where what was taken last is put back, and at each sample."""
    line = Line(most=10_000)
    line.wait(1500)
    play(line, steps, put_back=False)
    outs = [each.listed - each.waiting for each in line.samples]
    ages = [*snapshot.oldest_waits(line.samples, outs), line.age()]
    for (age, is_least), truth in zip(ages, [*line.truths, line.truth()], strict=True):
        assert (age is None) == (truth is None)
        if age is not None and truth is not None:
            assert age <= truth <= age + 1
            assert not is_least


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_the_oldest_age_is_never_exaggerated(steps: list[tuple[str, int]]) -> None:
    """Whatever is put back, and however few samples there are."""
    line = Line(most=3)
    play(line, steps, put_back=True)
    (age, is_least), truth = line.age(), line.truth()
    assert (age is None and not is_least) == (truth is None)
    if age is not None and truth is not None:
        assert age <= truth


def test_an_age_beyond_the_samples_is_said_to_be_the_least() -> None:
    line = Line(most=5)
    line.push(1)
    line.wait(60_000)
    assert line.age() == (4.0, True)


def test_what_others_remove_from_the_list_makes_nothing_older() -> None:
    line = Line(most=100)
    line.push(50)
    line.wait(60_000)
    line.line.clear()
    line.listed -= 50
    line.wait(2000)
    line.push(1)
    line.wait(3000)
    assert line.age() == (2.0, False)


def test_the_age_of_real_items(redis: Server, consumer: Consumer) -> None:
    """A sample of a minute ago says how many had come by then: what is taken shifts the rest."""
    redis.client.lpush(KEY, "old", "older")
    ask(redis, consumer.tend([], [], 10))
    shift(redis, -60)
    redis.client.lpush(KEY, "new")
    found = look(redis)
    assert found.oldest_seconds == pytest.approx(60, abs=5)
    assert found.oldest_is_least
    consumer.took(ask(redis, consumer.step(2, 1000, [])))
    # No sample has been taken since "new" came.
    found = look(redis)
    assert (found.oldest_seconds, found.oldest_is_least) == (None, True)
    ask(redis, consumer.give([2]))
    assert look(redis).oldest_seconds == pytest.approx(60, abs=5)


def test_what_is_due_counts_from_its_time_on(redis: Server) -> None:
    redis.client.zadd(f"{{{KEY}}}:later", {"x#1 0 0 due": time.time() * 1000 - 30_000})
    found = look(redis)
    assert found.oldest_seconds == pytest.approx(30, abs=5)
    assert not found.oldest_is_least


def test_what_is_due_at_once_counts_from_its_push_on(redis: Server) -> None:
    SyncProducer(redis.url, KEY, 10).push("x", once="key")
    assert look(redis).oldest_seconds == pytest.approx(0, abs=5)


# samples


def shift(redis: Server, seconds: float) -> None:
    """Have the last sample been taken so much later."""
    client: Any = redis.client
    at, _, rest = client.lindex(SAMPLES, -1).partition(b" ")
    client.lset(SAMPLES, -1, b"%d %s" % (int(at) + seconds * 1000, rest))


def sample(redis: Server) -> None:
    ask(redis, (*script(KEY, ""), "sample"))


def test_there_is_one_sample_a_second_whoever_takes_it(redis: Server, consumer: Consumer) -> None:
    for _ in range(20):
        ask(redis, consumer.tend([], [], 10))
        sample(redis)
    seconds = [each.time for each in look(redis).samples]
    assert len(set(seconds)) == len(seconds) < 20
    shift(redis, -60)
    sample(redis)
    assert len(look(redis).samples) == len(seconds) + 1


def test_each_sample_has_its_age(redis: Server, consumer: Consumer) -> None:
    redis.client.lpush(KEY, "a")
    sample(redis)
    shift(redis, -60)
    sample(redis)
    shift(redis, -20)
    consumer.took(ask(redis, consumer.step(2, 1000, [])))
    sample(redis)
    assert look(redis).ages == [None, pytest.approx(40, abs=5), None]


def test_samples_are_kept_for_ten_minutes(redis: Server, consumer: Consumer) -> None:
    redis.client.rpush(SAMPLES, *["1 0 0 0 0 0 0 0" + " 0" * runs.CLASSES] * 700)
    sample(redis)
    assert redis.client.llen(SAMPLES) == 600
    assert len(look(redis).samples) == 1


def test_samples_that_cannot_be_read_are_left_out(redis: Server, consumer: Consumer) -> None:
    """As those of another version, before or after an upgrade."""
    redis.client.rpush(SAMPLES, "1 2 3", "x")
    sample(redis)
    assert len(look(redis).samples) == 1


def test_samples_of_the_future_go(redis: Server, consumer: Consumer) -> None:
    """Redis's clock was set back."""
    sample(redis)
    shift(redis, 3600)
    sample(redis)
    (only,) = look(redis).samples
    assert only.time == pytest.approx(time.time(), abs=60)


def test_rates_are_those_of_the_last_minute(redis: Server, consumer: Consumer) -> None:
    sample(redis)
    shift(redis, -600)
    redis.client.lpush(KEY, *["x"] * 1000)
    sample(redis)
    shift(redis, -50)
    redis.client.lpush(KEY, *["x"] * 50)
    consumer.took(ask(redis, consumer.step(100, 1000, [])))
    ask(redis, consumer.step(0, 0, range(1, 26)))
    rates = look(redis).rates
    assert rates == pytest.approx({"pushed": 1, "taken": 2, "done": 0.5, "failed": 0}, rel=0.1)


def test_run_times_have_quantiles(workers: Workers) -> None:
    workers.start()
    workers.push(*["nap 0.05"] * 20, "nap 0.5 fail")
    workers.eventually(lambda: look(workers.redis).run_seconds.get("count") == 21)
    told = look(workers.redis).run_seconds
    assert 1.4 <= told["sum"] < 10
    assert 0.03 <= told["p50"] <= told["p95"] <= told["p99"]
    assert told["p99"] > 0.3


def test_of_many_small_tasks_some_stand_for_all(workers: Workers) -> None:
    workers.push(*(f"{number}" for number in range(3000)))
    workers.start()
    workers.eventually(lambda: look(workers.redis).totals["done"] == 3000)
    workers.kill(workers.all[-1], 15)
    assert look(workers.redis).run_seconds["count"] == pytest.approx(3000, rel=0.2)


@given(st.lists(st.floats(0, 300, exclude_min=True), min_size=1))
def test_a_quantile_is_in_the_class_of_the_true_one(seconds: list[float]) -> None:
    told = runs.Runs()
    for each in seconds:
        told.add(each)
    for share in (0.5, 0.95, 0.99):
        true = sorted(seconds)[max(0, -int(-share * len(seconds) // 1) - 1)]
        bound = next(bound for bound in BOUNDS if true <= bound)
        before = max((each for each in BOUNDS if each < bound), default=0)
        assert before <= runs.quantile(told.counts, share) <= bound


# schedule entries


def test_beat_takes_samples_and_tells_of_missed_ticks(redis: Server) -> None:
    """Ticks of a time when none ran, and those that found the queue full."""

    async def main() -> None:
        beat = Beat(redis.url, KEY, {"full": Every(0.05, "x"), "gap": Every(3600, "y")}, limit=0)
        redis.client.hset(f"{{{KEY}}}:ticks", "gap", str(round(time.time() - 86400) * 1000))
        try:
            while not beat.missed["full"] > 3:
                await beat.rest(await beat.step())
            assert await beat.sample() > 0
        finally:
            await beat.close()

    asyncio.run(main())
    found = look(redis)
    assert len(found.samples) == 1
    full, gap = found.schedule
    assert (full.name, gap.name) == ("full", "gap")
    assert full.missed >= 4
    assert gap.missed in (23, 24, 25)
    assert full.last == pytest.approx(time.time(), abs=60)
