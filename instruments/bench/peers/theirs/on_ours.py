"""This layout."""

import os

import tasks

import example
import example.tasks
from example.runtime.producer import Producer, SyncProducer

kind = SyncProducer if "SYNC" in os.environ else Producer
producer = kind(os.environ["REDIS_URL"], "TESTING", limit=1 << 40)
push = producer.push


async def many(items: list[str]) -> None:
    from on_article import many

    await many(items)


if __name__ == "__main__":
    example.tasks.work = tasks.work
    example.start_worker()
