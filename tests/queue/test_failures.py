"""Items that fail: retried, dead-lettered, kept apart; poison and time-outs."""

import json
import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from example.runtime.task import Again, GiveUp, attempt

from .workers import Workers


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


def test_json_lines_of_failures_tell_the_attempt_wherever_it_failed(workers: Workers) -> None:
    """In its task, before that, and when its time was up."""
    workers.log_format = "json"
    items = {b"x#1 1 2 nap 60": 1, b"x#2 1 2 fail": 1, b"x#3 1 2 \xff": 1}
    workers.redis.client.zadd(workers.key("retry"), items)
    workers.start("text", job_timeout=0.3, max_attempts=3)
    workers.eventually(lambda: len(workers.dead()) == 3)
    lines = [json.loads(line) for line in workers.log().splitlines()]
    failed = [line for line in lines if " failed, given up" in line["message"]]
    assert len(failed) == 3
    for line in failed:
        assert f"item {line['item']} failed" in line["message"]
        assert (line["attempt"], line["deaths"]) == (3, 1)


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


def test_what_somebody_else_has_put_among_the_retries_is_an_item_too(workers: Workers) -> None:
    """It is worked, and so are all that wait behind it."""
    client = workers.redis.client
    for key, theirs in (("retry", "by hand"), ("suspects", ""), ("later", "x#1 none of ours")):
        client.zadd(workers.key(key), {theirs: 1})
    workers.push("fail", "mate")
    workers.start(max_attempts=1)
    workers.eventually(lambda: set(workers.ended()) == {"by hand", "", "x#1 none of ours", "mate"})
    workers.eventually(workers.at_rest)
    assert set(workers.ended().values()) == {1}


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
    """Where the machine allows a few only, these do all the work. It asks again later."""
    workers.recovery_seconds = 0.3
    workers.start("few threads", concurrency=20)
    workers.push(*(f"nap 0.1 {each}" for each in range(40)))
    workers.eventually(lambda: len(workers.told("end")) == 40)
    assert workers.log().count("no more threads to be had: CONCURRENCY is 3 now") > 1


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
    started = [workers.start()]

    def dead() -> list[dict[bytes, bytes]]:
        """A worker that has died is replaced, as supervisord would."""
        if started[-1].poll() is not None:
            assert len(started) <= 4
            started.append(workers.launch())
        return workers.dead()

    (entry,) = workers.eventually(dead, within=60)
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
