"""Worker processes: redelivery, failures, poison, time-outs, any bytes, stopping."""

import asyncio
import functools
import json
import multiprocessing
import os
import re
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from example.runtime import process, slots, worker
from example.runtime.queue import SOURCE, Consumer
from example.runtime.task import Again, GiveUp, attempt

from ..layout import Layout
from ..server import Server
from ..waiting import eventually
from .workers import KEY, Workers

Process = subprocess.Popen[bytes]


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


# failures


def test_a_failing_item_is_retried_and_then_dead_with_its_story(workers: Workers) -> None:
    item = b"fail \0\xff\n"
    workers.start(max_attempts=3)
    workers.push(item)
    (entry,) = workers.eventually(workers.dead)
    assert entry[b"item"] == item
    assert entry[b"why"] == b"ValueError: told to fail"
    assert (entry[b"failures"], entry[b"deaths"]) == (b"3", b"0")
    assert len(workers.told("start")) == 3
    assert workers.at_rest()


def test_the_log_names_an_item_that_failed_as_the_retries_do(workers: Workers) -> None:
    """By `worker#id`, and without what the item holds."""
    workers.start()
    # Many, since each waits for a random time.
    workers.push(*(f"fail hunter{number}" for number in range(30)))
    retry = workers.key("retry")
    waiting: Any = workers.eventually(lambda: workers.redis.client.zrange(retry, 0, -1))
    names = [member.split(b" ")[0].decode() for member in waiting]
    workers.eventually(lambda: all(f"item {name} failed, again" in workers.log() for name in names))
    assert "hunter" not in workers.log()


@pytest.mark.parametrize("work", ["bytes", "thread"])
def test_a_task_may_say_that_its_item_can_never_be_done(workers: Workers, work: str) -> None:
    """It is tried once, not MAX_ATTEMPTS times, and logged as an error without a traceback."""
    workers.start(work)
    workers.push("giveup")
    (entry,) = workers.eventually(workers.dead)
    assert (entry[b"why"], entry[b"failures"]) == (b"GiveUp: told to give up", b"1")
    assert workers.told("start") == ["giveup"]
    assert "ERROR item " in workers.log()
    assert "Traceback" not in workers.log()


@pytest.mark.parametrize("work", ["bytes", "thread"])
def test_a_task_may_say_when_to_try_its_item_again(workers: Workers, work: str) -> None:
    """Exactly then, instead of at a random time. It counts as an attempt."""
    workers.start(work)
    workers.push("again 1.5")
    workers.eventually(lambda: workers.told("end"))
    (first, _, _), (second, _, _) = workers.lines("start")
    assert second - first >= 1.5
    assert "INFO item " in workers.log()
    assert "again in 1.5 s (1 of 5): Again: told to wait" in workers.log()
    assert workers.eventually(workers.at_rest)
    with pytest.raises(ValueError, match="use seconds"):
        Again(after=-1)


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("grouped giveup", "given up (1 of 1): GiveUp: told to give up"),
        ("grouped again 0", "again in 0.0 s (1 of 5): Again: told to wait"),
    ],
)
def test_what_a_task_says_is_heard_also_from_a_task_group(
    workers: Workers, item: str, told: str
) -> None:
    """And what else the group has is in the log."""
    workers.start()
    workers.push(item)
    workers.eventually(lambda: told in workers.log() and workers.at_rest())
    assert "OSError: besides" in workers.log()
    assert len(workers.told("start")) <= 2


