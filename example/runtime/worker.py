"""worker: take items from the queue and do each of them."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from .link import ERRORS, Link, connect
from .process import Process

logger = logging.getLogger(__name__)


async def run(process: Process, url: str, key: str, work: Callable[[str], Awaitable[None]]) -> None:
    link = Link(url)
    redis = connect(url)
    process.ready(f"taking from {key}")
    async with redis:
        while not process.stopping.is_set():
            try:
                item = await redis.brpop(key, timeout=0.3)
                link.worked()
            except ERRORS as error:
                await asyncio.sleep(link.failed(error))
                continue
            if item:
                await work(os.fsdecode(item[1]))
