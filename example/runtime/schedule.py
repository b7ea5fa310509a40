"""Entries of a schedule: when to push, and what.

`check` finds what is wrong with an entry, and its constructor does not: so beat names all faults at
once.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable
from zoneinfo import ZoneInfo

from cronsim import CronSim

Item = str | bytes
Push = Item | Callable[[float], Item | Awaitable[Item]]

MOST = 1e9  # seconds between two ticks, some thirty years


@runtime_checkable
class Entry(Protocol):
    """When to push, and what. You may write your own: any object with these methods is an entry.

    Ticks, and `now`, are in ms since the epoch.
    """

    @property
    def push(self) -> Push:
        """What to push: an item, or a function that returns one.

        It gets the tick's time in seconds since the epoch. It may be async; a plain one runs in a
        thread.
        """

    def check(self) -> None:
        """Raise ValueError, which says what is wrong, if it has no ticks."""

    def latest(self, now: int) -> int:
        """The last tick at or before `now`."""

    def after(self, now: int) -> int:
        """The first tick after `now`."""


@dataclass(frozen=True)
class Every:
    """Each `seconds` (fractions to the millisecond), on whole multiples since the epoch."""

    seconds: float
    push: Push

    def check(self) -> None:
        number = isinstance(self.seconds, int | float) and not isinstance(self.seconds, bool)
        if not number or not 0.001 <= self.seconds <= MOST:
            raise ValueError(f"Every({self.seconds!r}, …): use seconds from 0.001 to {MOST:.0f}")

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
    """

    expression: str
    zone: str
    push: Push

    def check(self) -> None:
        try:
            now = datetime.now(ZoneInfo(self.zone))
        except (LookupError, OSError, TypeError, ValueError):
            raise ValueError(
                f"the time zone {self.zone!r} is not known here: see that its name is right, and"
                " that tzdata is installed"
            ) from None
        try:
            next(CronSim(self.expression, now))
            next(CronSim(self.expression, now, reverse=True))
        except Exception as error:
            why = str(error) or "it never comes"
            raise ValueError(f"{self.expression!r} is not a cron expression: {why}") from None

    def _time(self, ms: int) -> datetime:
        return datetime.fromtimestamp(ms / 1000, ZoneInfo(self.zone))

    def latest(self, now: int) -> int:
        back = CronSim(self.expression, self._time(now + 1000), reverse=True)
        tick = _ms(next(back))
        # Backwards it goes through an hour that comes twice only once.
        while (later := self.after(tick)) <= now:
            tick = later
        return tick

    def after(self, now: int) -> int:
        return _ms(next(CronSim(self.expression, self._time(now))))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def check(schedule: object) -> list[str]:
    """What is wrong with a schedule, a dict of names and entries: one line a fault, by name."""
    if not isinstance(schedule, Mapping):
        return ["SCHEDULE is not a dict of names and entries"]
    return [f"{name!r}: {fault}" for name, entry in schedule.items() for fault in _in(name, entry)]


def _in(name: object, entry: object) -> Iterator[str]:
    if not isinstance(name, str) or not name.isprintable() or not name:
        yield "its name is not printable text"
    if not isinstance(entry, Entry):
        yield "is neither Every(seconds, push) nor Cron(expression, zone, push)"
        return
    try:
        entry.check()
    except ValueError as error:
        yield str(error)
    try:
        _check_push(entry.push)
    except ValueError as error:
        yield str(error)


def _check_push(push: object) -> None:
    if callable(push):
        try:
            inspect.signature(push).bind(0.0)
        except TypeError:
            raise ValueError("its function must take one argument, the tick's time") from None
        except ValueError:  # one written in C that does not tell
            return
    else:
        encoded(push)


def encoded(item: object) -> bytes:
    """What to push as bytes. Raises ValueError if it is neither text nor bytes."""
    try:
        return item.encode() if isinstance(item, str) else bytes(memoryview(item))  # type: ignore[arg-type]
    except (TypeError, UnicodeEncodeError):
        raise ValueError(f"{item!r} is neither bytes nor a str that UTF-8 can hold") from None
