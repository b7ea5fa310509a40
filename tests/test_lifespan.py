"""lifespan() of tasks.py and schedule.py: opened before ready, closed after all is done."""

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .mine import Mine
from .server import Server

LIFESPAN = """
import asyncio, contextlib, time

@contextlib.asynccontextmanager
async def lifespan():
    print("opening")
    try:
        {opening}
        print("opened")
        yield
    finally:
        {closing}
        print("closed")
"""
TASKS = """
async def work(item: str) -> None:
    print("began", item)
    await asyncio.sleep(float(item))
    print("ended", item)
"""
PLAIN = """
def work(item: str) -> None:
    print("began", item)
    time.sleep(float(item))
"""
ASYNC = """
async def work(item: str) -> None:
    print("began", item)
    await asyncio.to_thread(time.sleep, float(item))
"""
SCHEDULE = """
from .runtime.schedule import Every

async def push(now):
    return f"{now}"

SCHEDULE = {"x": Every(0.1, push)}
"""

HANG = "print('began'); await asyncio.to_thread(time.sleep, 100)"
HANGS = SCHEDULE.replace("return", f"{HANG}; return")

Start = Callable[..., Mine]


def lifespan(opening: str = "pass", closing: str = "pass") -> str:
    return LIFESPAN.format(opening=opening, closing=closing)


@pytest.fixture
def start(launch: Callable[..., Any], redis: Server) -> Start:
    """Starts a program on files of its own: start("example-worker", tasks="…", TASK="x")."""

    def begin(command: str, tasks: str = TASKS, schedule: str = SCHEDULE, **environ: str) -> Mine:
        kind = partial(begin_mine, command, tasks, schedule)
        mine: Mine = launch(kind, redis, **environ)
        mine.start()
        return mine

    def begin_mine(command: str, tasks: str, schedule: str, folder: Path, redis: Server) -> Mine:
        return Mine(folder, redis, [command], tasks=tasks, schedule=schedule)

    return begin


def test_it_is_open_from_before_ready_until_after_the_drain(start: Start) -> None:
    worker = start("example-worker", tasks=lifespan() + TASKS)
    worker.push("0.5")
    worker.says("opened", "worker ready", "began 0.5")
    assert worker.stop() == [0]
    assert worker.said("stopping", "ended 0.5", "closed", "worker stopped")


def test_beat_has_one_too(start: Start) -> None:
    beat = start("example-beat", schedule=lifespan() + SCHEDULE)
    beat.says("opened", "beat ready", "PUSH")
    assert beat.stop() == [0]
    assert beat.said("PUSH", "closed", "beat stopped")


def test_its_failure_is_a_failed_start_with_one_traceback(start: Start) -> None:
    worker = start("example-worker", tasks=lifespan(opening="1 / 0") + TASKS)
    assert worker.ends() == 1
    assert worker.stdout().count("ZeroDivisionError") == 1
    assert "ready" not in worker.stdout()


GROUP = """
import asyncio, contextlib

@contextlib.asynccontextmanager
async def lifespan():
    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        yield
    print("closed")

async def watch():
    await begun.wait()
    1 / 0

begun = asyncio.Event()
"""
BEGINS = TASKS.replace("await", "begun.set(); await")


def test_a_task_of_it_that_fails_ends_the_worker_after_its_drain(start: Start) -> None:
    """With the task's own traceback, and status 1."""
    worker = start("example-worker", tasks=GROUP + BEGINS)
    worker.push("0.5")
    assert worker.ends() == 1
    assert worker.said("began 0.5", "ended 0.5", "ZeroDivisionError")
    assert not worker.redis.client.exists("TESTING", "{TESTING}:retry")
    assert worker.redis.client.zcard("{TESTING}:workers") == 0


@pytest.mark.parametrize(
    "left",
    [
        "asyncio.get_running_loop().run_in_executor(None, time.sleep, 1000)",
        "threading.Thread(target=time.sleep, args=(1000,)).start()",
    ],
)
def test_a_thread_that_is_left_does_not_hold_up_that_end(start: Start, left: str) -> None:
    group = GROUP.replace("    async with", f"    {left}\n    async with")
    worker = start("example-worker", tasks="import threading, time\n" + group + BEGINS)
    worker.push("0.1")
    assert worker.ends() == 1
    assert worker.stdout().count("ZeroDivisionError") == 1


