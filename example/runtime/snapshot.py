"""The queue at one moment, for people who look at it: how much waits, for how long, what was done.

One request, LOOK in queue_look.lua, which changes nothing.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import runs
from .link import Connection
from .queue import VIEW_SHA, VIEW_SOURCE, script

SPAN = 600.0  # seconds that the samples cover
RATE_SPAN = 60.0  # seconds over which a rate is taken
GAP = 2.5  # seconds between two samples, from which on nobody can say what was in between
RATES = ("pushed", "taken", "done", "failed")
_ENDS = ("failed", "redelivered", "killed", "back", "parked")
"""What becomes of an item that was taken, but done: see queue_count.lua."""
TOTALS = (*RATES, "retried", "dead", "redelivered")


@dataclass(frozen=True)
class Sample:
    """The queue at one second."""

    time: int
    """Seconds since the epoch, by Redis's clock."""
    waiting: int
    in_hand: int
    pushed: int
    """Running totals from here on: see Snapshot.totals."""
    taken: int
    done: int
    failed: int


@dataclass(frozen=True)
class Entry:
    """What is on record of a schedule entry."""

    name: str
    last: float | None
    """Its last tick, in seconds since the epoch."""
    missed: int
    """How many ticks have pushed nothing, so far as beat has noticed."""


@dataclass(frozen=True)
class Snapshot:
    """The queue at the moment `time`, in seconds since the epoch by Redis's clock.

    Each item is in one place: it waits, is in hand, is to be retried or started later, or is dead.
    """

    time: float
    waiting: int
    """On the list, or put off until a time that has come."""
    in_hand: int
    retrying: int
    """Failed, or its worker died, and the time of its next attempt has not come."""
    later: int
    """Pushed, or put off by its task, for a time that has not come."""
    dead: int
    oldest_seconds: float | None
    """How long the oldest of the waiting items has waited; None if none waits, or if unknown."""
    workers: int
    """Those that have shown up in the last five seconds."""
    totals: dict[str, int]
    """So far: `pushed`; `taken` into a hand; `done`; `failed` attempts, of which so many will be
    `retried`; given up as `dead`; `redelivered` since their workers died."""
    rates: dict[str, float]
    """Per second over the last minute, of some of the totals; empty before there are samples."""
    run_seconds: dict[str, float]
    """How long tasks run: `sum` and `count` so far; the quantiles p50, p95, p99 of the last ten
    minutes, to about a factor of two. Empty before a task has ended."""
    samples: list[Sample]
    """One a second, oldest first, of the last ten minutes."""
    schedule: list[Entry]
    oldest_is_least: bool = False
    """Whether it may be more: there are no samples of then."""
    run_counts: list[int] = field(default_factory=list)
    """So many tasks, so far, have run in each class of `runs.BOUNDS`, and at last beyond those."""


async def read(url: str, key: str) -> Snapshot:
    """The queue `key` at this moment. Raises one of link.ERRORS."""
    connection = Connection(url, key, ("SCRIPT", "LOAD", VIEW_SOURCE))
    try:
        return parsed(await connection.call((*script(key, "", VIEW_SHA), "look")))
    finally:
        await connection.close()


class Record(NamedTuple):
    """A sample as Redis keeps it: see queue_count.lua."""

    time: int  # ms
    waiting: int
    in_hand: int
    pushed: int
    taken: int
    done: int
    failed: int
    listed: int  # how many had come on the list so far
    runs: list[int]


def _record(packed: bytes) -> Record:
    time, waiting, in_hand, pushed, taken, done, failed, listed, *runs = map(int, packed.split())
    return Record(time, waiting, in_hand, pushed, taken, done, failed, listed, runs)


def _records(samples: list[bytes]) -> Iterator[Record]:
    """Those that can be read: another version's may look different."""
    for packed in samples:
        with contextlib.suppress(ValueError):
            yield _record(packed)


