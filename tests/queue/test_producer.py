"""Producer: pushing from one's own code."""

import asyncio
import gc
import signal
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as NoConnectionError
from redis.exceptions import ResponseError

from example.runtime.producer import DuplicateError, Producer, QueueFullError, SyncProducer

from ..server import Server
from .workers import Workers


def listed(redis: Server) -> list[bytes]:
    """What was pushed, oldest first."""
    items: Any = redis.client.lrange("TESTING", 0, -1)
    return list(reversed(items))


def test_what_is_pushed_is_on_the_list_byte_for_byte(redis: Server) -> None:
    async def push() -> None:
        producer = Producer(redis.url, "TESTING", 10)
        await producer.push("grüße")
        await producer.push(b"\0\xff\r\n")
        await producer.close()

    asyncio.run(push())
    assert redis.client.lrange("TESTING", 0, -1) == [b"\0\xff\r\n", "grüße".encode()]


def test_a_full_queue_raises_and_gets_no_item(redis: Server) -> None:
    async def push() -> None:
        producer = Producer(redis.url, "TESTING", 3)
        await producer.push("1")
        await producer.push("2")
        await producer.push("3")
        with pytest.raises(QueueFullError):
            await producer.push("4")
        await producer.close()

    asyncio.run(push())
    assert redis.client.llen("TESTING") == 3


def test_redis_may_come_and_go(folder: Path) -> None:
    """Away: an error at once. Back: the next push works, also over a connection that died."""
    server = Server(folder / "r")

    async def push() -> None:
        producer = Producer(server.url, "TESTING", 10)
        with pytest.raises(NoConnectionError):
            await producer.push("away")
        server.start()
        await producer.push("1")
        server.kill()
        server.start()
        await producer.push("2")
        await producer.close()

    try:
        asyncio.run(push())
        assert server.client.lrange("TESTING", 0, -1) == [b"2", b"1"]
    finally:
        server.__exit__()


def test_many_at_once_do_not_mix_up(redis: Server) -> None:
    """Also when some of them are refused, and when some no longer wait for their answer."""

    async def one(producer: Producer, item: str) -> None:
        patience = 0 if item.endswith("0") else None
        try:
            async with asyncio.timeout(patience):
                await producer.push(item)
        except TimeoutError:
            return
        except QueueFullError:
            assert item in full
        else:
            pushed.add(item)

    full, pushed = {str(each) for each in range(500)}, set[str]()

    async def push() -> None:
        producer = Producer(redis.url, "TESTING", 300)
        await asyncio.gather(*(one(producer, item) for item in full))
        await producer.close()

    asyncio.run(push())
    there = {item.decode() for item in listed(redis)}
    assert len(there) == 300
    assert pushed <= there


def test_a_frozen_redis_fails_all_within_one_time_out(frozen: Server) -> None:
    """Not one after the other; and none of those that did not get their turn is pushed later."""

    async def push() -> list[BaseException | None]:
        producer = Producer(frozen.url, "TESTING", 1000)
        async with asyncio.timeout(5):
            return await asyncio.gather(
                *(producer.push(str(each)) for each in range(50)), return_exceptions=True
            )

    outcomes = asyncio.run(push())
    assert [type(each) for each in outcomes] == [TimeoutError] * 50
    frozen.signal(signal.SIGCONT)
    assert frozen.client.ping()
    assert listed(frozen) == []


def test_a_redis_that_thaws_is_pushed_to_again(frozen: Server) -> None:
    async def push() -> None:
        producer = Producer(frozen.url, "TESTING", 10)
        with pytest.raises(TimeoutError):
            await producer.push("frozen")
        frozen.signal(signal.SIGCONT)
        await producer.push("thawed")
        await producer.close()

    asyncio.run(push())
    assert b"thawed" in listed(frozen)


def test_all_or_none_of_many_are_pushed_in_their_order(redis: Server) -> None:
    async def push() -> None:
        producer = Producer(redis.url, "TESTING", 20_001)
        await producer.push("first")
        await producer.push_many(str(each) for each in range(20_000))
        with pytest.raises(QueueFullError):
            await producer.push_many(["one", "too many"])
        await producer.push_many([])
        await producer.close()

    asyncio.run(push())
    assert listed(redis) == [b"first", *(b"%d" % each for each in range(20_000))]


def test_redis_may_lose_the_script_and_refuse(redis: Server) -> None:
    async def push() -> None:
        producer = Producer(redis.url, "TESTING", 10)
        await producer.push("1")
        redis.client.script_flush()
        await producer.push("2")
        redis.client.set("string", "")
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await Producer(redis.url, "string", 10).push("3")
        await producer.close()

    asyncio.run(push())
    assert listed(redis) == [b"1", b"2"]


@pytest.mark.parametrize("bad", ["\ud800", None, 5, {}])
def test_a_wrong_item_fails_only_its_own_push(redis: Server, bad: Any) -> None:
    """Not those that go to Redis with it."""

    async def push() -> list[BaseException | None]:
        producer = Producer(redis.url, "TESTING", 10)
        pushes = [producer.push(each) for each in ("1", bad, b"2")]
        outcomes = await asyncio.gather(*pushes, return_exceptions=True)
        await producer.close()
        return outcomes

    assert [type(each) for each in asyncio.run(push())] == [type(None), ValueError, type(None)]
    with pytest.raises(ValueError, match="is neither bytes nor a str"):
        SyncProducer(redis.url, "TESTING", 10).push(bad)
    assert listed(redis) == [b"1", b"2"]


