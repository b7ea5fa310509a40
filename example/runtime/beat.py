"""beat: push each schedule entry when its time comes."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from redis.asyncio import Redis

from .link import ERRORS, Link, connect
from .process import Process

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Every:
    """A schedule entry: push `push(time)` each `seconds`, on whole multiples of it."""

    seconds: float
    push: Callable[[float], str | bytes]


async def run(process: Process, url: str, key: str, schedule: Mapping[str, Every]) -> None:
    link = Link(url)
    redis = connect(url)
    process.ready(f"{len(schedule)} schedule entries")
    async with redis, asyncio.TaskGroup() as group:
        tasks = [group.create_task(_tick(link, redis, key, each)) for each in schedule.values()]
        await process.stopping.wait()
        for task in tasks:
            task.cancel()


async def _tick(link: Link, redis: Redis, key: str, entry: Every) -> None:
    while True:
        await asyncio.sleep(entry.seconds - time.time() % entry.seconds)
        try:
            await redis.lpush(key, entry.push(time.time()))
            logger.info("PUSH")
            link.worked()
        except ERRORS as error:
            await asyncio.sleep(link.failed(error))
