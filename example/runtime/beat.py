"""beat: push each schedule entry when its time comes, once, however many beats there are.

No beat leads. The ticks of an entry are fixed points in time, and Redis keeps the last one that was
pushed: a TICK (see queue.lua) pushes only what is newer, and no earlier than Redis's clock says.
"""

import asyncio
import contextlib
import inspect
import itertools
import logging
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .link import ERRORS, Connection
from .outage import OutageLog
from .process import Process
from .queue import SOURCE, script
from .rights import ensure
from .schedule import Cron as Cron  # schedules may import it from here
from .schedule import Entry as Entry
from .schedule import Every as Every
from .schedule import check, encoded

logger = logging.getLogger(__name__)

MAKE_SECONDS = 60.0  # that a function may take to make its item
HUNG = 8  # with so many calls under way that do not end, an entry's function is not called again
LOOK = 30.0  # seconds until Redis is asked for its time again: its clock or ours may have jumped
SAMPLE = 1.0  # seconds between two looks at the queue, for those who will ask how it did
STOP_SECONDS = 0.5  # for the answer of a request that is on its way when beat has to stop
_COUNTED = 10_000  # missed ticks, at most


async def run(
    process: Process, url: str, key: str, schedule: Mapping[str, Entry], limit: int
) -> None:
    """Push what `schedule` says on the list `key` until `process` is told to stop.

    While the queue holds `limit` items, nothing is pushed. That is logged once, and the ticks are
    counted. Exits with status 2 if the schedule is wrong, after it has logged each fault.
    """
    if faults := check(schedule):
        for fault in faults:
            logger.error("wrong schedule: %s", fault)
        sys.exit(2)
    beat = Beat(url, key, schedule, limit)
    outage = OutageLog(
        url,
        lambda trouble: process.held_up(trouble) if trouble else process.status(beat.doing()),
    )
    beating = asyncio.create_task(_beat(process, beat, outage))
    told = asyncio.create_task(process.stopping.wait())
    await asyncio.wait({beating, told}, return_when=asyncio.FIRST_COMPLETED)
    beat.changed.set()
    # A Redis that hangs must not hold up the stop. One that works has answered by then.
    await asyncio.wait({beating}, timeout=STOP_SECONDS)
    beating.cancel()
    told.cancel()
    await asyncio.wait({beating})
    await beat.close()
    if not beating.cancelled():
        beating.result()
    if beat.has_cancelled:
        # Functions that go on would keep the interpreter from ending.
        process.exit_at_once = 0


async def _beat(process: Process, beat: "Beat", outage: OutageLog) -> None:
    ready = False
    while not process.stopping.is_set():
        try:
            pause = min(await beat.step(), await beat.sample())
            if not beat.owes:
                outage.worked()
            if not ready:
                process.ready(beat.doing())
                ready = True
        except ERRORS as error:
            beat.tried = False
            await beat.connection.close()
            pause = outage.failed(error)
        if not process.stopping.is_set():
            await beat.rest(pause)


@dataclass(eq=False)
class _Timer:
    """An entry, and the tick that it waits for: 0 until Redis was asked for the last one."""

    name: str
    entry: Entry
    tick: int = 0
    item: bytes | None = None  # what its function has made for the tick
    making: asyncio.Task[None] | None = None
    threads: list[threading.Thread] = field(default_factory=list)  # in which its function runs
    skipped: int = 0  # ticks since the queue is full
    failed: int = 0  # ticks since the last push for which its function made nothing
    is_slow: bool = False  # whether its function has ever taken longer than from a tick to the next

    def wait_for(self, tick: int) -> None:
        self.tick, self.item = tick, None