def test_what_a_task_says_may_come_out_of_another_process() -> None:
    """And may be of a class of the user's own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        again = pool.submit(wait_longer).exception()
        assert isinstance(again, Longer)
        assert (again.after, str(again)) == (60, "busy")
        assert isinstance(pool.submit(give_up).exception(), GiveUp)


class Longer(Again):
    pass


def wait_longer() -> None:
    raise Longer("busy", after=60)


def give_up() -> None:
    raise GiveUp("no")


def test_a_task_knows_its_attempt_and_json_lines_tell_it(workers: Workers) -> None:
    """Also in a thread, and beside what `extra` gives. Deaths count apart."""
    first = workers.start("thread")
    workers.push("nap 0.5 again 0 who")
    workers.eventually(lambda: workers.told("start"))
    workers.kill(first)
    workers.log_format = "json"
    workers.start("thread", job_timeout=50)
    workers.eventually(lambda: workers.told("end"))
    lines = [json.loads(line) for line in workers.log().splitlines()]
    (line,) = [line for line in lines if line["message"] == "here"]
    assert (line["attempt"], line["deaths"]) == (2, 1)
    assert 0 < line["left"] <= 50
    assert any(f"item {line['item'].split('#')[0]}#" in each["message"] for each in lines)
    with pytest.raises(LookupError, match="give other threads and processes what it returns"):
        attempt()


def test_an_attempt_is_the_same_while_its_task_cannot_be_stopped(workers: Workers) -> None:
    """Its number and deaths, too, although it has failed by JOB_TIMEOUT."""
    workers.log_format = "json"
    workers.redis.client.zadd(workers.key("retry"), {"x#1 1 2 deaf 0.6 who": 1})
    workers.start(job_timeout=0.3)
    (line,) = workers.eventually(lambda: here(workers))
    assert (line["attempt"], line["deaths"]) == (3, 1)
    assert line["left"] < 0


def test_the_deadline_of_an_attempt_is_the_same_after_its_end(workers: Workers) -> None:
    """For what its task has begun, and whatever has started since."""
    workers.log_format = "json"
    workers.start()
    workers.push("who later")
    workers.eventually(lambda: workers.told("end"))
    workers.push("other")
    workers.eventually(lambda: len(here(workers)) == 2)
    first, second = here(workers)
    assert first["item"] == second["item"]
    assert first["deadline"] == second["deadline"]


def here(workers: Workers) -> list[dict[str, Any]]:
    whole = workers.log().rpartition("\n")[0]  # the last line may be half written
    lines = [json.loads(line) for line in whole.splitlines()]
    return [line for line in lines if line["message"] == "here"]


def test_the_dead_list_loses_its_oldest_and_tells_so(workers: Workers) -> None:
    workers.start(dead_limit=3)
    workers.push(*(f"giveup {number}" for number in range(5)))
    workers.eventually(lambda: len(workers.told("start")) == 5 and workers.at_rest())
    assert len(workers.dead()) == 3
    assert workers.log().count("the dead list is full") == 1


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("exit", b"SystemExit: 2"),
        ("surrogate", b"ValueError: \\udc80"),
        ("mute", b"MuteError: (its __str__ fails)"),
        ("timeless", b"TimelessError: "),
    ],
)
def test_whatever_a_task_raises_is_its_items_failure_only(
    workers: Workers, item: str, why: bytes
) -> None:
    """An exit, a text that is no UTF-8, an exception without one, an Again that does not say when:
    the worker lives on."""
    worker = workers.start("raises", max_attempts=1)
    workers.push(item, "other")
    (entry,) = workers.eventually(workers.dead)
    assert entry[b"why"] == why
    workers.eventually(lambda: "other" in workers.told("end"))
    assert workers.told("start").count(item) == 1
    assert worker.poll() is None


def test_a_function_that_leaves_its_work_to_others_fails_its_items(workers: Workers) -> None:
    """A coroutine that is returned instead of awaited is not taken for work that is done."""
    workers.start("returns", max_attempts=1)
    workers.push("x")
    (entry,) = workers.eventually(workers.dead)
    assert entry[b"item"] == b"x"
    assert b"make it async def" in entry[b"why"]


def test_a_worker_has_no_more_threads_than_its_event_loop_bears(workers: Workers) -> None:
    """With some thousands the loop waits so long for its turn that others take it for dead."""
    workers.start("thread", concurrency=10_000)
    assert "CONCURRENCY is 1000 here, the most for plain functions" in workers.log()
    workers.push(*(f"nap 60 {number}" for number in range(1001)))
    workers.eventually(lambda: len(workers.told("start")) == 1000)
    workers.start()
    workers.eventually(lambda: len(workers.told("start")) == 1001)


def test_a_worker_takes_what_threads_it_can_get(workers: Workers) -> None:
    """Where the machine allows a few only, these do all the work."""
    workers.start("few threads", concurrency=20)
    workers.push(*(f"nap 0.1 {each}" for each in range(40)))
    workers.eventually(lambda: len(workers.told("end")) == 40)
    assert "no more threads to be had: CONCURRENCY is 3 now" in workers.log()


def test_an_item_that_runs_too_long_is_charged_and_its_slot_is_free_again(
    workers: Workers,
) -> None:
    workers.start(concurrency=1, job_timeout=0.3, max_attempts=2)
    workers.push("nap 60")
    workers.push("other")
    workers.eventually(lambda: "other" in workers.told("end"))
    (entry,) = workers.eventually(workers.dead)
    assert entry[b"why"] == b"ran longer than JOB_TIMEOUT, 0.3 s"


def test_poison_dies_after_four_deaths_and_none_of_its_mates_is_charged(workers: Workers) -> None:
    mates = [f"nap 0.2 mate{i}" for i in range(20)]
    workers.push(*mates[:10], "nap 0.1 die", *mates[10:])
    deaths = 0
    worker = workers.start()
    while not workers.dead():
        if worker.poll() is not None:
            deaths += 1
            assert deaths <= 4
            worker = workers.launch()
        time.sleep(0.02)
    (entry,) = workers.dead()
    assert entry[b"item"] == b"nap 0.1 die"
    assert (entry[b"why"], entry[b"deaths"]) == (b"killed its worker", b"4")
    workers.eventually(lambda: set(workers.told("end")) == set(mates))
    workers.eventually(workers.at_rest)


def test_a_suspect_runs_with_nothing_beside_it(workers: Workers) -> None:
    """One worker empties its hand for it, under load, while another one goes on."""
    pids = [workers.start(concurrency=4).pid for _ in range(2)]
    for number in range(200):
        workers.push(f"nap 0.02 {number}")
    workers.eventually(lambda: {pid for _, pid, _ in workers.lines("start")} == set(pids))
    workers.redis.client.zadd(workers.key("suspects"), {"x#1 2 0 nap 0.3 suspect": 1})
    workers.eventually(lambda: "nap 0.3 suspect" in workers.told("start"))
    for number in range(200, 300):
        workers.push(f"nap 0.02 {number}")
    workers.eventually(lambda: len(workers.ended()) == 301)
    lines = workers.ledger.read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("start") and "susp" in line)
    end = next(i for i, line in enumerate(lines) if line.startswith("end") and "susp" in line)
    chosen = int(lines[begin].split()[1])
    open_before = Counter(line.split()[0] for line in lines[:begin] if f" {chosen} " in line)
    assert open_before["start"] == open_before["end"]
    between = {int(line.split()[1]) for line in lines[begin + 1 : end]}
    assert between <= set(pids) - {chosen}


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
    """64 of 5 MB at once, concurrency 64: the worker stays below 150 MB."""
    workers.redis.client.config_set("appendonly", "no")  # the disk is not the point
    for number in range(64):
        workers.push(b"nap 0 %d " % number + b"x" * 5_000_000)
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


# stopping


def test_term_lets_what_runs_finish_and_gives_the_rest_back_in_order(workers: Workers) -> None:
    worker = workers.start(concurrency=1, drain_seconds=5)
    workers.push("nap 0.5 first")
    workers.eventually(lambda: workers.told("start"))
    rest = [f"{number}" for number in range(30)]
    workers.push(*rest)
    begun = time.monotonic()
    assert workers.kill(worker, signal.SIGTERM) == 0
    assert time.monotonic() - begun < 2
    assert workers.told("end") == ["nap 0.5 first"]
    assert workers.redis.client.lrange(KEY, 0, -1) == [each.encode() for each in reversed(rest)]
    assert workers.redis.client.zcard(workers.key("workers")) == 0


def test_what_does_not_finish_in_time_is_given_back_uncharged(workers: Workers) -> None:
    worker = workers.start(drain_seconds=0.5)
    workers.push("nap 60")
    workers.eventually(lambda: workers.told("start"))
    assert workers.kill(worker, signal.SIGTERM) == 0
    assert workers.redis.client.lrange(KEY, 0, -1) == [b"nap 60"]
    assert workers.in_hand() == 0


def test_what_a_task_has_left_does_not_hold_up_the_stop(workers: Workers) -> None:
    """Its own threads, or processes of multiprocessing."""
    worker = workers.start()
    workers.push("leave")
    workers.eventually(lambda: workers.told("end"))
    assert workers.kill(worker, signal.SIGTERM) == 0


def test_an_idle_worker_stops_at_once(workers: Workers) -> None:
    worker = workers.start()
    begun = time.monotonic()
    assert workers.kill(worker, signal.SIGTERM) == 0
    assert time.monotonic() - begun < 1


def test_a_second_term_ends_it_now_and_nothing_is_lost(workers: Workers) -> None:
    worker = workers.start(drain_seconds=60)
    workers.push("nap 60")
    workers.eventually(lambda: workers.told("start"))
    worker.send_signal(signal.SIGTERM)
    workers.eventually(lambda: "stopping" in workers.log())

    def ended_by_term() -> bool:
        worker.terminate()
        return worker.poll() is not None

    workers.eventually(ended_by_term)
    assert worker.returncode == 128 + signal.SIGTERM
    other = workers.start()
    workers.eventually(lambda: workers.told("start", other.pid), within=2)


@pytest.mark.parametrize("last", [signal.SIGTERM, signal.SIGKILL])
def test_an_end_that_was_asked_for_is_charged_to_no_item(
    workers: Workers, last: signal.Signals
) -> None:
    """TERM, and another signal in the midst of it, four times: it is no suspect, nor given up."""
    workers.push("nap 60")
    for _ in range(4):
        worker = workers.start(drain_seconds=60)
        workers.eventually(lambda worker=worker: workers.told("start", worker.pid))  # type: ignore[misc]
        worker.send_signal(signal.SIGTERM)
        workers.eventually(lambda: "stop" in workers.hand())

        def ended(worker: Process = worker) -> bool:
            worker.send_signal(last)
            return worker.poll() is not None

        workers.eventually(ended)
    workers.start()
    workers.eventually(lambda: "0 0 nap 60" in workers.hand().values())


def test_restarts_under_load_lose_and_double_nothing(workers: Workers) -> None:
    """TERM and start again, over and over, while items come and end within DRAIN_SECONDS."""
    count = 0
    worker = workers.start(concurrency=8)
    for _ in range(6):
        for _ in range(300):
            workers.push(f"nap 0.01 {count}")
            count += 1
        assert workers.kill(worker, signal.SIGTERM) == 0
        worker = workers.start(concurrency=8)
    workers.eventually(lambda: len(workers.ended()) == count)
    workers.eventually(workers.at_rest)
    assert set(workers.ended().values()) == {1}


def test_it_stops_in_time_while_redis_is_away(workers: Workers) -> None:
    worker = workers.start(drain_seconds=1)
    workers.redis.kill()
    begun = time.monotonic()
    assert workers.kill(worker, signal.SIGTERM) == 0
    assert time.monotonic() - begun < 4


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


def test_restarts_by_supervisorctl_under_load_lose_and_double_nothing(layout: Layout) -> None:
    """`supervisorctl restart worker:*`, over and over, on the shipped configuration."""
    count = 0
    for _ in range(3):
        for _ in range(2000):
            layout.push(b"item %d." % count)
            count += 1
        layout.ctl("restart", "worker:*", check=True)
    layout.eventually(lambda: layout.redis.client.llen(KEY) == 0)
    layout.eventually(lambda: layout.stdout().count("WORKING: item ") >= count)
    said = Counter(re.findall(r"WORKING: (item \d+)\.", layout.stdout()))
    assert len(said) == count
    assert set(said.values()) == {1}
