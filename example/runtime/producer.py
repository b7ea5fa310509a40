"""Push on the queue from your own code: from the Web API, a script, or a task."""

import asyncio
import copy
import hashlib
import secrets
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from redis.exceptions import ConnectionError as NoConnectionError
from redis.exceptions import ResponseError

from .link import Connection, locate
from .queue import Request, keys
from .schedule import encoded
from .sync_link import Links

SOURCE = (Path(__file__).with_name("push.lua")).read_bytes()
SHA = hashlib.sha1(SOURCE, usedforsecurity=False).hexdigest()

PUSH_SECONDS = 5.0  # for one push, with all that it waits for
REST_SECONDS = 10.0  # a connection unused for longer may have died unnoticed
_CLOSED = NoConnectionError("the producer was closed")
MOST_ITEMS = 1_000_000  # in one push: Redis takes few more arguments
MOST = 1e10  # the largest time in seconds; as one since the epoch it is in 2286
_LOT = 100  # pushes in one request at most: they share one time-out

Item = str | bytes


class QueueFullError(Exception):
    """As many items wait as QUEUE_LIMIT allows."""


class DuplicateError(Exception):
    """An item that was pushed with the same `once` waits, or is in hand."""


class Requests:
    """What a push asks of Redis, and what the answer means; at most `limit` items may wait."""

    def __init__(self, key: str, limit: int) -> None:
        self._keys = [key, *keys(key)[-2:]]
        self._limit = limit

    def push(
        self,
        items: Iterable[Item],
        after: float | None,
        at: float | None,
        once: str | None = None,
    ) -> Request:
        """The request for `items`; for one item if `once` is given.

        Raises ValueError for a wrong item or time.
        """
        given = [encoded(item) for item in items]  # here, so that a wrong item fails this push only
        if after is None and at is None and once is None:
            return ("EVALSHA", SHA, 1, self._keys[0], "push", self._limit, *given)
        if after is not None and at is not None:
            raise ValueError("give `after` or `at`, not both")
        for name, seconds in (("after", after), ("at", at)):
            if seconds is not None and not 0 <= seconds <= MOST:
                raise ValueError(f"{name}={seconds!r}: use seconds from 0 to {MOST:.0f}")
        producer = secrets.token_hex(8)
        delay: str | int = round(after * 1000) if after else ""
        when: str | int = "" if at is None else round(at * 1000)
        begin: Request = ("EVALSHA", SHA, 3, *self._keys)
        if once is None:
            return (*begin, "later", self._limit, producer, delay, when, *given)
        key = encoded(once)
        digest = hashlib.sha1(key, usedforsecurity=False).hexdigest()
        return (*begin, "once", self._limit, producer, delay, when, digest, key, *given)

    def judge(self, answer: bytes) -> None:
        """Raise what the answer to a push says."""
        if answer == b"full":
            raise QueueFullError(f"no room among {self._limit} waiting items")
        if answer == b"there":
            raise DuplicateError("an item with this key waits or is in hand")


class Producer:
    """Pushes on the queue `key` from async functions; connects by itself, also after an error.

    It refuses to push if more than `limit` items would wait: QUEUE_LIMIT in the settings.

    One is enough for a process. All pushes of an event loop share one connection. There may be
    several loops, one after the other or in threads of their own.
    """

    def __init__(self, url: str, key: str, limit: int) -> None:
        self._url = url
        self._key = key
        self._requests = Requests(key, limit)
        self._pipes: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pipe] = WeakKeyDictionary()

    async def push(
        self,
        item: Item,
        *,
        after: float | None = None,
        at: float | None = None,
        once: str | None = None,
    ) -> None:
        """Push one item; it is in Redis when this returns.

        It starts in `after` seconds, or `at` that time in seconds since the epoch. Redis's clock
        counts, and it is at most a second late if a worker is free. `once` is any text: while an
        item with the same text waits or is in hand, this raises DuplicateError.

        Raises QueueFullError if more than `limit` items would wait. Items for a later time, or with
        `once`, are counted apart. Raises ValueError for a wrong item or time. Raises one of
        `link.ERRORS` within PUSH_SECONDS if Redis does not answer or refuses. The item may have
        been pushed then.
        """
        await self._push(self._requests.push([item], after, at, once))

    async def push_many(
        self, items: Iterable[Item], *, after: float | None = None, at: float | None = None
    ) -> None:
        """Push all of `items` in their order, or none of them: MOST_ITEMS at most.

        `after`, `at` and what is raised are as for `push`.
        """
        await self._push(self._requests.push(items, after, at))

    async def _push(self, request: Request) -> None:
        self._requests.judge(await self._pipe().ask(request))

    def _pipe(self) -> "_Pipe":
        loop = asyncio.get_running_loop()
        pipe = self._pipes.get(loop)
        if pipe is None or pipe.task.done():
            # A pipe holds its loop: those of loops that have ended would never go by themselves.
            for ended in [each for each, pipe in self._pipes.items() if pipe.task.done()]:
                del self._pipes[ended]
            connection = Connection(self._url, self._key, ("SCRIPT", "LOAD", SOURCE))
            pipe = self._pipes[loop] = _Pipe(connection)
        return pipe

    async def close(self) -> None:
        """Close the connection of this event loop. Pushes that are under way fail."""
        if pipe := self._pipes.pop(asyncio.get_running_loop(), None):
            pipe.task.cancel()
            await asyncio.wait({pipe.task})


