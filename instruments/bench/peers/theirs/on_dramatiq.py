"""dramatiq: dramatiq on_dramatiq"""

import os

import dramatiq
import tasks
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))


@dramatiq.actor
def work(item: str) -> None:
    tasks.work_sync(item)


def push(item: str) -> None:
    work.send(item)
