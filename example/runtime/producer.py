"""Push on the queue from your own code: from the Web API, or from a task."""

import asyncio

from .link import ERRORS, Lane


class QueueFullError(Exception):
    """As many items wait as QUEUE_LIMIT allows."""


class Producer:
    """One process's way to the queue `key`; it connects by itself, again if need be."""

    def __init__(self, url: str, key: str, limit: int) -> None:
        self._lane = Lane(url, key, ("PING",))
        self._turn = asyncio.Lock()
        self._key = key
        self._limit = limit

    async def push(self, item: str | bytes) -> None:
        """Push one item; it is in Redis when this returns.

        Raises QueueFullError if `limit` items wait already, and one of `link.ERRORS` if Redis does
        not answer, or refuses: then the item may have been pushed or not.
        """
        async with self._turn:
            if await self._waiting() >= self._limit:
                raise QueueFullError(f"{self._limit} items wait already")
            await self._lane.call(("LPUSH", self._key, item))

    async def _waiting(self) -> int:
        question = ("LLEN", self._key)
        try:
            return int(await self._lane.call(question))
        except ERRORS:
            # The connection may have died long ago, or lead to a server that is not in charge any
            # more: a new one tells.
            return int(await self._lane.call(question))

    async def close(self) -> None:
        await self._lane.close()
