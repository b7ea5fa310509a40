"""Worker processes: redelivery, threads, what an item and a task may be, sharing."""

import asyncio
import functools
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from example.runtime import process, slots, worker
from example.runtime.queue import SOURCE, Consumer

from ..layout import Layout
from ..server import Server
from ..waiting import eventually
from .workers import KEY, Workers

# redelivery


def test_a_killed_workers_items_are_done_within_two_seconds_of_its_replacement(
    workers: Workers,
) -> None:
    first = workers.start()
    workers.push("nap 60 a", "nap 60 b")
    workers.eventually(lambda: len(workers.told("start")) == 2)
    workers.kill(first)
    second = workers.start()
    begun = time.monotonic()
    workers.eventually(lambda: len(workers.told("start", second.pid)) == 2, within=2)
    assert time.monotonic() - begun < 2


def test_a_living_worker_takes_over_from_a_killed_one_beside_it(workers: Workers) -> None:
    """Within two seconds, although nobody replaces the killed one."""
    first = workers.start()
    workers.push("nap 60")
    workers.eventually(lambda: workers.told("start", first.pid))
    second = workers.start()
    workers.kill(first)
    workers.eventually(lambda: workers.told("start", second.pid), within=2)


def test_another_host_takes_over_within_ten_seconds(workers: Workers) -> None:
    """Nobody can look at the processes of the dead host, so its silence decides."""
    away = workers.start(host="away")
    workers.push("nap 60")
    workers.eventually(lambda: workers.told("start", away.pid))
    here = workers.start()
    workers.kill(away)
    workers.eventually(lambda: workers.told("start", here.pid), within=10)


def test_a_worker_that_slept_too_long_does_not_disturb_its_successor(workers: Workers) -> None:
    """SIGSTOP for longer than the lease: its items are done by others; awake, it goes on."""
    sleeper = workers.start(host="away", concurrency=1)
    workers.push("nap 0.3 taken")
    workers.eventually(lambda: workers.told("start"))
    sleeper.send_signal(signal.SIGSTOP)
    other = workers.start()
    workers.eventually(lambda: workers.told("end", other.pid), within=12)
    sleeper.send_signal(signal.SIGCONT)
    workers.eventually(lambda: "taken for dead" in workers.log(0))
    assert workers.kill(other, signal.SIGTERM) == 0
    workers.push("after")
    workers.eventually(lambda: "after" in workers.told("end", sleeper.pid))
    workers.eventually(workers.at_rest)
    assert workers.ended()["nap 0.3 taken"] <= 2


def test_what_an_idle_worker_was_given_and_could_not_start_is_done(workers: Workers) -> None:
    """BLMOVE gives the item to a worker that is killed before it knows."""
    first = workers.start()
    pushed: list[str] = []

    def given() -> bool:
        """Stopped it while it waited: not so if that was just between two waits."""
        first.send_signal(signal.SIGSTOP)
        pushed.append(f"item {len(pushed)}")
        workers.push(pushed[-1])
        if not workers.redis.client.exists(KEY):
            return True
        first.send_signal(signal.SIGCONT)
        workers.eventually(lambda: workers.told("end") == pushed and workers.at_rest())
        return False

    workers.eventually(given)
    workers.kill(first)
    workers.start()
    workers.eventually(lambda: workers.told("end") == pushed, within=2)
    workers.eventually(workers.at_rest)


def test_blmove_gives_nothing_to_a_worker_that_is_no_more(each_redis: Server) -> None:
    """The item stays where it is when the worker was taken for dead meanwhile."""
    client: Any = each_redis.client
    client.script_load(SOURCE)
    gone, other = Consumer(KEY), Consumer(KEY)
    client.execute_command(*gone.join())
    client.execute_command(*other.join())
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.execute_command, *gone.wait(10))
        eventually(lambda: client.info("clients")["blocked_clients"] == 1)
        client.execute_command(*other.tend([], [gone.name.encode()], 10))
        client.lpush(KEY, "x")
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            waiting.result()
    assert client.lrange(KEY, 0, -1) == [b"x"]


# what an item may be


@pytest.mark.parametrize("work", ["bytes", "thread"])
def test_any_bytes_arrive_untouched(workers: Workers, work: str) -> None:
    items = [b"", b"\0", b"\xff\xfe", b"two\nlines", b"0 0 0 0"]
    workers.start(work)
    workers.push(*items)
    shown = {item.decode(errors="backslashreplace") for item in items}
    workers.eventually(lambda: set(workers.told("end")) == shown)


