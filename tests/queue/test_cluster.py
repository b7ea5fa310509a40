"""The queue on a Cluster: its node is found, and its slot may be moved under load."""

import asyncio
import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.cluster import RedisCluster
from redis.crc import key_slot
from redis.exceptions import RedisError, ResponseError

from example.runtime.producer import Producer
from example.runtime.queue import SOURCE, Consumer, keys, prefixes

from ..server import Server, free_port, server_programs
from ..waiting import eventually
from .workers import KEY, Workers


class Cluster:
    """Two nodes; `here` has the queue's slot, until it is moved `there`."""

    def __init__(self, folder: Path, program: str | None = None) -> None:
        options = ["--appendonly", "no", "--cluster-enabled", "yes"]
        options += ["--cluster-require-full-coverage", "no"]
        # The default port of the cluster's bus is 10,000 higher, which may be none.
        self.bus = [free_port(), free_port()]
        self.here, self.there = (
            Server(folder / name, *options, "--cluster-port", str(port), program=program)
            for name, port in zip("ab", self.bus, strict=True)
        )
        self.slot = key_slot(KEY.encode())

    def __enter__(self) -> "Cluster":
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.here)
            stack.enter_context(self.there)
            # Both have another slot that stays: a node that lost its last one becomes a replica.
            self.here.client.cluster("ADDSLOTSRANGE", self.slot, 16383)
            self.there.client.cluster("ADDSLOTSRANGE", 0, self.slot - 1)
            self.here.client.cluster("MEET", "127.0.0.1", self.there.port, self.bus[1])
            eventually(lambda: self.knows_all(self.here) and self.knows_all(self.there), 20)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def knows_all(self, node: Server) -> bool:
        info = node.client.cluster("INFO")
        return (info["cluster_state"], info["cluster_slots_ok"]) == ("ok", "16384")

    def begin(self) -> list[str]:
        """Begin to move the slot, as redis-cli does. Returns its keys."""
        here, there = self.here.client, self.there.client
        there.cluster("SETSLOT", self.slot, "IMPORTING", here.cluster("MYID"))
        here.cluster("SETSLOT", self.slot, "MIGRATING", there.cluster("MYID"))
        return list(here.cluster("GETKEYSINSLOT", self.slot, 1000))

    def move(self, key: str) -> None:
        self.here.client.migrate("127.0.0.1", self.there.port, key, 0, 5000)

    def end(self) -> None:
        """Now the slot is `here`, where it was moved to."""
        assert not self.here.client.cluster("COUNTKEYSINSLOT", self.slot)
        self.here, self.there = self.there, self.here
        for node in (self.here, self.there):
            node.client.cluster("SETSLOT", self.slot, "NODE", self.here.client.cluster("MYID"))


def test_cluster(folder: Path, at: Callable[[Server, str], Workers]) -> None:
    """All keys of the queue are in one slot; its owner is found through any node."""
    with Cluster(folder) as cluster:
        workers = at(cluster.here, f"redis+cluster://127.0.0.1:{cluster.there.port}")
        worker = workers.start()
        workers.push("nap 60", "b", "c")
        workers.eventually(lambda: len(workers.told("start")) == 3 and workers.in_hand() == 1)
        workers.kill(worker)
        again = workers.start()
        workers.eventually(lambda: workers.told("start", again.pid) == ["nap 60"], within=2)


def test_a_cluster_given_as_one_server_is_reported(
    folder: Path, at: Callable[[Server, str], Workers]
) -> None:
    with Cluster(folder) as cluster:
        workers = at(cluster.there, cluster.there.url)
        workers.launch()
        workers.eventually(lambda: "use redis+cluster:// in REDIS_URL" in workers.log())


def fill(client: Any) -> None:
    """See to it that every key is there that a script names, as on a busy day."""
    _, _, retry, suspects, alone, dead, ticks, *_, later, once = keys(KEY)
    waiting = {retry: "x#1 0 1 late", suspects: "x#2 2 0 nap 0.01 suspect", later: "x#3 0 0 later"}
    for key, member in waiting.items():
        client.zadd(key, {member: 1e15})
    client.hset(once, "digest", "key")
    client.set(alone, "nobody")
    client.xadd(dead, {"item": "former"})
    client.hset(ticks, "entry", 1)


