"""scaler: as many workers as what waits asks for."""

import configparser
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from example.supervision.scaler import Load, Policy

from ..launchers import SCRIPTS
from ..layout import ROOT
from ..server import Server, free_port
from ..waiting import eventually
from .foreign import Foreign

Make = Callable[..., Foreign]

# Takes an item, works on it for a moment, notes it; TERM is heard between two items.
WORKER = """
import os, signal, sys, time
import redis
client = redis.Redis.from_url(os.environ["REDIS_URL"])
stopping = []
signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
while not stopping:
    if found := client.brpop(["TESTING"], timeout=1):
        time.sleep(0.02)
        client.rpush("worked", found[1])
"""


def example_section() -> str:
    """The listener's section as it is shipped."""
    return (ROOT / "supervisord.d" / "scaler.conf.example").read_text()


def program(folder: Path) -> str:
    (folder / "work.py").write_text(WORKER)
    (folder / "var").mkdir()
    return f"""
[program:worker]
command = {SCRIPTS}/python {folder}/work.py
process_name = worker_%(process_num)02d
"""


def workers(here: Foreign) -> int:
    """How many there are; the scaler is to have another look."""
    here.ask("sendRemoteCommEvent", "tick", "")
    return sum(name.startswith("worker:") for name in here.table())


def listener(**values: str) -> str:
    """The section as shipped, for a tick when the test asks for one, and with these values."""
    text = example_section().replace("/..", "").replace("TICK_5", "REMOTE_COMMUNICATION")
    for name, value in values.items():
        text = re.sub(f'SCALE_{name}=".*?"', f'SCALE_{name}="{value}"', text)
    return text


def test_a_burst_is_met_and_drained_without_loss(
    foreign: Make, folder: Path, redis: Server
) -> None:
    """One worker becomes SCALE_MAX; when all is done, SCALE_MIN again. Each item is done once."""
    here = foreign(program(folder) + listener(DOWN_SECONDS="5"), REDIS_URL=redis.url).start()
    here.running("worker:worker_00", "scaler")
    for number in range(500):
        redis.client.lpush("TESTING", number)
    here.eventually(lambda: workers(here) == 4, within=20)
    here.eventually(lambda: workers(here) == 1, within=60)
    here.eventually(lambda: redis.client.llen("worked") >= 500)
    worked = sorted(map(int, redis.client.lrange("worked", 0, -1)))
    assert worked == list(range(500))
    assert "worker: 1 -> 4 for " in here.stdout()


# A real worker, one item at a time; an item ends when there is a file of its name.
LONG = """
import asyncio, os, pathlib
from example.runtime import log, process, worker

async def work(item: str) -> None:
    print("began", item, flush=True)
    while not pathlib.Path(item).exists():
        await asyncio.sleep(0.02)

async def main() -> None:
    async with process.Process("worker") as this:
        limits = worker.Limits(concurrency=1, drain_seconds=0.1)
        await worker.run(this, os.environ["REDIS_URL"], "TESTING", work, limits)

log.configure("info", "text")
process.run(main)
"""


def test_workers_that_are_busy_stay(foreign: Make, folder: Path, redis: Server) -> None:
    """One long item for each: no more of them wait, but all are in hand. Each begins once."""
    programs = program(folder) + listener(BACKLOG="1", DOWN_SECONDS="5")
    (folder / "work.py").write_text(LONG)
    keys = "[program:worker]\ndirectory = %(here)s\nstdout_events_enabled = true"
    programs = programs.replace("[program:worker]", keys)
    here = foreign(programs, REDIS_URL=redis.url, LOG_LEVEL="debug").start()
    here.running("worker:worker_00", "scaler")
    redis.client.lpush("TESTING", "a", "b", "c", "d")
    here.eventually(lambda: workers(here) == 4 and begun(here) == 4, within=30)
    before = looks(here)
    here.eventually(lambda: workers(here) == 4 and looks(here) > before + 4)
    for item in "abcd":
        (folder / item).touch()
    here.eventually(lambda: workers(here) == 1, within=30)
    assert begun(here) == 4
    assert here.stdout().count(" -> 3 ") == 1


def begun(here: Foreign) -> int:
    return here.stdout().count("began ")


def looks(here: Foreign) -> int:
    return here.stdout().count(" in hand")


