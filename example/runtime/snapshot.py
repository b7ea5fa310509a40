"""The queue at one moment, for people who look at it: how much waits, for how long, what was done.

One request, LOOK in queue_look.lua, which changes nothing.
"""

import contextlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from . import runs
from .link import Connection
from .queue import VIEW_SHA, VIEW_SOURCE, keys, script

SPAN = 600.0  # seconds that the samples cover
RATE_SPAN = 60.0  # seconds over which a rate is taken
GAP = 2.5  # seconds between two samples, from which on nobody can say what was in between
RATES = ("pushed", "taken", "done", "failed")
_ENDS = ("failed", "redelivered", "killed", "back", "parked")
"""What becomes of an item that was taken, but done: see queue_count.lua."""
TOTALS = (*RATES, "retried", "dead", "redelivered")
_MOST = 1 << 63
"""Redis counts no further."""
_LAST_TIME = 10**14
"""A time in ms beyond that, in the year 5138, is none."""


class Sample(NamedTuple):
    """The queue at one moment, as a worker or beat has noted it: see queue_count.lua."""

    time: float
    """Seconds since the epoch, by Redis's clock."""
    waiting: int
    in_hand: int
    pushed: int
    """Running totals from here on: see Snapshot.totals."""
    taken: int
    done: int
    failed: int
    listed: int
    """How many items had come on the list so far, less those that others had removed from it."""
    runs: list[int]
    """See Snapshot.run_counts."""


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
    minutes, to about a factor of three. Empty before a task has ended."""
    samples: list[Sample]
    """One a second, oldest first, of the last ten minutes."""
    schedule: list[Entry]
    oldest_is_least: bool
    """Whether it may be more: there are no samples of then."""
    run_counts: list[int]
    """So many tasks, so far, have run in each class of `runs.BOUNDS`, and at last beyond those."""
    listed: int
    """On the list, which QUEUE_LIMIT bounds, or on the way from there to a hand: one a worker."""
    put_off: int
    """Pushed for a later time or with `once`, and not taken yet: QUEUE_LIMIT bounds these apart."""
    ages: list[float | None]
    """`oldest_seconds` at each of the samples."""
    sampled: float | None
    """When a worker or beat took the last sample, in seconds since the epoch; None: never."""
    refusal: str
    """Why Redis refuses to write, though it answers; or ''."""
    unreadable: list[str]
    """Keys of the queue, or fields of them, in which something else is; they count as empty."""


async def read(url: str, key: str) -> Snapshot:
    """The queue `key` at this moment. Raises one of link.ERRORS."""
    connection = Connection(url, key, ("SCRIPT", "LOAD", VIEW_SOURCE))
    try:
        return parsed(await connection.call((*script(key, "", VIEW_SHA), "look")), key)
    finally:
        await connection.close()


def _sample(packed: bytes) -> Sample:
    time, *numbers = map(int, packed.split())
    if not 0 <= time < _LAST_TIME or max(map(abs, numbers), default=0) >= _MOST:
        raise ValueError
    waiting, in_hand, pushed, taken, done, failed, listed, *runs = numbers
    return Sample(time / 1000, waiting, in_hand, pushed, taken, done, failed, listed, runs)


def _samples(packed: list[bytes]) -> Iterator[Sample]:
    """Those that can be read: another version's may look different."""
    for each in packed:
        with contextlib.suppress(ValueError):
            yield _sample(each)


def parsed(reply: list[Any], key: str) -> Snapshot:
    """What the reply to LOOK of the queue `key` says."""
    ms, waiting, in_hand, held, retrying, later, dead, workers, listed, *rest = reply
    put_off, due, totals, packed, ticks, wrong, refusal = rest
    now = ms / 1000
    counts, no_counts = _numbers(totals, range(-_MOST, _MOST))
    last_ticks, no_ticks = _numbers(ticks, range(_LAST_TIME))
    known = {name: counts.get(name, 0) for name in TOTALS}
    out = left_the_list(counts)
    known["done"] = max(0, known["taken"] - held - sum(counts.get(k, 0) for k in _ENDS))
    known["pushed"] = out + listed + counts.get("came", 0)
    run_counts = [counts.get(f"run{number}", 0) for number in range(runs.CLASSES)]
    present = Sample(
        *(now, waiting, in_hand, *(known[name] for name in RATES), out + listed, run_counts)
    )
    samples = [each for each in _samples(packed) if each.time <= now]
    recent = [each for each in samples if now - SPAN <= each.time]
    outs = [*(_out(each, known["taken"] - out) for each in samples), out]
    *waits, (oldest, is_least) = oldest_waits([*samples, present], outs)
    if due:
        oldest = max(oldest or 0.0, _between(int(due) / 1000, now))
    return Snapshot(
        *(now, waiting, in_hand, retrying, later, dead),
        oldest_seconds=oldest,
        workers=workers,
        totals=known,
        rates=_rates([*recent, present]),
        run_seconds=_run_seconds(recent, run_counts, counts.get("run_ms", 0)),
        samples=recent,
        schedule=_schedule(last_ticks, counts),
        oldest_is_least=is_least,
        run_counts=run_counts,
        listed=listed,
        put_off=put_off,
        ages=[age for age, _ in waits[len(waits) - len(recent) :]],
        sampled=samples[-1].time if samples else None,
        refusal=refusal.decode(errors="replace"),
        unreadable=[*map(bytes.decode, wrong), *_fields(key, no_ticks, no_counts)],
    )


