"""scaler: as many workers as what waits asks for."""

import configparser
from collections.abc import Callable
from pathlib import Path

import pytest

from example.supervision.scaler import Policy

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
    return sum(name.startswith("worker:") for name in here.table())


def test_a_burst_is_met_and_drained_without_loss(
    foreign: Make, folder: Path, redis: Server
) -> None:
    """One worker becomes SCALE_MAX; when all is done, SCALE_MIN again. Each item is done once."""
    listener = example_section().replace("/..", "").replace('SECONDS="30"', 'SECONDS="5"')
    here = foreign(program(folder) + listener, REDIS_URL=redis.url).start()
    here.running("worker:worker_00", "scaler")
    for number in range(1500):
        redis.client.lpush("TESTING", number)
    here.eventually(lambda: workers(here) == 4, within=20)
    here.eventually(lambda: workers(here) == 1, within=60)
    worked = sorted(map(int, redis.client.lrange("worked", 0, -1)))
    assert worked == list(range(1500))
    assert "worker: 1 -> 4 for " in here.stdout()


def test_redis_away_changes_nothing(foreign: Make, folder: Path, redis: Server) -> None:
    """It is told once, and the number stays."""
    here = foreign(
        program(folder) + example_section().replace("/..", ""), REDIS_URL="redis://127.0.0.1:1"
    ).start()
    here.running("scaler")
    here.eventually(lambda: "scaler | " in here.stdout() and "Redis away" in here.stdout())
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
            + example_section().replace("/..", ""),
            REDIS_URL=f"redis+cluster://127.0.0.1:{node.port}",
        )
        (folder / "var").mkdir()
        here.start()
        here.eventually(lambda: workers(here) == 4, within=20)


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
    assert Policy(1, 4, 100, patience=3).want(workers, waiting) == wanted


def test_shrinking_takes_patience() -> None:
    """One by one, each after three quiet ticks; a little work starts the count anew."""
    policy = Policy(1, 4, 100, patience=3)
    assert [policy.want(4, 0) for _ in range(6)] == [4, 4, 3, 4, 4, 3]
    assert [policy.want(3, waiting) for waiting in (0, 0, 101, 0, 0, 0)] == [3, 3, 3, 3, 3, 2]
    assert [policy.want(1, 0) for _ in range(4)] == [1, 1, 1, 1]


def test_the_shipped_section_is_valid() -> None:
    parser = configparser.RawConfigParser()
    parser.read_string(example_section())
    assert parser.get("eventlistener:scaler", "command") == "example-scaler"
