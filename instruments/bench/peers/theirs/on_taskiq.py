"""taskiq: taskiq worker on_taskiq:broker, on a list or on a stream (STREAM set)."""

import os

import tasks
from taskiq_redis import ListQueueBroker, RedisStreamBroker

kind = RedisStreamBroker if "STREAM" in os.environ else ListQueueBroker
broker = kind(os.environ["REDIS_URL"])


@broker.task
async def work(item: str) -> None:
    await tasks.work(item)


async def connect() -> None:
    await broker.startup()


async def push(item: str) -> None:
    await work.kiq(item)
