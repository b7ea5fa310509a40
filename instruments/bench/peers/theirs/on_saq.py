"""saq: saq on_saq.settings, or on_saq.best."""

import os

import tasks
from saq import Queue

queue = Queue.from_url(os.environ["REDIS_URL"])
options = {"ttl": -1} if "BEST" in os.environ else {}  # no result is kept


async def work(ctx: dict, *, item: str) -> None:
    await tasks.work(item)


settings = {"queue": queue, "functions": [work]}
best = settings | {"concurrency": 64}


async def connect() -> None:
    await queue.connect()


async def push(item: str) -> None:
    await queue.enqueue("work", item=item, **options)
