"""The task of the machinery's tests."""

import logging

logger = logging.getLogger(__name__)


async def work(item: str) -> None:
    logger.info("WORKING: %s", item)