def _numbers(flat: list[bytes], possible: range) -> tuple[dict[str, int], list[str]]:
    """The `possible` whole numbers in field, value, …; and the fields without one."""
    numbers, others = {}, []
    for field, value in zip(flat[::2], flat[1::2], strict=True):
        name = field.decode(errors="replace")
        try:
            number = int(value)
        except ValueError:
            number = possible.stop
        if number in possible:
            numbers[name] = number
        else:
            others.append(name)
    return numbers, others


def _fields(key: str, ticks: list[str], totals: list[str]) -> Iterator[str]:
    """The fields with the names of the keys that they are in."""
    ticks_key, totals_key = keys(key)[6:8]
    yield from (f"{ticks_key} {name}" for name in ticks)
    yield from (f"{totals_key} {name}" for name in totals)


def left_the_list(counts: Mapping[str, int]) -> int:
    """How many items have left the list, less those that came back to be the next ones.

    Of all that was taken, what had been on the list `again` came from elsewhere, and what was put
    `back` is there still.
    """
    return counts.get("taken", 0) - counts.get("again", 0) - counts.get("back", 0)


def oldest_waits(
    samples: Sequence[Sample], outs: Iterable[int]
) -> Iterator[tuple[float | None, bool]]:
    """At each sample, how long the next item of the list had waited, and whether it may be longer.

    None with False: there is no item; None with True: nobody took a sample before or since it came.

    The list is first in, first out: when `out` items have left it, the next one came when the
    number of all that had come on it rose above `out`. What was put back counts as if it had been
    the last to be taken. Where others have removed items from the list, the number falls: so only
    what is later than its last rise counts.
    """
    lows: list[int] = []  # the samples with fewer items than all later ones
    for number, (now, out) in enumerate(zip(samples, outs, strict=True)):
        if now.listed <= out:
            yield None, False
        else:
            found = bisect_right(lows, out, key=lambda low: samples[low].listed)
            before = lows[found - 1] if found else -1
            came = samples[before + 1]
            is_least = before < 0 or came.time - samples[before].time > GAP
            yield None if is_least and came is now else _between(came.time, now.time), is_least
        while lows and samples[lows[-1]].listed >= now.listed:
            lows.pop()
        lows.append(number)


def _between(earlier: float, later: float) -> float:
    """Seconds, exact to the ms as Redis's times are; 0 where its clock was set back."""
    return max(0.0, round(later - earlier, 3))


def _out(sample: Sample, not_out: int) -> int:
    """How many items had left the list at a sample, which does not say so.

    No more than those that waited were still on it. And of all that was taken until then, no more
    had come from elsewhere, or back, than until now: that is `not_out`.
    """
    return max(sample.listed - sample.waiting, sample.taken - not_out)


def _rates(samples: Sequence[Sample]) -> dict[str, float]:
    now = samples[-1]
    before = next(each for each in samples if each.time >= now.time - RATE_SPAN)
    seconds = now.time - before.time
    if seconds < 1:
        return {}
    # Less than before: Redis was flushed meanwhile.
    return {name: max(0, getattr(now, name) - getattr(before, name)) / seconds for name in RATES}


def _run_seconds(
    recent: Sequence[Sample], run_counts: list[int], milliseconds: int
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


def _schedule(ticks: Mapping[str, int], counts: Mapping[str, int]) -> list[Entry]:
    """Without the entry of beat's trial, which has no name."""
    return [
        Entry(name, ticks[name] / 1000 or None, counts.get(f"missed:{name}", 0))
        for name in sorted(ticks)
        if name
    ]
