"""What a user's file opens before its program is ready, and closes after all is done."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import Any

from .process import Process, StoppedError

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 1.0
"""For closing: the rest of what a launcher allows for a stop is for the work in hand."""


@contextlib.asynccontextmanager
async def of(file: ModuleType, process: Process) -> AsyncIterator[None]:
    """Run the body between the opening and the closing of the file's `lifespan()`, if it has one.

    Raises what its opening raises; exits with 0 if a stop comes before that has ended, with 2 if
    it is not an async context manager.
    """
    if not hasattr(file, "lifespan"):
        yield
        return
    context = file.lifespan()
    if not isinstance(context, AbstractAsyncContextManager):
        logger.error("wrong lifespan(): decorate it with contextlib.asynccontextmanager")
        sys.exit(2)
    await _open(process, context)
    try:
        yield
    except asyncio.CancelledError:
        # As a task group does that is open here and has failed: its closing raises why.
        async with asyncio.timeout(CLOSE_SECONDS):
            await context.__aexit__(*sys.exc_info())
        raise
    except BaseException:
        await _close(context)
        raise
    await _close(context)


async def _open(process: Process, context: AbstractAsyncContextManager[Any]) -> None:
    # In this very task, since some libraries want to be closed where they were opened.
    try:
        async with process.until_stop():
            await context.__aenter__()
    except StoppedError:
        sys.exit(0)


async def _close(context: AbstractAsyncContextManager[Any]) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS) as closing:
            await context.__aexit__(None, None, None)
    except Exception:
        if closing.expired():
            logger.error("lifespan() has not closed within %g s", CLOSE_SECONDS)
        else:
            logger.exception("lifespan() failed to close")
