"""saq: saq on_saq.settings, or on_saq.best."""

import asyncio
import os

import tasks
import uvloop
from saq import Queue

queue = Queue.from_url(os.environ["REDIS_URL"])
options = {}
if "BEST" in os.environ:
    options = {"ttl": -1}  # no result is kept
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


async def work(ctx: dict, *, item: str) -> None:
    await tasks.work(item)


settings = {"queue": queue, "functions": [work]}
best = settings | {"concurrency": 64}


async def connect() -> None:
    await queue.connect()


async def push(item: str) -> None:
    await queue.enqueue("work", item=item, **options)
