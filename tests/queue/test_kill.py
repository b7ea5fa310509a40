"""kill -9 at any moment, of workers and of Redis, while items come in."""

import os
import random
import signal
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..server import Server, server_programs
from .workers import KEY, Workers

SECONDS = float(os.environ.get("QUEUE_KILL_SECONDS", "5"))
SEED = int(os.environ.get("QUEUE_KILL_SEED", "0")) or random.SystemRandom().randrange(10**6)


class Producer(threading.Thread):
    """Pushes items of its own, each once; knows which ones Redis has confirmed."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        # By default the client would push again by itself, and so push twice.
        once = Retry(NoBackoff(), 0)
        self.client = redis.Redis(port=server.port, socket_timeout=5, retry=once)
        self.confirmed: list[str] = []
        self.slowest = 0.0  # seconds
        self.stopping = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stopping.wait(0.005):
            number += 1
            item = f"nap 0.0{number % 10} {number}"
            begun = time.monotonic()
            try:
                self.client.lpush(KEY, item)
                self.slowest = max(self.slowest, time.monotonic() - begun)
                self.confirmed.append(item)
            except redis.RedisError:
                self.stopping.wait(0.05)  # pushed or not: this one does not count
        self.client.close()


@pytest.mark.timeout(SECONDS * 3 + 120)
@pytest.mark.parametrize("kind", server_programs())
def test_nothing_is_lost_and_duplicates_have_an_excuse(folder: Path, kind: str) -> None:
    """An item is done twice only where a kill came before Redis confirmed that it had ended."""
    dice = random.Random(SEED)  # noqa: S311
    # Each write on disk before its reply: what Redis has confirmed, a kill cannot take back.
    program = server_programs()[kind]
    with Server(folder / "redis", "--appendfsync", "always", program=program) as server:
        workers = Workers(folder, server)
        try:
            kills, summary = _play(dice, server, workers)
        finally:
            workers.close()
    print(f"seed {SEED}: {kills} kills, {summary}")


def _play(dice: random.Random, server: Server, workers: Workers) -> tuple[int, str]:
    producer = Producer(server)
    producer.start()
    up = {worker.pid: worker for worker in (workers.start(concurrency=8) for _ in range(3))}
    killed: dict[int, list[float]] = defaultdict(list)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(dice.uniform(0.0, 0.4))
        fate = dice.random()
        if fate < 0.15:
            server.kill()
            killed[0].append(time.monotonic())
            server.start()
        else:
            worker = up.pop(dice.choice(list(up)))
            workers.kill(worker, signal.SIGKILL if fate < 0.9 else signal.SIGTERM)
            killed[worker.pid].append(time.monotonic())
            replacement = workers.launch(concurrency=8)
            up[replacement.pid] = replacement
    producer.stopping.set()
    producer.join()
    workers.eventually(workers.at_rest, within=60)

    ended = workers.ended()
    dead = {entry[b"item"].decode() for entry in workers.dead()}
    lost = set(producer.confirmed) - ended.keys() - dead
    assert not lost, f"seed {SEED}: lost {sorted(lost)[:10]} of {len(producer.confirmed)}"

    times = defaultdict(list)
    for at, pid, item in workers.lines("end"):
        times[item].append((at, pid))
    doubled = {item: ends for item, ends in times.items() if len(ends) > 1}
    for item, ends in doubled.items():
        for at, pid in ends[:-1]:
            excuses = killed[pid] + killed[0]
            # A disk that stalls keeps Redis from confirming.
            soon = 2 + producer.slowest
            assert any(0 <= kill - at < soon for kill in excuses), f"seed {SEED}: {item} {ends}"
    count = sum(len(each) for each in killed.values())
    pushed = len(producer.confirmed)
    return count, f"{pushed} items, lost 0, done twice {len(doubled)}, dead {len(dead)}"
