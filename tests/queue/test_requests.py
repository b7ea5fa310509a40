"""Single requests of the real scripts: who joins again, what is due, what is huge."""

import time
from typing import Any, cast

import pytest

from example.runtime import producer
from example.runtime.producer import Requests
from example.runtime.queue import (
    BACKOFF_MOST,
    SOURCE,
    Consumer,
)

from ..server import Server as RealServer
from .test_scripts import HANDS, KEY, NAME, NEXTS


def taken_over(client: Any, former: Consumer) -> Consumer:
    """The same worker on its next connection."""
    consumer = Consumer(KEY, former)
    assert client.execute_command(*consumer.join()) == 1
    return consumer


@pytest.fixture
def consumer(redis: RealServer) -> Consumer:
    redis.client.script_load(SOURCE)
    consumer = Consumer(KEY)
    cast(Any, redis.client).execute_command(*consumer.join())
    return consumer


@pytest.mark.parametrize(("there", "in_hand", "waiting"), [("a", 1, []), ("b", 0, [b"b"])])
def test_joining_again_keeps_what_was_started_and_nothing_else(
    redis: RealServer, consumer: Consumer, there: str, in_hand: int, waiting: list[bytes]
) -> None:
    """A roll-back may have left another item where the one that was started had been."""
    client: Any = redis.client
    client.lpush(KEY, "a")
    started = consumer.start(client.execute_command(*consumer.wait(1)))
    client.lset(NEXTS + consumer.name, 0, there)
    again = taken_over(client, consumer)
    assert client.hexists(HANDS + again.name, started) == bool(in_hand)
    assert client.lrange(KEY, 0, -1) == waiting
    assert not client.exists(HANDS + consumer.name)


def test_a_clock_that_was_set_back_puts_no_retry_off_for_longer_than_any(
    redis: RealServer, consumer: Consumer
) -> None:
    client: Any = redis.client
    now = time.time() * 1000
    for kind in ("retry", "suspects"):
        members = {f"x#{each} 0 1 late": now + 3_600_000 for each in range(40)}
        client.zadd(NAME[kind], members | {"x#99 0 1 soon": now})
    client.execute_command(*consumer.tend([], [], 10))
    for kind in ("retry", "suspects"):
        (soon, first), *late = client.zrange(NAME[kind], 0, -1, withscores=True)
        assert (soon, round(first)) == (b"x#99 0 1 soon", round(now))
        assert len(late) == 40
        assert all(now < due < now + 1000 * BACKOFF_MOST + 10_000 for _, due in late)


@pytest.mark.parametrize(
    ("when", "comes"), [({"once": "key"}, True), ({"after": 0}, True), ({"after": 1}, False)]
)
def test_what_is_due_at_once_is_so_also_after_the_clock_was_set_back(
    redis: RealServer, consumer: Consumer, when: dict[str, Any], comes: bool
) -> None:
    """By an hour. What was pushed for later waits until it has come by that clock."""
    client: Any = redis.client
    ahead = producer.SOURCE.replace(b"redis.call('TIME')", b"{ redis.call('TIME')[1] + 3600, 0 }")
    assert ahead != producer.SOURCE
    how = [when.get(each) for each in ("after", "at", "once")]
    _, _, *request = Requests(KEY, 10).push(["item"], *how)
    assert client.eval(ahead, *request) == b"pushed"
    items, _, _ = client.execute_command(*consumer.step(1, 1 << 20, []))
    assert items == [b"item"] * comes


@pytest.mark.parametrize("when", [{"after": 0}, {"after": 0.001}, {"at": 1}])
def test_what_is_due_at_the_same_time_comes_in_the_order_of_the_pushes(
    redis: RealServer, consumer: Consumer, when: dict[str, Any]
) -> None:
    """Nor are more moved to where what is due waits than are wanted: QUEUE_LIMIT holds."""
    client: Any = redis.client
    pushes = producer.SyncProducer(redis.url, KEY, 100)
    items = [str(each) for each in range(40)]
    pushes.push_many(items[:20], **when)
    if "after" in when:
        for each in items[20:]:
            pushes.push(each, **when)
    else:
        pushes.push_many(items[20:], at=2)
    taken: list[str] = []
    while len(taken) < 40:
        new = consumer.took(client.execute_command(*consumer.step(1, 1 << 20, [])))
        taken += [item.decode() for item in new.items]
        assert client.zcard(NAME["later"]) == 40 - len(taken)
        assert not client.zcard(NAME["retry"])
    assert taken == items


def test_joining_again_keeps_the_turn_for_suspects(redis: RealServer, consumer: Consumer) -> None:
    """Else what is taken over the new connection would run beside the suspect."""
    client: Any = redis.client
    client.zadd(NAME["suspects"], {"x#1 2 0 suspect": 1})
    reply = client.execute_command(*consumer.step(10, 1 << 20, []))
    consumer.took(reply)
    again = taken_over(client, consumer)
    client.lpush(KEY, "other")
    items, _, hold = client.execute_command(*again.step(10, 1 << 20, []))
    assert (items, hold) == ([], 1)


def test_huge_items_behind_many_small_ones_are_looked_at_few_at_a_time(
    redis: RealServer, consumer: Consumer
) -> None:
    """Redis copies all that a script looks at, and what comes next may be huge at any time."""
    client: Any = redis.client
    client.config_set("appendonly", "no")  # it needs memory too
    client.lpush(KEY, *(["small"] * 127), *([b"x" * 1_000_000] * 2))
    for _ in range(63):
        client.lpush(KEY, *([b"x" * 1_000_000] * 2))
    before = client.info("memory")["used_memory"]
    items, _, _ = client.execute_command(*consumer.step(1024, 1 << 20, []))
    assert items[:127] == [b"small"] * 127
    assert client.info("memory")["used_memory_peak"] - before < 50_000_000