def parsed(reply: list[Any]) -> Snapshot:
    """What the reply to LOOK says."""
    now, waiting, in_hand, held, retrying, later, dead, workers, listed, due, *rest = reply
    totals, packed, ticks = rest
    counts = {name.decode(): int(value) for name, value in _pairs(totals)}
    out = left_the_list(counts)
    known = {name: counts.get(name, 0) for name in TOTALS}
    known["done"] = max(0, counts.get("taken", 0) - held - sum(counts.get(k, 0) for k in _ENDS))
    known["pushed"] = out + listed + counts.get("came", 0)
    run_counts = [counts.get(f"run{number}", 0) for number in range(runs.CLASSES)]
    record = Record(
        *(now, waiting, in_hand, *(known[name] for name in RATES), out + listed, run_counts)
    )
    records = list(_records(packed))
    recent = [each for each in records if now - SPAN * 1000 <= each.time <= now]
    oldest, is_least = oldest_seconds([*records, record], out)
    if due and (oldest is None or now - int(due) >= oldest * 1000):
        oldest, is_least = max(0.0, (now - int(due)) / 1000), False
    return Snapshot(
        *(now / 1000, waiting, in_hand, retrying, later, dead),
        oldest_seconds=oldest,
        workers=workers,
        totals=known,
        rates=_rates([*recent, record]),
        run_seconds=_run_seconds(recent, run_counts, counts.get("run_ms", 0)),
        samples=[Sample(each.time // 1000, *each[1:7]) for each in recent],
        schedule=_schedule(ticks, counts),
        oldest_is_least=is_least,
        run_counts=run_counts,
    )


def left_the_list(counts: Mapping[str, int]) -> int:
    """How many items have left the list, less those that came back to be the next ones.

    Of all that was taken, what had been on the list `again` came from elsewhere, and what was put
    `back` is there still.
    """
    return counts.get("taken", 0) - counts.get("again", 0) - counts.get("back", 0)


def oldest_seconds(records: Sequence[Record], out: int) -> tuple[float | None, bool]:
    """How long the next item of the list has waited, and whether it may be longer.

    The last record is of this moment. The list is first in, first out: when `out` items have left
    it, the next one came when the number of all that had come on it rose above `out`. What was put
    back counts as if it had been the last to be taken. Where others have removed items from the
    list, the number falls: so only what is later than its last rise counts.
    """
    now = records[-1]
    if now.listed <= out:
        return None, False
    came, before = now, None
    for record in reversed(records[:-1]):
        if record.listed <= out:
            before = record
            break
        came = record
    seconds = max(0, now.time - came.time) / 1000
    return seconds, before is None or came.time - before.time > GAP * 1000


def _rates(records: Sequence[Record]) -> dict[str, float]:
    now = records[-1]
    before = next(each for each in records if each.time >= now.time - RATE_SPAN * 1000)
    if now.time - before.time < 1000:
        return {}
    seconds = (now.time - before.time) / 1000
    # Less than before: Redis was flushed meanwhile.
    return {name: max(0, getattr(now, name) - getattr(before, name)) / seconds for name in RATES}


def _run_seconds(
    recent: Sequence[Record], run_counts: list[int], milliseconds: int
) -> dict[str, float]:
    count = sum(run_counts)
    if not count:
        return {}
    before = recent[0].runs if recent else []
    lately = [now - was for now, was in zip(run_counts, before, strict=False)]
    if min(lately, default=0) < 0 or not any(lately):
        lately = run_counts
    quantiles = {f"p{share}": runs.quantile(lately, share / 100) for share in (50, 95, 99)}
    return {"sum": milliseconds / 1000, "count": count, **quantiles}


def _schedule(ticks: list[bytes], counts: Mapping[str, int]) -> list[Entry]:
    last = {name.decode(errors="replace"): int(value) / 1000 for name, value in _pairs(ticks)}
    missed = {name: counts.get(f"missed:{name}", 0) for name in last if name}
    return [Entry(name, last[name] or None, missed[name]) for name in sorted(missed)]


def _pairs(flat: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
