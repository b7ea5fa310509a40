"""rq: rq worker"""

import os

import tasks
from redis import Redis
from rq import Queue

queue = Queue(connection=Redis.from_url(os.environ["REDIS_URL"]))
options = {"result_ttl": 0} if "BEST" in os.environ else {}


def push(item: str) -> None:
    queue.enqueue(tasks.work_sync, item, **options)


async def many(items: list[str]) -> None:
    queue.enqueue_many(
        [Queue.prepare_data(tasks.work_sync, args=(item,), **options) for item in items]
    )
