"""What the page shows: the state of Redis, supervisord and the schedule now."""

import asyncio
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...runtime import dead, link, snapshot
from ...runtime.outage import explained
from ...runtime.redis_url import redacted
from ...runtime.schedule import Cron, Every
from .. import programs
from . import charts, verdict
from .source import Seen, Source

DEAD_SHOWN = 20


@dataclass(frozen=True)
class Group:
    """The processes of one program."""

    name: str
    rows: list[programs.Program]
    is_numbered: bool
    """Whether there may be more or fewer of them."""


@dataclass(frozen=True)
class Tick:
    """An entry of the schedule; None if something is unknown."""

    name: str
    when: str
    last: float | None
    next: float | None
    missed: int | None
    is_known: bool
    """Whether schedule.py has it."""


class Page:
    """Everything that the page shows, shared by all who look.

    `schedule` is that of schedule.py; `limit` is how many items may wait.
    """

    def __init__(self, url: str, key: str, limit: int, schedule: Mapping[str, object]) -> None:
        self._url = url
        self._key = key
        self.limit = limit
        self._schedule = schedule
        self.queue = Source(lambda: snapshot.read(url, key), link.ERRORS, self._of_redis)
        self.programs = Source(
            lambda: asyncio.to_thread(_programs), programs.ERRORS, _of_supervisord
        )
        self.dead = Source(lambda: self._dead(None), link.ERRORS, self._of_redis)

    async def context(self, before: str | None) -> dict[str, Any]:
        """Values for the template; the dead items from the one before `before` on."""
        queue, rows = await self.look()
        now = time.time()
        found = await self._dead_list(queue, before)
        return {
            "now": now,
            "name": __package__.partition(".")[0],
            "host": socket.gethostname(),
            "key": self._key,
            "queue": queue,
            "snapshot": queue.value,
            "charts": charts.charts(queue.value) if queue.value else [],
            "run_bars": charts.bars(queue.value.run_seconds) if queue.value else [],
            "supervisord": rows,
            "groups": groups(rows.value or []),
            "verdict": verdict.judge(queue, self.limit, rows),
            "ticks": ticks(self._schedule, queue.value.schedule if queue.value else [], now),
            "dead": found[:DEAD_SHOWN],
            "is_older": len(found) > DEAD_SHOWN,
            "before": before,
        }

    async def look(self) -> tuple[Seen[snapshot.Snapshot], Seen[list[programs.Program]]]:
        """The queue and the programs, as Source.look returns them."""
        return await asyncio.gather(self.queue.look(), self.programs.look())

    async def _dead_list(
        self, queue: Seen[snapshot.Snapshot], before: str | None
    ) -> list[dead.Dead]:
        if not queue.value or not queue.value.dead or (queue.trouble and before):
            return []
        if before is None:
            return (await self.dead.look()).value or []
        try:
            return await self._dead(before)
        except link.ERRORS:
            return []

    async def _dead(self, before: str | None) -> list[dead.Dead]:
        # One more tells whether there are older ones.
        return await dead.dead(self._url, self._key, DEAD_SHOWN + 1, before)

    def _of_redis(self, error: Exception) -> str:
        why = explained(error, redacted(self._url)).removesuffix(".")
        if isinstance(error, link.REFUSALS):
            return f"Redis refuses: {why}"
        if isinstance(error, link.ERRORS):
            return f"Redis does not answer: {why}"
        return f"What Redis holds cannot be read: {why}"

    def forget(self) -> None:
        """Ask again for everything that is shown next, since something has changed."""
        for source in (self.queue, self.programs, self.dead):
            source.forget()


def _programs() -> list[programs.Program]:
    return programs.read(programs.find())


def _of_supervisord(error: Exception) -> str:
    return f"supervisord does not answer: {str(error) or type(error).__name__}"


def groups(rows: list[programs.Program]) -> list[Group]:
    """By program, in supervisord's order."""
    found: dict[str, list[programs.Program]] = {}
    for row in rows:
        found.setdefault(row.program, []).append(row)
    return [Group(name, rows, ":" in rows[0].name) for name, rows in found.items()]


def ticks(schedule: Mapping[str, object], records: list[snapshot.Entry], now: float) -> list[Tick]:
    """The entries of schedule.py, then those that only Redis knows; `now` as time.time()."""
    on_record = {each.name: each for each in records}
    names = [*schedule, *(name for name in on_record if name not in schedule)]
    return [_tick(name, schedule.get(name), on_record.get(name), now) for name in names]


def _tick(name: str, entry: Any, record: snapshot.Entry | None, now: float) -> Tick:
    last, missed = (record.last, record.missed) if record else (None, None)
    coming = None
    if entry is not None:
        try:
            coming = entry.after(int(now * 1000)) / 1000
        except Exception:
            # A class of the user's own, or an entry that beat would refuse.
            coming = None
    return Tick(name, _when(entry), last, coming, missed, entry is not None)


def _when(entry: object) -> str:
    if isinstance(entry, Every):
        return f"every {entry.seconds:g} s"
    if isinstance(entry, Cron):
        return f"{entry.expression} {entry.zone}"
    return "" if entry is None else type(entry).__name__
