"""Producer: pushing from one's own code."""

import asyncio
import http.client
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as NoConnectionError

from example.runtime.producer import Producer, QueueFullError

from ..launchers import Launcher
from ..layout import ROOT
from ..server import Server


def test_what_is_pushed_is_on_the_list_byte_for_byte(redis: Server) -> None:
    async def push() -> None:
        producer = Producer(redis.url, "TESTING", 10)
        await producer.push("grüße")
        await producer.push(b"\0\xff\r\n")
        await producer.close()

    asyncio.run(push())
    assert redis.client.lrange("TESTING", 0, -1) == [b"\0\xff\r\n", "grüße".encode()]


def test_a_full_queue_is_told_and_not_pushed_to(redis: Server) -> None:
    async def push() -> None:
        producer = Producer(redis.url, "TESTING", 3)
        await producer.push("1")
        await producer.push("2")
        await producer.push("3")
        with pytest.raises(QueueFullError):
            await producer.push("4")
        await producer.close()

    asyncio.run(push())
    assert redis.client.llen("TESTING") == 3


def test_redis_may_come_and_go(folder: Path) -> None:
    """Away: an error at once. Back: the next push works, also over a connection that died."""
    server = Server(folder / "r")

    async def push() -> None:
        producer = Producer(server.url, "TESTING", 10)
        with pytest.raises(NoConnectionError):
            await producer.push("away")
        server.start()
        await producer.push("1")
        server.kill()
        server.start()
        await producer.push("2")
        await producer.close()

    try:
        asyncio.run(push())
        assert server.client.lrange("TESTING", 0, -1) == [b"2", b"1"]
    finally:
        server.__exit__()


def test_many_at_once_do_not_mix_up(redis: Server) -> None:
    async def push() -> None:
        producer = Producer(redis.url, "TESTING", 1000)
        await asyncio.gather(*(producer.push(str(each)) for each in range(200)))
        await producer.close()

    asyncio.run(push())
    assert {int(each) for each in redis.client.lrange("TESTING", 0, -1)} == set(range(200))


def test_the_documented_route_pushes(launch: Callable[..., Any], redis: Server) -> None:
    """docs/queue.md's Web API, run as it stands: 202, and 503 while Redis is away."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/queue.md").read_text(), re.DOTALL)

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
