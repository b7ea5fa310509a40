"""worker: take items from the queue and do each of them, at least once.

slots.py runs the items. hand.py knows which there are, by Redis's word. appetite.py says how many
more to ask for. The worker decides which request comes next: see `Worker._turn`.
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

from .appetite import FEW, HAND_BYTES_LEAST, Appetite
from .failure import Failure
from .hand import Hand, Standing
from .link import ERRORS
from .outage import OutageLog
from .process import Process
from .queue import GoneError
from .slots import Slots, Work

logger = logging.getLogger(__name__)

PATIENCE = 1.0  # seconds that an unstarted item may wait for a slot before others may have it
BUSY_WAIT = 0.1  # seconds to wait for an item while others run: their ends have to be confirmed
LEAVE_SECONDS = 1.0  # seconds for the last requests once DRAIN_SECONDS are over


@dataclass(frozen=True)
class Limits:
    """How much a worker does at once, and how long and how often it tries an item."""

    concurrency: int = 64
    job_timeout: float = 300.0  # seconds
    max_attempts: int = 5
    drain_seconds: float = 5.0
    dead_limit: int = 10_000


async def run(process: Process, url: str, key: str, work: Work, limits: Limits) -> None:
    """Do what arrives on the list `key`, until `process` is told to stop.

    Exits with status 1, to be replaced, when too many tasks cannot be stopped. Exits with 2 if
    `work` is no function of one argument with the type hint str or bytes.
    """
    process.drain_seconds = limits.drain_seconds
    doing = f"taking from {key}"

    def show(trouble: str) -> None:
        tell = process.held_up if trouble else process.status
        tell(trouble or doing)

    try:
        worker = Worker(url, key, work, limits, lambda: process.ready(doing), show)
    except TypeError as error:
        logger.error("wrong task: %s", error)
        sys.exit(2)
    serving = asyncio.create_task(worker.serve())
    told = asyncio.create_task(process.stopping.wait())
    try:
        await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        await worker.stop(serving)
        raise
    ends_by_itself = not told.done()
    told.cancel()
    await worker.stop(serving)
    if not serving.cancelled():
        serving.result()
    if stuck := len(worker.slots.running):
        logger.warning("worker ends with %d tasks that cannot be stopped", stuck)
    if stuck or worker.slots.have_cancelled:
        # Tasks that go on would keep the interpreter from ending.
        process.exit_at_once = 1 if ends_by_itself else 0
    elif ends_by_itself:
        sys.exit(1)


class Life(Enum):
    """The life of a worker, in this order."""

    JOINING = auto()  # not registered yet: nothing is in hand
    WORKING = auto()
    DRAINING = auto()  # told to stop: takes no more
    LEFT = auto()


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
            *(work, limits.concurrency, limits.job_timeout, self.hand.unstarted),
            done=self.hand.done.append,
            failed=self._failed,
            ran=self.hand.runs.add,
            describe=self.hand.describe,
        )
        self.appetite = Appetite(self.hand, self.slots)
        self._limits = limits
        self._outage = OutageLog(url, show)
        self._does_wait_work = True
        """False from a refused WAIT until one works, or none is needed. The outage lasts that long,
        though STEP works meanwhile."""
        self._ready = ready

    # the life of a worker

    async def serve(self) -> None:
        """Work until `stop`, or until too many slots are lost to tasks that cannot be stopped."""
        while self.life in (Life.JOINING, Life.WORKING):
            await self._try(self._turn)
            if self.slots.are_worn_out(alone=self.hand.standing is Standing.EMPTYING):
                logger.error("worker ends: too many tasks cannot be stopped")
                break

    async def stop(self, serving: asyncio.Task[None]) -> None:
        """End `serving`, finish what runs within DRAIN_SECONDS, and give back the rest."""
        was_joining = self.life is Life.JOINING
        # `serve` looks at this. A cancellation alone may be lost in Python 3.11's wait_for.
        self.life = Life.DRAINING
        self.slots.close()
        serving.cancel()
        await asyncio.wait({serving})
        if was_joining and self.hand.standing is Standing.UNREGISTERED:
            self.life = Life.LEFT  # it never was a consumer, so it has nothing to give back
        await self.hand.part()  # the cancellation may have cut off a request
        self.hand.give_unstarted()
        drained_by = time.monotonic() + self._limits.drain_seconds
        while self.life is Life.DRAINING and self.slots.running and time.monotonic() < drained_by:
            await self._try(self._drain, drained_by)
        await self.slots.cancel()
        left_by = max(drained_by, time.monotonic() + LEAVE_SECONDS)
        while self.life is Life.DRAINING and time.monotonic() < left_by:
            await self._try(self._leave, left_by)
        if self.life is Life.DRAINING:
            logger.warning(
                "Redis has not let this worker leave: others take over what it had in hand"
            )
        await self.hand.close()

    async def _try(
        self, step: Callable[[], Coroutine[Any, Any, None]], until: float | None = None
    ) -> None:
        """Take a step, which is cut off at `until` by time.monotonic(). Pause if Redis is in
        trouble."""
        left = None if until is None else max(0.0, until - time.monotonic())
        try:
            async with asyncio.timeout(left) as deadline:
                await step()
            if self._does_wait_work:
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
        """The most urgent request to Redis, or a pause if none is due yet."""
        await self._look_after_hand()
        if self.appetite.is_satisfied():
            self.slots.start()
            await asyncio.sleep(self.appetite.pause())
            return
        want, size = self.appetite.want()
        if self._has_to_confirm() or (want and self.appetite.expects_more):
            await self._step(want, size)
        elif self._has_to_start():
            self.slots.start()
            await asyncio.sleep(0)
        elif want and self._may_wait():
            await self._wait()
        else:
            await self._change(self.hand.pause())
            if self.hand.standing is Standing.EMPTYING:
                await self._step(want, size)
        self.slots.changed.clear()

    async def _drain(self) -> None:
        """Confirm what has ended, and give back what has not started."""
        await self._keep_in_touch()
        _, size = self.appetite.want()
        has_come = await self._step(0, size)  # the reply to the last STEP may have been lost
        self.hand.give_unstarted()
        await self.hand.give()
        if not has_come and not self._has_to_confirm():
            await self._change(self.hand.pause())
        self.slots.changed.clear()

    async def _leave(self) -> None:
        await self._join()
        self.hand.give_unstarted()
        await self._step(0)
        await self.hand.leave()
        self.life = Life.LEFT

    # requests

    async def _look_after_hand(self) -> None:
        await self._keep_in_touch()
        if self.appetite.is_link_too_slow:
            self.appetite.forget_unread()
            await self.hand.skip_unreadable(HAND_BYTES_LEAST, self._limits.max_attempts)
        if self._is_late():
            self.hand.give_unstarted()
        await self.hand.give()
        if not self.appetite.expects_more:
            self.slots.start()  # otherwise `_step` starts them, while it waits for the reply

    async def _keep_in_touch(self) -> None:
        await self._join()
        if self.hand.until_tend() <= 0 and await self.hand.tend(self.slots.running):
            self.appetite.expects_more = True

    async def _join(self) -> None:
        if self.hand.standing is not Standing.UNREGISTERED:
            return
        is_lost = await self.hand.join(self.life is Life.DRAINING, self.slots.unreported())
        if self.life is Life.JOINING:
            self.life = Life.WORKING
            self._ready()
        elif is_lost:
            logger.warning("was taken for dead: others do what was in hand")

    async def _step(self, want: int, size: int = 0) -> int:
        """Confirm what has ended, and take up to `want` items of `size` bytes altogether. Returns
        how many have come."""
        ended = len(self.hand.done) + len(self.hand.failed)
        try:
            taken = await self.hand.step(want, size, meanwhile=self.slots.start)
        except TimeoutError:
            self.appetite.got_nothing_in_time()
            raise
        except ResponseError:
            self.slots.start()  # whatever is refused, what is taken already can be worked on
            raise
        self.appetite.got(want, taken, ended)
        if taken >= FEW:
            self._does_wait_work = True  # perhaps: while so many come, no WAIT is needed
        return taken

    async def _wait(self) -> None:
        """Wait for an item, and start it."""
        seconds = BUSY_WAIT if self.slots.running else self.hand.pause()
        try:
            has_come = await self.hand.wait(seconds)
        except ResponseError as error:
            # At maxmemory, for instance, STEP still works. If it does not, the next turn says so.
            self._does_wait_work = False
            self._outage.failed(error)
            await self._change(seconds)
            return
        self._does_wait_work = True
        if has_come:
            self.slots.start()
            await asyncio.sleep(0)  # the item runs first, then comes the next request

    def _failed(self, item_id: int, failure: Failure) -> None:
        attempts = 1 if failure.is_final else self._limits.max_attempts
        self.hand.fail(item_id, failure, attempts)

    # what is needed next

    def _has_to_confirm(self) -> bool:
        """Whether a STEP is due, which confirms what has ended, and what a WAIT has brought."""
        hand = self.hand
        return bool(hand.done or hand.failed or hand.standing is Standing.UNSETTLED)

    def _has_to_start(self) -> bool:
        """Whether an item could start at once."""
        return bool(self.hand.unstarted) and not self.slots.are_full

    def _may_wait(self) -> bool:
        """Whether an item that comes now could start at once."""
        return self.hand.standing is Standing.SETTLED and not self.slots.are_full

    def _is_late(self) -> bool:
        """Whether items wait too long for a slot here: another worker may have a free one."""
        if not (self.hand.unstarted and self.slots.are_full):
            return False
        since_last_start = time.monotonic() - self.slots.started_at
        return max(since_last_start, self.appetite.wait_for_slot()) > PATIENCE

    async def _change(self, within: float) -> None:
        """Wait until an item has ended or a slot has fallen free, but not longer than that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self.slots.changed.wait()