def test_redis_away_changes_nothing(foreign: Make, folder: Path, redis: Server) -> None:
    """It is logged once, and the number stays."""
    here = foreign(program(folder) + listener(), REDIS_URL="redis://127.0.0.1:1").start()
    here.running("scaler")
    here.eventually(lambda: workers(here) == 1 and "Redis away" in here.stdout())
    assert here.table()["scaler"] == "RUNNING"
    assert workers(here) == 1


def test_the_master_in_charge_is_asked(foreign: Make, folder: Path) -> None:
    """REDIS_URL names a cluster: the queue's length counts all the same."""
    bus = str(free_port())
    with Server(folder / "redis", "--cluster-enabled", "yes", "--cluster-port", bus) as node:
        node.client.cluster("ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: node.client.cluster("INFO")["cluster_state"] == "ok")
        node.client.lpush("TESTING", *range(1000))
        here = foreign(
            "[program:worker]\ncommand = sleep 600\nprocess_name = worker_%(process_num)02d\n"
            + listener(),
            REDIS_URL=f"redis+cluster://127.0.0.1:{node.port}",
        )
        (folder / "var").mkdir()
        here.start()
        here.eventually(lambda: workers(here) == 4, within=20)


def policy(share: int = 100, seconds: float = 1e6) -> Policy:
    return Policy(1, 4, share, seconds, patience=3)


def load(waiting: int, *hands: str, taken: int = 0, at: float = 0) -> Load:
    """What waits, and the ids in the hand of the workers 0, 1 …; each has taken so many."""
    return Load(
        at, waiting, {i: (frozenset(each.encode().split()), taken) for i, each in enumerate(hands)}
    )


@pytest.mark.parametrize(
    ("workers", "waiting", "wanted"),
    [
        (1, 0, 1),
        (1, 100, 1),
        (1, 101, 2),
        (1, 1000, 4),
        (4, 1000, 4),
        (3, 101, 3),
        (9, 500, 4),
        (0, 0, 1),
    ],
)
def test_growth(workers: int, waiting: int, wanted: int) -> None:
    """At once, by one worker for each hundred that wait, within the limits."""
    assert policy().want(range(workers), load(waiting)) == wanted


def test_what_is_in_hand_counts_up_to_a_worker_s_part() -> None:
    """Each works on one: a second that waits needs a second worker. Taken ahead, it does not."""
    assert policy(share=1).want(range(1), load(1, "a")) == 2
    assert policy(share=1).want(range(3), load(0, "a", "b", "c")) == 3
    assert policy(share=100).want(range(1), load(0, " ".join(map(str, range(2000))))) == 1


def test_shrinking_takes_patience() -> None:
    """One by one, each after three quiet ticks; a little work starts the count anew."""
    each = policy()
    assert [each.want(range(4), load(0)) for _ in range(6)] == [4, 4, 3, 4, 4, 3]
    waiting = (0, 0, 101, 0, 0, 0)
    assert [each.want(range(3), load(number)) for number in waiting] == [3, 3, 3, 3, 3, 2]
    assert [each.want(range(1), load(0)) for _ in range(4)] == [1, 1, 1, 1]


def test_a_busy_worker_is_not_taken_away() -> None:
    """Only the last one can go; it goes as soon as it is idle, or if its items are short."""
    each = policy()
    assert [each.want(range(2), load(0, "", "a")) for _ in range(9)] == [2] * 9
    assert each.want(range(2), load(0, "b", "")) == 1
    each = policy()
    assert [each.want(range(2), load(0, "", ids)) for ids in ("a b", "c", "d e")] == [2, 2, 1]
    each = policy()
    assert [each.want(range(2), load(0, "", ids)) for ids in ("a", "", "b", "b")] == [2, 2, 2, 2]


def test_slow_items_need_more_workers_than_their_number() -> None:
    """One worker ends an item in five seconds, so twenty that wait take it 100."""
    each = policy(seconds=30)
    assert each.want(range(1), load(20, "1", taken=1)) == 1
    assert each.want(range(1), load(19, "2", taken=2, at=5)) == 4
    each = policy(seconds=100)
    assert each.want(range(1), load(20, "1", taken=1)) == 1
    assert each.want(range(1), load(19, "2", taken=2, at=5)) == 1


def test_an_idle_time_says_nothing_about_how_fast_workers_are() -> None:
    each = policy(seconds=30)
    for _ in range(9):
        each.want(range(1), load(0, ""))
    assert each.want(range(1), load(50, "")) == 1


def test_the_shipped_section_is_valid() -> None:
    parser = configparser.RawConfigParser()
    parser.read_string(example_section())
    assert parser.get("eventlistener:scaler", "command") == "example-scaler"
