"""rq with its cron: rq cron stack_rq, and rq worker."""

import os

import stack_tick
from redis import Redis
from rq import Queue, cron

cron.register(stack_tick.done, queue_name="default", interval=1)


def push() -> None:
    Queue(connection=Redis.from_url(os.environ["REDIS_URL"])).enqueue(stack_tick.done)
