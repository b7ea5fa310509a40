"""arq: arq on_arq.Default, or on_arq.Best."""

import asyncio
import os

import tasks
import uvloop
from arq import create_pool
from arq.connections import RedisSettings

settings = RedisSettings.from_dsn(os.environ["REDIS_URL"])
pool = None
quiet = {"version": 1, "loggers": {"arq": {"level": "WARNING"}}}
if "BEST" in os.environ:
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


async def work(ctx: dict, item: str) -> None:
    await tasks.work(item)


class Default:
    functions = (work,)
    redis_settings = settings


class Best:
    functions = (work,)
    redis_settings = settings
    max_jobs = 64
    poll_delay = 0.01
    keep_result = 0


async def connect() -> None:
    global pool
    pool = await create_pool(settings)


async def push(item: str) -> None:
    await pool.enqueue_job("work", item)
