"""worker: take items from the queue and do each of them, at least once.

slots.py runs the items; hand.py knows which there are, by Redis's word. The worker decides what to
ask Redis for next: see `Worker._turn`.
"""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from redis.exceptions import ResponseError

from .hand import Hand
from .link import ERRORS
from .outage import OutageLog
from .process import Process
from .queue import GoneError
from .slots import Failure, Slots, Work

logger = logging.getLogger(__name__)

STEP = 1024  # items that one request takes at most
HAND_BYTES = 32 << 20  # of items in hand, beyond which no further one is taken
HAND_BYTES_LEAST = 1 << 18  # the same on a link that proved too slow for more
UNREAD_MOST = 2  # replies of that size in a row that did not come in time
AHEAD = 0.1  # seconds of work to take ahead of the free slots
PATIENCE = 1.0  # seconds that an item may wait for a free slot before others may have it
PAUSE = 0.005  # seconds between two requests while neither slots nor supply run out
BUSY_WAIT = 0.1  # seconds to wait for an item while others run, whose ends are to be confirmed
LEAVE_SECONDS = 1.0  # for the last requests, if DRAIN_SECONDS are over


@dataclass(frozen=True)
class Limits:
    """How much a worker does at once, and how long it bears with an item."""

    concurrency: int = 64
    job_timeout: float = 300.0  # seconds
    max_attempts: int = 5
    drain_seconds: float = 5.0
    dead_limit: int = 10_000


async def run(process: Process, url: str, key: str, work: Work, limits: Limits) -> None:
    """Do what arrives on the list `key`, until `process` is told to stop.

    Exits with status 1, to be replaced, when too many tasks cannot be stopped; with 2 if `work`
    is no function of one argument with the type hint str or bytes.
    """
    process.drain_seconds = limits.drain_seconds
    doing = f"taking from {key}"
    try:
        worker = Worker(
            *(url, key, work, limits, lambda: process.ready(doing)),
            show=lambda trouble: process.status(trouble or doing),
        )
    except TypeError as error:
        logger.error("wrong task: %s", error)
        sys.exit(2)
    serving = asyncio.create_task(worker.serve())
    told = asyncio.create_task(process.stopping.wait())
    await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
    worn_out = not told.done()
    told.cancel()
    await worker.stop(serving)
    if not serving.cancelled():
        serving.result()
    if stuck := len(worker.slots.running):
        logger.warning("worker ends with %d tasks that cannot be stopped", stuck)
    if stuck or worker.slots.have_cancelled:
        # What runs on would keep the interpreter from ending, too.
        process.exit_at_once = int(worn_out)
    elif worn_out:
        sys.exit(1)


class Life(Enum):
    """The life of a worker, in this order."""

    JOINING = auto()  # not registered yet: nothing is in hand
    WORKING = auto()
    DRAINING = auto()  # told to stop: takes no more
    LEFT = auto()


