"""beat: push each schedule entry when its time comes, once, however many beats there are.

No beat leads. The slots of an entry are fixed points in time, and Redis keeps the last one that was
pushed: a TICK (see queue.lua) pushes only what is newer, and no earlier than Redis's clock says.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim

from .link import ERRORS, Lane, Link
from .process import Process
from .queue import SOURCE, script

logger = logging.getLogger(__name__)

Push = str | bytes | Callable[[float], str | bytes]

LOOK = 30.0  # seconds after which a far slot is looked at again, by Redis's clock
STOP_SECONDS = 0.5  # for the answer of a request that is on its way when beat has to stop
_COUNTED = 10_000  # missed slots, at most


class Entry(Protocol):
    """When to push, and what: a value, or a function of the slot's time in seconds.

    Slots are in ms since the epoch.
    """

    @property
    def push(self) -> Push: ...

    def latest(self, now: int) -> int:
        """The last slot at or before `now`."""

    def after(self, now: int) -> int:
        """The first slot after `now`."""


@dataclass(frozen=True)
class Every:
    """Each `seconds` (fractions to the millisecond), on whole multiples since the epoch."""

    seconds: float
    push: Push

    def __post_init__(self) -> None:
        if not self.seconds >= 0.001:
            raise ValueError(f"Every({self.seconds!r}, …): use 0.001 seconds or more")

    def latest(self, now: int) -> int:
        period = round(self.seconds * 1000)
        return now // period * period

    def after(self, now: int) -> int:
        return self.latest(now) + round(self.seconds * 1000)


@dataclass(frozen=True)
class Cron:
    """By a cron expression, in a time zone such as "Europe/Berlin".

    Daylight saving as in Debian's cron: a time that is skipped comes right after the gap; a time
    that comes twice counts once, unless the hour is a wildcard.
    Raises CronSimError or ZoneInfoNotFoundError for what it cannot read.
    """

    expression: str
    zone: str
    push: Push

    def __post_init__(self) -> None:
        CronSim(self.expression, datetime.now(ZoneInfo(self.zone)))

    def _time(self, ms: int) -> datetime:
        return datetime.fromtimestamp(ms / 1000, ZoneInfo(self.zone))

    def latest(self, now: int) -> int:
        back = CronSim(self.expression, self._time(now + 1000), reverse=True)
        slot = _ms(next(back))
        # Backwards it goes through an hour that comes twice only once.
        while (later := self.after(slot)) <= now:
            slot = later
        return slot

    def after(self, now: int) -> int:
        return _ms(next(CronSim(self.expression, self._time(now))))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


async def run(
    process: Process, url: str, key: str, schedule: Mapping[str, Entry], limit: int
) -> None:
    """Push what `schedule` says on the list `key` until `process` is told to stop.

    While the queue holds `limit` items, nothing is pushed: that is told once, and counted.
    """
    beat = Beat(url, key, schedule, limit)
    beating = asyncio.create_task(_beat(process, beat, Link(url)))
    told = asyncio.create_task(process.stopping.wait())
    await asyncio.wait({beating, told}, return_when=asyncio.FIRST_COMPLETED)
    # A Redis that hangs must not hold up the stop; one that does not has answered by then.
    await asyncio.wait({beating}, timeout=STOP_SECONDS)
    beating.cancel()
    told.cancel()
    await asyncio.wait({beating})
    await beat.lane.close()
    if not beating.cancelled():
        beating.result()


async def _beat(process: Process, beat: "Beat", link: Link) -> None:
    ready = False
    while not process.stopping.is_set():
        try:
            pause = await beat.step()
            link.worked()
            if not ready:
                process.ready(f"{len(beat.hands)} schedule entries")
                ready = True
        except ERRORS as error:
            await beat.lane.close()
            pause = link.failed(error)
        if pause > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await process.stopping.wait()


@dataclass
class _Hand:
    """An entry, and the slot that it waits for; 0 until Redis was asked."""

    name: str
    entry: Entry
    slot: int = 0
    skipped: int = 0  # since the queue is full


class Beat:
    """`step` after `step`: each does what is due, and says how long to sleep."""

    def __init__(
        self,
        url: str,
        key: str,
        schedule: Mapping[str, Entry],
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lane = Lane(url, key, ("SCRIPT", "LOAD", SOURCE))
        self.hands = [_Hand(name, entry) for name, entry in schedule.items()]
        self._key = key
        self._limit = limit
        self._clock = clock
        self._ahead = 0.0  # Redis's clock less ours, ms

    async def step(self) -> float:
        """Tick the entry whose slot comes first, if it has come. Returns seconds until the next.

        Raises one of ERRORS while Redis does not do its part.
        """
        if not self.hands:
            return LOOK
        hand = min(self.hands, key=lambda each: each.slot)
        if not hand.slot:
            last, now = (await self._tick(hand, b""))[1:]
            latest = hand.entry.latest(now)
            hand.slot = latest if 0 < last < latest else hand.entry.after(max(last, now))
        elif self._wait(hand.slot) <= 0:
            await self._push(hand)
        return min(LOOK, self._wait(min(each.slot for each in self.hands)))

    def _wait(self, slot: int) -> float:
        return max(0.0, (slot - self._clock() * 1000 - self._ahead) / 1000) if slot else 0.0

    async def _push(self, hand: _Hand) -> None:
        push = hand.entry.push
        try:
            item = push(hand.slot / 1000) if callable(push) else push
            item = item.encode() if isinstance(item, str) else bytes(memoryview(item))
        except Exception:
            logger.exception("schedule entry %r failed: this tick is left out", hand.name)
            hand.slot = hand.entry.after(hand.slot)
            return
        outcome, last, now = await self._tick(hand, item)
        match outcome:
            case b"pushed":
                self._told_pushed(hand, last)
            case b"full":
                if not hand.skipped:
                    logger.warning("queue full: %r is not pushed until it has room", hand.name)
                hand.skipped += 1
            case b"late":  # paused or cut off: only the latest slot is made up for
                hand.slot = hand.entry.latest(now)
                return
            case b"early":
                return
        hand.slot = hand.entry.after(max(hand.slot, last))

    def _told_pushed(self, hand: _Hand, last: int) -> None:
        logger.info("PUSH %s", hand.name)
        if hand.skipped:
            logger.info("queue has room: %d ticks of %r were not pushed", hand.skipped, hand.name)
            hand.skipped = 0
        if last and (missed := _count(hand.entry, last, hand.slot)):
            logger.warning("%d ticks of %r were missed", missed, hand.name)

    async def _tick(self, hand: _Hand, item: str | bytes) -> tuple[bytes, int, int]:
        following = hand.entry.after(hand.slot) if hand.slot else 0
        request = script(self._key, hand.name)
        times = (hand.slot, following)
        outcome, last, now = await self.lane.call((*request, "tick", *times, item, self._limit))
        self._ahead = now - self._clock() * 1000
        return outcome, last, now


def _count(entry: Entry, last: int, slot: int) -> int:
    """How many slots lie between two, as far as anybody would count."""
    if isinstance(entry, Every):
        return (slot - last) // round(entry.seconds * 1000) - 1
    slots = itertools.accumulate(itertools.repeat(last, _COUNTED), lambda at, _: entry.after(at))
    return sum(1 for _ in itertools.takewhile(lambda at: at < slot, slots)) - 1
