"""arq with its cron: arq stack_arq.WorkerSettings"""

import asyncio
import os

import stack_tick
from arq import create_pool, cron
from arq.connections import RedisSettings

settings = RedisSettings.from_dsn(os.environ["REDIS_URL"])


async def tick(ctx: dict) -> None:
    stack_tick.done()


class WorkerSettings:
    functions = (tick,)
    cron_jobs = (cron(tick, second=set(range(60))),)
    redis_settings = settings


async def enqueue() -> None:
    pool = await create_pool(settings)
    await pool.enqueue_job("tick")


def push() -> None:
    asyncio.run(enqueue())