class Appetite:
    """How much to ask Redis for."""

    def __init__(self) -> None:
        self.is_queue_empty = False
        """Whether the last STEP got less than it wanted: the queue had no more just then."""
        self.bytes = HAND_BYTES
        self.ahead = 0  # items to take beyond the free slots, so that none stays free
        self._unread = 0  # replies in a row that did not come, though they were of the least size
        self._ended, self._counted_at = 0, 0.0  # how many items have ended since when

    @property
    def is_link_too_slow(self) -> bool:
        """Whether not even the smallest reply came in time: one item may be too large for it."""
        return self._unread >= UNREAD_MOST

    def got(self, wanted: int, taken: int, ended: int) -> None:
        """A STEP took `taken` of `wanted` items, and has confirmed the end of `ended`."""
        self.is_queue_empty = taken < wanted
        self._unread = 0
        self._ended += ended
        passed = time.monotonic() - self._counted_at
        if passed >= AHEAD:
            self.ahead = min(2 * STEP, int(self._ended * AHEAD / passed))
            self._ended, self._counted_at = 0, time.monotonic()

    def got_nothing_in_time(self) -> None:
        """The reply to a STEP did not come: the link may be too slow for so much within a lease."""
        self._unread += self.bytes == HAND_BYTES_LEAST
        self.bytes = max(HAND_BYTES_LEAST, self.bytes // 8)

    def forgive(self) -> None:
        """The item that was too large has been dealt with."""
        self._unread = 0


class Worker:
    """Serves the queue `key` at `url` by doing `work` with each item.

    Calls `ready` when it is registered for the first time, and `show` as OutageLog does. Raises
    TypeError if `work` is no function of one argument with the type hint str or bytes.
    """

    def __init__(
        self,
        url: str,
        key: str,
        work: Work,
        limits: Limits,
        ready: Callable[[], None],
        show: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.life = Life.JOINING
        self.hand = Hand(url, key, limits.dead_limit)
        self.slots = Slots(
            *(work, limits.concurrency, limits.job_timeout, self.hand.taken),
            done=self.hand.done.append,
            failed=self._failed,
            ran=self.hand.runs.add,
            describe=self.hand.describe,
        )
        self.appetite = Appetite()
        self._limits = limits
        self._outage = OutageLog(url, show)
        self._is_wait_refused = False  # while all else may work
        self._ready = ready

    # the life of a worker

    async def serve(self) -> None:
        """Work until `stop`, or until too many slots are lost to tasks that cannot be stopped."""
        while self.life in (Life.JOINING, Life.WORKING):
            await self._try(self._turn)
            if self.slots.are_worn_out:
                logger.error("worker ends: too many tasks cannot be stopped")
                break

    async def stop(self, serving: asyncio.Task[None]) -> None:
        """End `serving`, finish what runs within DRAIN_SECONDS, and give back the rest."""
        was_joining = self.life is Life.JOINING
        # Not only by a cancellation: Python 3.11's wait_for, in redis-py, can swallow that.
        self.life = Life.DRAINING
        self.slots.close()
        serving.cancel()
        await asyncio.wait({serving})
        if was_joining and not self.hand.is_joined:
            self.life = Life.LEFT
        await self.hand.part()  # a request may have been cut off
        self.hand.give_taken()
        drained_by = time.monotonic() + self._limits.drain_seconds
        while self.life is Life.DRAINING and self.slots.running and time.monotonic() < drained_by:
            await self._try(self._drain, drained_by)
        await self.slots.cancel()
        left_by = max(drained_by, time.monotonic() + LEAVE_SECONDS)
        while self.life is Life.DRAINING and time.monotonic() < left_by:
            await self._try(self._leave, left_by)
        if self.life is Life.DRAINING:
            logger.warning("Redis away: what was in hand comes back when others find it")
        await self.hand.close()

    async def _try(
        self, step: Callable[[], Coroutine[Any, Any, None]], until: float | None = None
    ) -> None:
        """Take a step, at most until then by time.monotonic(), and bear with a Redis in trouble."""
        left = None if until is None else max(0.0, until - time.monotonic())
        try:
            async with asyncio.timeout(left) as deadline:
                await step()
            if not self._is_wait_refused:
                self._outage.worked()
        except GoneError:
            self.hand.renew()
        except ERRORS as error:
            if deadline.expired():
                return
            await self.hand.part()
            pause = self._outage.failed(error)
            if until is not None:
                pause = min(pause, max(0.0, until - time.monotonic()))
            await asyncio.sleep(pause)

    async def _turn(self) -> None:
        """One step of work: the most urgent request to Redis, or none if that is too early."""
        await self._look_after_hand()
        if self._is_well_supplied():
            await asyncio.sleep(PAUSE)
            return
        free = self._bytes_free()
        want = self._want(free)
        if self._has_to_tell() or (want and not self.appetite.is_queue_empty):
            await self._step(want, free)
        elif self._has_to_start():
            self.slots.start()
            await asyncio.sleep(0)
        elif want and not self.slots.are_taken and not self.hand.must_empty:
            await self._wait()
        else:
            await self._change(self.hand.rest())
            if self.hand.must_empty:
                await self._step(want, free)
        self.slots.changed.clear()

    async def _drain(self) -> None:
        """One step of the end: confirm what has ended, give back the rest."""
        await self._keep_in_touch()
        await self._step(0)
        self.hand.give_taken()
        await self.hand.give()
        if not self._has_to_tell():
            await self._change(self.hand.rest())
        self.slots.changed.clear()

    async def _leave(self) -> None:
        await self._join()
        self.hand.give_taken()
        await self._step(0)
        await self.hand.leave()
        self.life = Life.LEFT

    # requests

    async def _look_after_hand(self) -> None:
        await self._keep_in_touch()
        if self.appetite.is_link_too_slow:
            self.appetite.forgive()
            await self.hand.skip_unreadable(HAND_BYTES_LEAST, self._limits.max_attempts)
        if self._is_late():
            self.hand.give_taken()
        await self.hand.give()
        if self.appetite.is_queue_empty:
            self.slots.start()

    async def _keep_in_touch(self) -> None:
        await self._join()
        if self.hand.until_tend() <= 0 and await self.hand.tend(self.slots.running):
            self.appetite.is_queue_empty = False

    async def _join(self) -> None:
        if self.hand.is_joined:
            return
        is_kept = await self.hand.join(is_stopping=self.life is Life.DRAINING)
        if self.life is Life.JOINING:
            self.life = Life.WORKING
            self._ready()
        elif not is_kept:
            logger.warning("taken for dead: what was in hand is done by others")

    async def _step(self, want: int, free: int = 0) -> None:
        """Confirm what has ended, and take up to `want` items of `free` bytes, or a larger one."""
        ended = len(self.hand.done)
        try:
            taken = await self.hand.step(want, free, meanwhile=self.slots.start)
        except TimeoutError:
            self.appetite.got_nothing_in_time()
            raise
        except ResponseError:
            self.slots.start()
            raise
        self.appetite.got(want, taken, ended)

    async def _wait(self) -> None:
        """Wait for an item, and start it."""
        seconds = BUSY_WAIT if self.slots.running else self.hand.rest()
        try:
            has_come = await self.hand.wait(seconds)
        except ResponseError as error:
            # At maxmemory, say, or where the list is none, STEP goes on; else that fails next.
            self._is_wait_refused = True
            self._outage.failed(error)
            await self._change(seconds)
            return
        self._is_wait_refused = False
        if has_come:
            self.slots.start()
            await asyncio.sleep(0)  # what was waited for goes first, then the next request

    def _failed(self, item_id: int, failure: Failure) -> None:
        attempts = 1 if failure.is_final else self._limits.max_attempts
        self.hand.fail(item_id, failure, attempts)

    # what is needed next

    def _bytes_free(self) -> int:
        """How many bytes more may come into the hand; a single item may have any number."""
        waiting = sum(len(item) for _, item in self.hand.taken)
        return self.appetite.bytes - self.slots.size() - waiting

    def _want(self, free: int) -> int:
        """How many items to ask for."""
        in_hand = len(self.hand.taken) + len(self.slots.running)
        room = min(STEP, self.slots.count + self.appetite.ahead - in_hand)
        return 0 if in_hand and free <= 0 else max(0, room)

    def _has_to_tell(self) -> bool:
        """Whether Redis has to hear of an end, or of an item that was waited for."""
        return bool(self.hand.done or self.hand.failed or not self.hand.is_told)

    def _has_to_start(self) -> bool:
        return bool(self.hand.taken) and not self.slots.are_taken

    def _is_well_supplied(self) -> bool:
        """Whether all slots are taken and so much waits that more can come in one go later."""
        return (
            self.slots.are_taken
            and len(self.hand.taken) > max(self.appetite.ahead // 2, 8)
            and len(self.hand.done) < STEP
            and not self.hand.failed
            and time.monotonic() - self.hand.stepped_at < 2 * PAUSE
        )

    def _is_late(self) -> bool:
        """Whether what is taken would wait for long: another worker may have a free slot."""
        is_old = time.monotonic() - self.slots.started_at > PATIENCE
        return bool(self.hand.taken) and is_old and self.slots.are_taken

    async def _change(self, within: float) -> None:
        """Wait until an item has ended or a slot has fallen free, but not longer than that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self.slots.changed.wait()