def test_what_is_not_utf8_is_dead_at_once_for_a_task_that_takes_text(workers: Workers) -> None:
    workers.start("text")
    workers.push(b"\xff", "grüße")
    workers.eventually(lambda: workers.told("end") == ["grüße"])
    (entry,) = workers.eventually(workers.dead)
    assert entry[b"item"] == b"\xff"
    assert entry[b"why"] == b"the task takes str, and this is not UTF-8"


def test_64_huge_items_do_not_blow_up_memory(workers: Workers) -> None:
    """64 of 3 MB at once, concurrency 64: the worker stays below 150 MB."""
    workers.redis.client.config_set("appendonly", "no")  # the disk is not the point
    for number in range(64):
        workers.push(b"nap 0 %d " % number + b"x" * 3_000_000)
    worker = workers.start()
    workers.eventually(lambda: len(workers.told("end")) == 64, within=60)
    status = Path(f"/proc/{worker.pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    assert peak < 150, f"{peak} MB"


# threads


def test_a_blocking_function_stalls_nothing(workers: Workers) -> None:
    """Plain functions run in threads: the others go on, and nobody takes the worker for dead."""
    workers.start("thread", concurrency=2)
    workers.push("nap 7 long")
    workers.eventually(lambda: workers.told("start"))
    for number in range(20):
        workers.push(f"nap 0.01 {number}")
    workers.eventually(lambda: len(workers.told("end")) == 20)
    workers.eventually(workers.at_rest)
    assert workers.ended()["nap 7 long"] == 1
    assert len(workers.told("start")) == 21


@pytest.mark.parametrize(("work", "item"), [("thread", "nap 600"), ("bytes", "deaf 600")])
def test_a_worker_whose_slots_cannot_be_freed_makes_room_for_another(
    workers: Workers, work: str, item: str
) -> None:
    """Stuck tasks keep their slots; with half of the slots gone it drains, and exits with 1."""
    worker = workers.start(work, concurrency=4, job_timeout=0.2, max_attempts=1, drain_seconds=1)
    workers.push(f"{item} a")
    workers.eventually(workers.dead)
    workers.push("still works")
    workers.eventually(lambda: "still works" in workers.told("end"))
    assert worker.poll() is None
    workers.push(f"{item} b")
    assert worker.wait(10) == 1
    workers.eventually(workers.at_rest)
    assert len(workers.dead()) == 2


def test_a_suspect_that_cannot_be_stopped_runs_with_nothing_beside_it_either(
    workers: Workers,
) -> None:
    """Its worker starts nothing more, and makes room for another."""
    workers.redis.client.zadd(workers.key("suspects"), {"x#1 2 0 nap 600 suspect": 1})
    worker = workers.start("thread", job_timeout=0.2, max_attempts=1, drain_seconds=0)
    workers.eventually(lambda: workers.told("start"))
    workers.push("other")
    assert worker.wait(10) == 1
    assert workers.told("start") == ["nap 600 suspect"]
    workers.start()
    workers.eventually(lambda: "other" in workers.told("end"))


def test_a_large_item_of_a_task_that_cannot_be_stopped_leaves_room_for_others(
    workers: Workers,
) -> None:
    workers.start("thread", concurrency=4, job_timeout=0.2, max_attempts=1)
    workers.push("nap 60 " + "x" * 33_000_000)
    workers.eventually(workers.dead)
    workers.push("other")
    workers.eventually(lambda: "other" in workers.told("end"))


@pytest.mark.parametrize(("item", "lost"), [("nap 3", 1), ("first", 0)])
def test_a_worker_is_taken_for_dead_only_where_it_loses_something(
    workers: Workers, item: str, lost: int
) -> None:
    workers.start()
    workers.push(item)
    workers.eventually(lambda: workers.told("start") and workers.in_hand() == lost)
    client: Any = workers.redis.client
    (name,) = client.zrange(workers.key("workers"), 0, -1)
    other = Consumer(KEY)
    for request in (other.join(), other.tend([], [name], 10), other.leave()):
        client.execute_command(*request)
    workers.push("last")
    workers.eventually(lambda: "last" in workers.told("end"))
    assert workers.log().count("taken for dead") == lost


# what a task may be


def no_hint(item):  # type: ignore[no-untyped-def]
    ...


def wrong_hint(item: int) -> None: ...


def two_arguments(item: str, more: str) -> None: ...


@pytest.mark.parametrize("work", [no_hint, wrong_hint, two_arguments])
def test_a_task_that_does_not_say_what_it_takes_is_a_wrong_setting(
    work: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Status 2, which process managers do not retry, and a line that says what to write."""
    with pytest.raises(SystemExit) as ended:
        asyncio.run(worker.run(process.Process("x"), "redis://x", KEY, work, worker.Limits()))
    assert ended.value.code == 2
    assert "() must take one argument, with the type hint str or bytes" in caplog.text


def generator(item: str) -> Any:
    yield item


async def async_generator(item: str) -> Any:
    yield item


@pytest.mark.parametrize("work", [generator, async_generator])
def test_a_task_with_a_yield_is_a_wrong_setting(work: Any) -> None:
    """Nobody would run it, and its items would count as done."""
    with pytest.raises(TypeError, match="must have no yield"):
        slots._takes_text(work)


def test_the_hint_may_be_postponed_and_the_task_a_partial() -> None:
    """The worker ignores other hints, which need not resolve."""

    def task(times: int, item: "bytes") -> "Elsewhere":  # type: ignore[name-defined]  # noqa: F821
        raise NotImplementedError

    assert slots._takes_text(functools.partial(task, 3)) is False


# sharing


def test_what_waits_behind_a_slow_item_goes_to_an_idle_worker(workers: Workers) -> None:
    """Items taken ahead of a slow one are given back, and nobody waits for its end."""
    slow = workers.start(concurrency=1)
    workers.push(*(str(number) for number in range(2000)), "nap 60")
    workers.push(*("x" * 100 for number in range(5000)))
    workers.eventually(lambda: "nap 60" in workers.told("start"), within=30)
    workers.start(concurrency=1)
    workers.eventually(lambda: len(workers.told("end")) == 7000, within=10)
    workers.eventually(lambda: workers.in_hand() == 1)
    assert slow.poll() is None


def test_what_waits_behind_items_that_have_become_slow_goes_to_an_idle_worker(
    workers: Workers,
) -> None:
    """What was taken ahead of quick items is given back, though a slot falls free now and then."""
    workers.start(concurrency=1)
    workers.push(*map(str, range(3000)), *(f"nap 0.9 {number}" for number in range(30)))
    workers.eventually(lambda: "nap 0.9 0" in workers.told("start"))
    idle = workers.start(concurrency=1)
    workers.eventually(lambda: len(workers.told("start", idle.pid)) > 3, within=10)


def test_many_retries_that_are_due_do_not_wait_for_each_other(workers: Workers) -> None:
    """A request takes a few of them only, since they may be huge; but the next follows at once."""
    retries = {f"x#{number} 0 1 {number}": 1 for number in range(3000)}
    workers.redis.client.zadd(workers.key("retry"), retries)
    workers.start()
    workers.eventually(lambda: len(workers.told("end")) == len(retries), within=10)


def test_an_idle_worker_costs_next_to_nothing(workers: Workers) -> None:
    """It wakes up about twice a second."""
    worker = workers.start()
    stat = Path(f"/proc/{worker.pid}/stat")

    def ticks() -> int:
        fields = stat.read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before, seconds = ticks(), 3
    time.sleep(seconds)  # the measure is of an interval
    cost = (ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds
    assert cost < 0.05


def test_restarts_by_supervisorctl_under_load_lose_and_double_nothing(
    only: Callable[..., Layout],
) -> None:
    """`supervisorctl restart worker:*`, over and over, on the shipped configuration."""
    layout = only(worker=1)
    count = 0
    for _ in range(3):
        for _ in range(1000):
            layout.push(b"item %d." % count)
            count += 1
        layout.ctl("restart", "worker:*", check=True)
    layout.eventually(lambda: layout.redis.client.llen(KEY) == 0)
    layout.eventually(lambda: layout.stdout().count("WORKING: item ") >= count)
    said = Counter(re.findall(r"WORKING: (item \d+)\.", layout.stdout()))
    assert len(said) == count
    assert set(said.values()) == {1}