def test_event_loops_may_come_and_go(redis: Server) -> None:
    """One Producer: by asyncio.run again and again, and in several threads at a time."""
    producer = Producer(redis.url, "TESTING", 1000)
    with ThreadPoolExecutor(4) as threads:
        for each in range(20):
            threads.submit(lambda item: asyncio.run(producer.push(item)), str(each)).result()
        for _ in threads.map(lambda item: asyncio.run(producer.push(item)), map(str, range(20))):
            pass
    assert len(listed(redis)) == 40
    assert redis.client.info("clients")["connected_clients"] == 1  # the test's own


def test_event_loops_that_have_ended_are_not_kept(redis: Server) -> None:
    producer = Producer(redis.url, "TESTING", 1000)

    async def push() -> weakref.ref[asyncio.AbstractEventLoop]:
        await producer.push("x")
        return weakref.ref(asyncio.get_running_loop())

    loops = [asyncio.run(push()) for _ in range(3)]
    gc.collect()
    assert [loop() is not None for loop in loops] == [False, False, True]


def test_a_producer_that_is_closed_fails_what_is_under_way() -> None:
    async def push() -> None:
        asked = asyncio.Event()

        async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            asked.set()
            await reader.read()
            writer.close()

        async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            producer = Producer(f"redis://127.0.0.1:{port}", "TESTING", 10)
            under_way = [asyncio.create_task(producer.push(each)) for each in "12"]
            await asked.wait()
            under_way.append(asyncio.create_task(producer.push("3")))
            await asyncio.sleep(0)
            await producer.close()
            for each in under_way:
                with pytest.raises(NoConnectionError, match="closed"):
                    await each

    asyncio.run(push())


# for a later time, and once


def test_what_is_pushed_for_later_starts_when_its_time_has_come(workers: Workers) -> None:
    """By Redis's clock, within a second; items that wait meanwhile go first."""

    async def push() -> float:
        producer = Producer(workers.redis.url, "TESTING", 10)
        now = redis_time(workers.redis)
        await producer.push("later", after=2)
        await producer.push_many(["sooner", "too"], at=now + 1)
        with pytest.raises(ValueError, match="not both"):
            await producer.push("when?", at=1, after=1)
        await producer.push("now")
        await producer.close()
        return now

    workers.start()
    pushed = asyncio.run(push())
    workers.eventually(lambda: workers.told("end")[-1:] == ["later"] and workers.at_rest())
    ahead = redis_time(workers.redis) - time.monotonic()
    at = {item: when + ahead - pushed for when, _, item in workers.lines("start")}
    assert workers.told("start")[0] == "now"
    assert min(at["sooner"], at["too"]) >= 1
    assert at["later"] >= 2


def redis_time(redis: Server) -> float:
    seconds, microseconds = redis.client.time()
    return seconds + microseconds / 1e6


@pytest.mark.parametrize("bad", ["\ud800", 5])
def test_a_key_that_is_not_text_is_refused(redis: Server, bad: Any) -> None:
    with pytest.raises(ValueError, match="is neither bytes nor a str"):
        SyncProducer(redis.url, "TESTING", 10).push("x", once=bad)
    assert redis.client.dbsize() == 0


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e13])
def test_an_absurd_time_is_refused(redis: Server, seconds: float) -> None:
    """1e13: milliseconds for seconds."""
    producer = SyncProducer(redis.url, "TESTING", 10)
    with pytest.raises(ValueError, match="use seconds from 0"):
        producer.push("x", after=seconds)
    with pytest.raises(ValueError, match="use seconds from 0"):
        producer.push_many(["x"], at=seconds)
    assert redis.client.dbsize() == 0


def test_later_items_are_counted_apart(redis: Server) -> None:
    producer = SyncProducer(redis.url, "TESTING", 2)
    producer.push_many(["1", "2"])
    producer.push_many(["3", "4"], after=1)
    with pytest.raises(QueueFullError):
        producer.push("5", after=1)
    with pytest.raises(QueueFullError):
        producer.push("5", once="five")
    assert not redis.client.exists("{TESTING}:once")


def test_only_one_item_with_a_key_exists_at_a_time(workers: Workers) -> None:
    """While it waits, is in hand, or its worker is dead; not when it is done or given up."""
    producer = SyncProducer(workers.redis.url, "TESTING", 10)

    def refused(item: str = "other") -> bool:
        try:
            producer.push(item, once="account 17")
        except DuplicateError:
            return True
        return False

    assert not refused("nap 0.5 first")
    assert refused()
    first = workers.start()
    workers.eventually(lambda: workers.told("start") == ["nap 0.5 first"])
    assert refused()
    workers.kill(first)
    assert refused()
    workers.start(max_attempts=1)
    workers.eventually(lambda: workers.told("end") == ["nap 0.5 first"])
    workers.eventually(lambda: not refused("fail"))
    workers.eventually(lambda: len(workers.dead()) == 1)
    assert not refused("last")
    workers.eventually(lambda: workers.told("end")[-1] == "last" and workers.at_rest())
    assert not workers.redis.client.exists("{TESTING}:once", "{TESTING}:later")
