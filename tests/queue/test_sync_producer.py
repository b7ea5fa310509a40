"""SyncProducer: pushing from plain functions, threads and forked children."""

import asyncio
import http.client
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as NoConnectionError

from example.runtime.link import ERRORS
from example.runtime.producer import Producer, QueueFullError, SyncProducer

from ..launchers import Launcher
from ..layout import ROOT
from ..server import Server, free_port
from ..waiting import eventually
from .test_producer import listed


def test_plain_functions_push_from_any_thread(redis: Server) -> None:
    producer = SyncProducer(redis.url, "TESTING", 101)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(producer.push, map(str, range(100))))
    producer.push_many(["last"])
    with pytest.raises(QueueFullError):
        producer.push("one too many")
    producer.close()
    eventually(lambda: redis.client.info("clients")["connected_clients"] == 1)  # the test's own
    assert len(set(listed(redis))) == 101


def test_plain_functions_survive_trouble_of_redis_too(redis: Server) -> None:
    producer = SyncProducer(redis.url, "TESTING", 10)
    producer.push("1")
    redis.client.script_flush()
    producer.push("2")
    redis.kill()
    with pytest.raises(NoConnectionError):
        producer.push("away")
    redis.start()
    producer.push("3")
    redis.kill()
    redis.start()
    producer.push("4")
    assert listed(redis) == [b"1", b"2", b"3", b"4"]


def test_both_kinds_find_the_node_of_a_cluster(folder: Path) -> None:
    """All keys of a queue are in one slot, also those of `after` and `once`."""
    bus = str(free_port())
    with Server(folder / "redis", "--cluster-enabled", "yes", "--cluster-port", bus) as node:
        node.client.cluster("ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: node.client.cluster("INFO")["cluster_state"] == "ok")
        url = f"redis+cluster://127.0.0.1:{node.port}"

        async def push() -> None:
            producer = Producer(url, "TESTING", 10)
            await producer.push("async")
            await producer.push("once", once="key", after=1)
            await producer.close()

        asyncio.run(push())
        SyncProducer(url, "TESTING", 10).push("plain")
        assert listed(node) == [b"async", b"plain"]
        assert node.client.zcard("{TESTING}:later") == 1


def test_a_plain_function_may_push_where_an_event_loop_runs(redis: Server) -> None:
    async def main() -> None:
        SyncProducer(redis.url, "TESTING", 10).push("1")

    asyncio.run(main())
    assert listed(redis) == [b"1"]


def test_a_frozen_redis_fails_a_plain_function(frozen: Server) -> None:
    producer = SyncProducer(frozen.url, "TESTING", 10)
    with pytest.raises(ERRORS):
        producer.push("1")


FORKS = """
import os, sys
from redis import Redis
from example.runtime.producer import SyncProducer

def connections():
    with Redis.from_url(sys.argv[1]) as client:
        return len(client.client_list())

producer = SyncProducer(sys.argv[1], "TESTING", 100)
producer.push("parent")
before = connections()
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
    producer.push("parent again")
else:
    producer.push("child")
    assert connections() == before + 1  # its own
"""


def test_a_forked_child_pushes_too(redis: Server) -> None:
    """As under gunicorn's preload, or multiprocessing."""
    subprocess.run([sys.executable, "-c", FORKS, redis.url], check=True, timeout=30)
    assert listed(redis) == [b"parent", b"child", b"parent again"]


def documented() -> list[str]:
    """docs/queue.md's Python code."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs/queue.md").read_text(), re.DOTALL)


def test_the_documented_plain_push_works(redis: Server) -> None:
    environ = {"REDIS_URL": redis.url, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", documented()[1]], env=environ, check=True, timeout=30)
    assert listed(redis) == [b"one", b"two", b"three"]


def test_the_documented_route_pushes(launch: Callable[..., Any], redis: Server) -> None:
    """docs/queue.md's Web API, run as it stands: 202, and 503 while Redis is away."""
    code = documented()[0]

    def mine(folder: Path, server: Server) -> Launcher:
        (folder / "mine.py").write_text(code)
        return Launcher(folder, server, ["uvicorn", "mine:app", "--port", "{port}"])

    web = launch(mine, redis, PYTHONPATH=".")
    web.start()

    def order() -> int:
        client = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
        try:
            client.request("POST", "/orders", b"one")
            return client.getresponse().status
        except ConnectionRefusedError:
            return 0
        finally:
            client.close()

    assert web.eventually(order) == 202
    assert redis.client.lrange("TESTING", 0, -1) == [b"one"]
    redis.kill()
    assert order() == 503
