"""Yours: what the worker does with one item.

`work` may be a plain or an async function. The type hint of its argument, str or bytes, says
what it takes. An item can come twice when a worker is killed: let that do no harm.
docs/tasks.md shows what to open before the first item, what to raise, several kinds of task,
several queues, and work for a process.
"""

import logging

logger = logging.getLogger(__name__)


async def work(item: str) -> None:
    logger.info("WORKING: %s", item)
