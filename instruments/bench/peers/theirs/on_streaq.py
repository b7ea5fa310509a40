"""streaq: streaq run on_streaq:worker"""

import os

import tasks
from streaq import Worker

BEST = "BEST" in os.environ
worker = Worker(
    redis_url=os.environ["REDIS_URL"],
    **({"concurrency": 64, "anyio_kwargs": {"use_uvloop": True}} if BEST else {}),
)


@worker.task(**({"ttl": 0, "silent": True} if BEST else {}))
async def work(item: str) -> None:
    await tasks.work(item)


async def connect() -> None:
    await worker.__aenter__()


async def close() -> None:
    await worker.__aexit__(None, None, None)


async def push(item: str) -> None:
    await work.enqueue(item)


async def many(items: list[str]) -> None:
    await worker.enqueue_many([work.enqueue(item) for item in items])