class SyncProducer:
    """`Producer` for plain functions: tasks in threads, Flask, Django, scripts.

    One is enough for a process, its threads, and its forked children. Threads that push at the same
    time have a connection each.
    """

    def __init__(self, url: str, key: str, limit: int) -> None:
        self._url = url
        self._key = key
        self._requests = Requests(key, limit)
        self._links: Links | None = None
        self._used = 0.0

    def push(
        self,
        item: Item,
        *,
        after: float | None = None,
        at: float | None = None,
        once: str | None = None,
    ) -> None:
        """As Producer.push. PUSH_SECONDS apply to connecting, and again to the answer."""
        self._push(self._requests.push([item], after, at, once))

    def push_many(
        self, items: Iterable[Item], *, after: float | None = None, at: float | None = None
    ) -> None:
        """As Producer.push_many."""
        self._push(self._requests.push(items, after, at))

    def _push(self, request: Request) -> None:
        if time.monotonic() - self._used > REST_SECONDS:
            self.close()
        try:
            answer = self._ask(request)
        except ResponseError:
            # Another server may be in charge by now, or this one has lost the script.
            self.close()
            answer = self._ask(request)
        self._used = time.monotonic()
        self._requests.judge(answer)

    def close(self) -> None:
        """Close the connections as soon as no thread uses them."""
        self._links = None

    def _ask(self, request: Request) -> bytes:
        links = self._links = self._links or self._connect()
        answer: bytes = links.ask(request)
        return answer

    def _connect(self) -> Links:
        # asyncio.run needs a thread without an event loop, and this one may have one.
        with ThreadPoolExecutor(1) as thread:
            url = thread.submit(asyncio.run, locate(self._url, self._key)).result()
        links = Links(url, PUSH_SECONDS)
        links.ask(("SCRIPT", "LOAD", SOURCE))
        return links


@dataclass(eq=False, slots=True)
class _Asked:
    """One request, and where its reply is awaited."""

    request: Request
    reply: asyncio.Future[Any]

    def settle(self, reply: Any) -> None:
        if self.reply.done():  # nobody waits any more
            return
        if isinstance(reply, Exception):
            self.reply.set_exception(copy.copy(reply))  # each raises one of its own
        else:
            self.reply.set_result(reply)


class _Pipe:
    """One event loop's connection. Pushes that come while it is busy are sent together next."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[_Asked] = deque()
        self._arrived = asyncio.Event()
        self._used = time.monotonic()
        self.task = asyncio.create_task(self._serve())

    async def ask(self, request: Request) -> bytes:
        asked = _Asked(request, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._arrived.set()
        async with asyncio.timeout(PUSH_SECONDS):
            answer: bytes = await asked.reply
            return answer

    async def _serve(self) -> None:
        """Serve until the loop ends, or `close` is called."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while lot := self._next():
                    await self._renew()
                    await self._deliver(lot)
                    self._used = time.monotonic()
        finally:
            self._settle(self._waiting, _CLOSED)
            await self._connection.close()

    def _next(self) -> list[_Asked]:
        lot: list[_Asked] = []
        while self._waiting and len(lot) < _LOT:
            asked = self._waiting.popleft()
            if not asked.reply.done():  # else it waited too long
                lot.append(asked)
        return lot

    async def _renew(self) -> None:
        """Close the connection if it has ended, or may have."""
        if time.monotonic() - self._used > REST_SECONDS:
            await self._connection.close()
        else:
            await self._connection.close_if_ended()

    def _settle(self, asked: Iterable[_Asked], reply: Exception) -> None:
        for each in asked:
            each.settle(reply)

    async def _deliver(self, lot: list[_Asked], once_more: bool = True) -> None:
        try:
            replies = await self._connection.ask(*(each.request for each in lot))
        except Exception as error:  # whatever it is: all that wait get an answer
            replies = [error] * len(lot)
        except asyncio.CancelledError:
            self._settle(lot, _CLOSED)
            raise
        refused = []
        for each, reply in zip(lot, replies, strict=True):
            if once_more and isinstance(reply, ResponseError):
                refused.append(each)
            else:
                each.settle(reply)
        if refused:
            # Another server may be in charge by now, or this one has lost the script.
            await self._connection.close()
            await self._deliver(refused, once_more=False)