@pytest.mark.parametrize("program", server_programs().values(), ids=server_programs().keys())
@pytest.mark.parametrize(("first", "want"), [("", 8), ("next", 1), ("hand", 1)])
def test_a_script_meets_a_slot_half_moved(
    folder: Path, program: str, first: str, want: int
) -> None:
    """It is refused before it does anything: all that is not done is there, once."""
    with Cluster(folder, program) as cluster:
        client: Any = cluster.here.client
        client.script_load(SOURCE)
        consumer = Consumer(KEY)
        client.execute_command(*consumer.join())
        fill(client)
        client.lpush(KEY, *"abcdef")
        consumer.took(client.execute_command(*consumer.step(2, 100, [])))
        done = consumer.start(client.execute_command(*consumer.wait(1)))  # c

        names = cluster.begin()
        gone = [name for name in names if f":{first}:" in name]
        for name in gone:
            cluster.move(name)
        try:
            # Of `want` 8, it takes d and e, and puts back f, which is too much.
            consumer.took(client.execute_command(*consumer.step(want, 2, [])))
        except ResponseError:
            consumer = Consumer(KEY, consumer)
        for name in set(names) - set(gone):
            cluster.move(name)
        cluster.end()

        client = cluster.here.client
        client.script_load(SOURCE)
        client.execute_command(*consumer.join())
        consumer.joined()
        client.execute_command(*consumer.step(0, 0, [done]))
        nexts, hands = (prefix + consumer.name for prefix in prefixes(KEY))
        held = client.hgetall(hands)
        held.pop(b"n")
        left = [value.rpartition(b" ")[2] for value in held.values()]
        left += client.lrange(KEY, 0, -1) + client.lrange(nexts, 0, -1)
        assert sorted(left) == [b"a", b"b", b"d", b"e", b"f"]


def test_a_slot_moved_under_load(folder: Path, at: Callable[[Server, str], Workers]) -> None:
    """There and back, key by key while all go on asking: nothing is lost, or done twice.

    But for what a worker has in hand that is killed meanwhile, or that is late to come back.
    """
    confirmed: list[str] = []
    stop = threading.Event()

    async def push(url: str, port: int) -> None:
        # One takes a refusal for an answer, the other follows the slot at once.
        ours, theirs = Producer(url, KEY, 1_000_000), RedisCluster("127.0.0.1", port)
        for number in itertools.count():
            item = f"nap 0.02 {'fail' if number % 20 == 19 else ''} {number}"
            with contextlib.suppress(RedisError):
                await ours.push(f"{item} ours")
                confirmed.append(f"{item} ours")
            theirs.lpush(KEY, f"{item} theirs")
            confirmed.append(f"{item} theirs")
            if stop.wait(0.01):
                break
        await ours.close()
        theirs.close()

    with Cluster(folder) as cluster:
        url = f"redis+cluster://127.0.0.1:{cluster.there.port}"
        workers = at(cluster.here, url)
        for _ in range(3):
            workers.start(concurrency=4, max_attempts=2)
        fill(cluster.here.client)
        load = threading.Thread(
            target=asyncio.run, args=(push(url, cluster.there.port),), daemon=True
        )
        load.start()

        def asked() -> int:
            """How often a worker has asked the node that the slot leaves."""
            stats = cluster.here.client.info("commandstats")["cmdstat_evalsha"]
            return int(stats["calls"] + stats["rejected_calls"])

        def flowing(so_far: int) -> bool:
            """Whether an item of each producer is done that was pushed since."""
            done = workers.ended().keys() & set(confirmed[so_far:])
            return len({item.split()[-1] for item in done}) == 2

        try:
            for first in ("hand", "next"):
                so_far = len(confirmed)
                workers.eventually(lambda so_far=so_far: flowing(so_far), within=30)  # type: ignore[misc]
                for name in sorted(cluster.begin(), key=lambda name: f":{first}" not in name):
                    cluster.move(name)
                    before = asked()
                    workers.eventually(lambda before=before: asked() > before)  # type: ignore[misc]
                if first == "next":
                    workers.kill(workers.all[0])
                cluster.end()
                workers.redis = cluster.here
            so_far = len(confirmed)
            workers.eventually(lambda: flowing(so_far), within=30)
        finally:
            stop.set()
            load.join()

        waiting = {"x#1 0 1 late": 1.0}, {"x#2 2 0 nap 0.01 suspect": 1.0}
        for key, members in zip(keys(KEY)[2:4], waiting, strict=True):
            cluster.here.client.zadd(key, members)
        workers.eventually(workers.at_rest, within=30)
        ended = workers.ended()
        failed = Counter(entry[b"item"].decode() for entry in workers.dead())
        assert {*confirmed, "late", "nap 0.01 suspect"} <= {*ended, *failed}
        twice = {item for item, count in (ended + failed).items() if count > 1}
        excused = {
            item
            for worker, log in zip(workers.all, workers.logs, strict=True)
            if worker.returncode is not None or "taken for dead" in log.read_text()
            for item in workers.told("start", worker.pid)
        }
        assert twice <= excused, workers.report()
        assert len(confirmed) >= 20