def test_a_task_of_it_that_fails_ends_beat(start: Start) -> None:
    push = SCHEDULE.replace("    return", "    begun.set(); return")
    beat = start("example-beat", schedule=GROUP + push)
    assert beat.ends() == 1
    assert beat.said("ZeroDivisionError")


@pytest.mark.parametrize("program", ["example-worker", "example-beat"])
def test_what_is_no_lifespan_is_refused_by_name(start: Start, program: str) -> None:
    wrong = "async def lifespan():\n    yield\n"
    refused = start(program, tasks=wrong + "import asyncio" + TASKS, schedule=wrong + SCHEDULE)
    assert refused.ends() == 2
    assert "wrong lifespan(): decorate it" in refused.stdout()


def test_a_stop_breaks_off_its_opening(start: Start) -> None:
    worker = start("example-worker", tasks=lifespan(opening="await asyncio.sleep(100)") + TASKS)
    worker.says("opening")
    assert worker.stop() == [0]
    assert worker.said("closed")


@pytest.mark.parametrize("closing", ["await asyncio.sleep(100)", "1 / 0"])
def test_a_closing_that_hangs_or_fails_keeps_nobody_from_ending(start: Start, closing: str) -> None:
    worker = start("example-worker", tasks=lifespan(closing=closing) + TASKS)
    worker.says("ready")
    assert worker.stop() == [0]
    assert worker.said("lifespan() ")


def test_it_is_closed_also_where_a_thread_cannot_be_stopped(start: Start) -> None:
    worker = start("example-worker", tasks=lifespan() + PLAIN, DRAIN_SECONDS="0.1")
    worker.push("100")
    worker.says("began 100")
    assert worker.stop(signal.SIGTERM) == [0]
    assert worker.said("cannot be stopped", "closed")


@pytest.mark.parametrize("limit", ["DRAIN_SECONDS", "JOB_TIMEOUT"])
def test_it_is_closed_also_where_a_thread_outlives_its_task(start: Start, limit: str) -> None:
    """The task is cancelled, at the end or before, and what it has begun in a thread is not."""
    worker = start("example-worker", tasks=lifespan() + ASYNC, **{limit: "0.1"})
    worker.push("100")
    worker.says("began 100")
    worker.eventually(lambda: limit == "DRAIN_SECONDS" or worker.said("ran longer"))
    assert worker.stop() == [0]
    assert worker.said("closed", "worker stopped")


def test_a_thread_that_an_entry_has_begun_does_not_hold_up_beat(start: Start) -> None:
    beat = start("example-beat", schedule=lifespan() + HANGS)
    beat.says("began")
    assert beat.stop() == [0]
    assert beat.said("closed", "beat stopped")


def test_the_task_is_chosen_by_a_setting(start: Start) -> None:
    other = "async def mail(item: str) -> None:\n    print('mailed', item)\n"
    worker = start("example-worker", tasks=other, TASK="mail")
    worker.push("one")
    worker.says("mailed one")


def test_a_task_that_is_not_there_is_a_wrong_setting(start: Start) -> None:
    worker = start("example-worker", tasks="", TASK="mail")
    assert worker.ends() == 2
    assert "wrong setting: TASK: tasks.py has no function 'mail'" in worker.stdout()


CONTEXT = """
import asyncio, contextlib, contextvars, time

place = contextvars.ContextVar("place", default="nowhere")

@contextlib.asynccontextmanager
async def lifespan():
    place.set("lifespan")
    yield

{kind} work(item: str) -> None:
    print(item, "sees", place.get())
    place.set(item)
    {nap}(0.001)
"""


@pytest.mark.parametrize(
    ("kind", "nap"), [("async def", "await asyncio.sleep"), ("def", "time.sleep")]
)
def test_a_task_sees_context_variables_of_lifespan_and_of_no_other_task(
    start: Start, redis: Server, kind: str, nap: str
) -> None:
    items = [str(number) for number in range(300)]
    redis.client.lpush("TESTING", *items)
    tasks = CONTEXT.format(kind=kind, nap=nap)
    worker = start("example-worker", tasks=tasks, CONCURRENCY="1")
    worker.says(*(f"{item} sees lifespan" for item in items))
