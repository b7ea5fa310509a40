"""The queue on 1, 2 and 4 masters of a Redis Cluster; run by `scripts/bench shards`.

As many workers each time, each bound to one queue, and a task that does nothing. What counts is
the CPU time per item: a machine's cores limit the rates, and the workers are most of it.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.server import Server, free_port
from tests.waiting import eventually

WORKERS = 4
ITEMS = 200_000
SLOTS = 16384
WORKER = """
import example, example.tasks

async def work(item: bytes) -> None:
    pass

example.tasks.work = work
example.start_worker()
"""


@contextlib.contextmanager
def cluster(folder: Path, masters: int) -> Iterator[list[Server]]:
    """Started masters of one cluster, each with its share of the slots."""
    with contextlib.ExitStack() as stack:
        nodes = []
        buses = [free_port() for _ in range(masters)]
        for number, bus in enumerate(buses):
            options = ("--cluster-enabled", "yes", "--cluster-port", str(bus))
            nodes.append(stack.enter_context(Server(folder / str(number), *options)))
        for number, node in enumerate(nodes):
            first, last = number * SLOTS // masters, (number + 1) * SLOTS // masters - 1
            node.client.cluster("ADDSLOTSRANGE", first, last)
            node.client.cluster("MEET", "127.0.0.1", nodes[0].port, buses[0])
        eventually(lambda: all(agrees(node) for node in nodes), 30)
        yield nodes


def agrees(node: Server) -> bool:
    return bool(node.client.cluster("INFO")["cluster_state"] == "ok")


def queues(nodes: list[Server]) -> list[tuple[str, Server]]:
    """A queue for each worker, spread over the masters, and where it is."""
    found: list[tuple[str, Server]] = []
    for worker in range(WORKERS):
        master = worker % len(nodes)
        names = (f"TESTING.{worker}.{suffix}" for suffix in range(10_000))
        name = next(
            name
            for name in names
            if nodes[0].client.cluster("KEYSLOT", name) * len(nodes) // SLOTS == master
        )
        found.append((name, nodes[master]))
    return found


def cpu(node: Server) -> float:
    info = node.client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


def measure(masters: int) -> None:
    with tempfile.TemporaryDirectory(prefix="ex", dir="/tmp") as name:
        with cluster(Path(name), masters) as nodes:
            all_queues = queues(nodes)
            for queue, node in all_queues:
                with node.client.pipeline(transaction=False) as pipeline:
                    for start in range(0, ITEMS // WORKERS, 1000):
                        pipeline.lpush(queue, *(b"item %d" % n for n in range(start, start + 1000)))
                    pipeline.execute()
            before = sum(map(cpu, nodes))
            children = resource.getrusage(resource.RUSAGE_CHILDREN)
            began = time.monotonic()
            workers = [
                subprocess.Popen(
                    [sys.executable, "-c", WORKER],
                    env=os.environ
                    | {
                        "REDIS_URL": f"redis+cluster://127.0.0.1:{nodes[0].port}",
                        "REDIS_KEY": queue,
                        "CONCURRENCY": "256",
                        "LOG_LEVEL": "warning",
                    },
                )
                for queue, _ in all_queues
            ]
            eventually(lambda: not any(node.client.llen(queue) for queue, node in all_queues), 120)
            took = time.monotonic() - began
            spent = sum(map(cpu, nodes)) - before
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
                worker.wait(20)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
        print(
            f"{masters} masters: {ITEMS / took:8.0f} items/s;"
            f" CPU per item: Redis {spent / ITEMS * 1e6:.2f} µs, workers {own / ITEMS * 1e6:.1f} µs"
        )


if __name__ == "__main__":
    print(f"{WORKERS} workers, {ITEMS} items that need no work, append-only file on:")
    for masters in (1, 2, 4):
        measure(masters)