class Beat:
    """Pushes a schedule. Each `step` does what is due, and says how long to `rest`."""

    def __init__(
        self,
        url: str,
        key: str,
        schedule: Mapping[str, Entry],
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connection = Connection(url, key, ("SCRIPT", "LOAD", SOURCE))
        self.timers = [_Timer(name, entry) for name, entry in schedule.items()]
        self.changed = asyncio.Event()
        self.tried = False  # whether this connection has all rights that pushes need
        self.owes = False  # whether Redis refused the last push; it may still answer other requests
        self.has_cancelled = False  # whether a function was; what it began in a thread may go on
        self._key = key
        self._limit = limit
        self._clock = clock
        self._ahead = 0.0  # Redis's clock less ours, ms
        self._asked = 0.0  # when Redis was asked for its time
        self._sampled = -math.inf
        self.missed: Counter[str] = Counter()  # ticks that Redis was not told of yet

    def doing(self) -> str:
        count = len(self.timers)
        return f"{count} schedule {'entry' if count == 1 else 'entries'}"

    async def step(self) -> float:
        """Push the entry whose tick comes first, if it has come. Returns seconds until the next.

        Raises one of ERRORS if Redis does not answer or refuses.
        """
        if not self.tried:
            await ensure(self.connection, self._key, "beat")
            self.tried = True
        timer = self._first()
        if not timer:
            return LOOK
        if not timer.tick:
            last, now = (await self._ask(timer, 0, b""))[1:]
            latest = timer.entry.latest(now)
            timer.wait_for(latest if 0 < last < latest else timer.entry.after(max(last, now)))
        elif self._wait(timer.tick) <= 0:
            await self._push(timer)
        elif self._clock() - self._asked >= LOOK:
            await self._ask(timer, 0, b"")
        following = self._first()
        return min(LOOK, self._wait(following.tick)) if following else LOOK

    async def sample(self) -> float:
        """Have Redis take a sample of the queue if it is time. Returns seconds until the next.

        Workers do so too; but what waits grows older where none runs.
        """
        if self._clock() - self._sampled >= SAMPLE:
            told = self.missed.copy()
            missed = itertools.chain(*told.items())
            await self.connection.call((*script(self._key, ""), "sample", *missed))
            self.missed -= told
            self._sampled = self._clock()
        return max(0.0, self._sampled + SAMPLE - self._clock())

    async def rest(self, seconds: float) -> None:
        """Wait so long, or until a function has made its item."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        self.changed.clear()

    async def close(self) -> None:
        """Close the connection, and leave the functions that still run to themselves."""
        for timer in self.timers:
            if timer.making:
                timer.making.cancel()
                self.has_cancelled = True
        await self.connection.close()

    def _first(self) -> _Timer | None:
        free = (each for each in self.timers if not each.making)
        return min(free, key=lambda each: each.tick, default=None)

    def _wait(self, tick: int) -> float:
        return max(0.0, (tick - self._clock() * 1000 - self._ahead) / 1000) if tick else 0.0

    async def _push(self, timer: _Timer) -> None:
        push = timer.entry.push
        if callable(push) and timer.item is None:
            timer.making = asyncio.create_task(self._make(timer, push))
            return
        item = encoded(push) if timer.item is None else timer.item
        owed, self.owes = self.owes, True
        outcome, last, now = await self._ask(timer, timer.tick, item)
        # For these two Redis has written nothing, so it may still refuse a push.
        self.owes = owed and outcome in (b"late", b"early")
        match outcome:
            case b"pushed":
                self._told_pushed(timer, last)
            case b"full":
                self.missed[timer.name] += _count(timer.entry, last, timer.tick) + 1
                if not timer.skipped:
                    logger.warning("queue full: %r is not pushed until it has room", timer.name)
                timer.skipped += 1
            case b"late":  # beat was paused or cut off: of the missed ticks it pushes the latest
                # A slow function is late each time: its item is pushed for the latest tick.
                made = timer.item if timer.is_slow else None
                timer.wait_for(timer.entry.latest(now))
                timer.item = made
                return
            case b"early":
                return
        timer.wait_for(timer.entry.after(max(timer.tick, last)))

    async def _make(self, timer: _Timer, push: Callable[[float], Any]) -> None:
        """Have the entry's function make its item. Other entries go on meanwhile."""
        at, began = timer.tick / 1000, self._clock()
        try:
            async with asyncio.timeout(MAKE_SECONDS):
                plain = not inspect.iscoroutinefunction(push)
                made = await _in_thread(push, at, timer.threads) if plain else push(at)
                timer.item = encoded(await made if inspect.isawaitable(made) else made)
            self._see_if_slow(timer, self._clock() - began)
        except BaseException as error:  # a SystemExit would end beat with all entries
            if timer.making and timer.making.cancelling():
                raise
            self.has_cancelled |= isinstance(error, TimeoutError)
            logger.exception("schedule entry %r failed: this tick is left out", timer.name)
            timer.failed += 1
            timer.wait_for(timer.entry.after(timer.tick))
        timer.making = None
        self.changed.set()

    def _see_if_slow(self, timer: _Timer, seconds: float) -> None:
        period = (timer.entry.after(timer.tick) - timer.tick) / 1000
        if seconds >= period and not timer.is_slow:
            timer.is_slow = True
            logger.warning(
                "the function of %r took %.1f s, and its next tick comes after %g s:"
                " it is pushed less often",
                *(timer.name, seconds, period),
            )

    def _told_pushed(self, timer: _Timer, last: int) -> None:
        logger.info("PUSH %s", timer.name)
        if timer.skipped:
            logger.info("queue has room: %d ticks of %r were not pushed", timer.skipped, timer.name)
            timer.skipped = 0
        missed = _count(timer.entry, last, timer.tick)
        self.missed[timer.name] += missed
        if missed > timer.failed:  # those were logged
            logger.warning("%d ticks of %r were missed", missed - timer.failed, timer.name)
        timer.failed = 0

    async def _ask(self, timer: _Timer, tick: int, item: bytes) -> tuple[bytes, int, int]:
        """Send a TICK. With the tick 0 it only asks for Redis's time and the last tick."""
        following = timer.entry.after(tick) if tick else 0
        request = script(self._key, timer.name)
        times = (tick, following)
        outcome, last, now = await self.connection.call(
            (*request, "tick", *times, item, self._limit)
        )
        self._asked = self._clock()
        self._ahead = now - self._asked * 1000
        return outcome, last, now


async def _in_thread(
    function: Callable[[float], Any], argument: float, threads: list[threading.Thread]
) -> Any:
    """As asyncio.to_thread, but in a daemon thread, which is added to `threads`."""
    threads[:] = [thread for thread in threads if thread.is_alive()]
    if len(threads) >= HUNG:
        raise RuntimeError(f"{HUNG} calls of its function have not ended")
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def tell(result: Any, error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result((result, error))

    def run() -> None:
        result = error = None
        try:
            result = function(argument)
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(tell, result, error)

    threads.append(threading.Thread(target=run, daemon=True))
    threads[-1].start()
    result, error = await ended
    if error is not None:
        raise error
    return result


def _count(entry: Entry, last: int, tick: int) -> int:
    """How many ticks lie between two, up to about _COUNTED; 0 if there was none before."""
    if not last:
        return 0
    if isinstance(entry, Every):
        return (tick - last) // round(entry.seconds * 1000) - 1
    ticks = itertools.accumulate(itertools.repeat(last, _COUNTED), lambda at, _: entry.after(at))
    return sum(1 for _ in itertools.takewhile(lambda at: at < tick, ticks)) - 1
