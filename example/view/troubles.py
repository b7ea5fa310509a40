"""What is not well with the queue: one judgement for the page, the command and the metrics."""

from typing import NamedTuple

from ..runtime.outage import explained
from ..runtime.snapshot import Snapshot
from . import words

LATE_SECONDS = 60.0
"""An item that has waited for longer is late."""
SILENT_SECONDS = 10.0
"""Workers and beats report each second; none runs after so long without."""
LOOK, BAD = "look", "bad"
"""It works, and somebody should look; or it does not work."""


class Trouble(NamedTuple):
    level: str
    text: str
    """Stays the same as long as it holds, since a screen reader reads what has changed."""


def of_queue(now: Snapshot, limit: int) -> list[Trouble]:
    """All that an operator must know; no more than `limit` items may wait."""
    found = []
    if now.refusal:
        why = explained(Exception(now.refusal), "").removesuffix(".")
        found.append(Trouble(BAD, f"Redis refuses to write: {why}"))
    if now.listed >= limit:
        found.append(Trouble(BAD, f"The queue is full (QUEUE_LIMIT={limit}): pushes are refused"))
    if now.put_off >= limit:
        why = f"No more items can be pushed for later, or with `once` (QUEUE_LIMIT={limit})"
        found.append(Trouble(BAD, why))
    if now.waiting and not now.workers:
        found.append(Trouble(BAD, "Items wait, and no worker takes them"))
    if now.unreadable:
        which = ", ".join(map(words.clean, now.unreadable))
        found.append(Trouble(LOOK, f"Cannot be read, and counts as empty: {which}"))
    elif silence := _silence(now):
        found.append(Trouble(BAD, silence))
    if (now.oldest_seconds or 0.0) > LATE_SECONDS:
        found.append(Trouble(LOOK, f"Items wait for more than {words.duration(LATE_SECONDS)}"))
    if now.dead:
        found.append(Trouble(LOOK, "The dead list is not empty"))
    return found


def is_full(now: Snapshot, limit: int) -> bool:
    """Whether pushes are refused, be it only those for later or with `once`."""
    return max(now.listed, now.put_off) >= limit


def silent_seconds(now: Snapshot) -> float | None:
    """Since a worker or beat reported last; None if none ever did. 0 while a worker lives: if there
    are no reports then, Redis refuses to write or a key of the queue holds something else."""
    if now.workers:
        return 0.0
    return None if now.sampled is None else max(0.0, now.time - now.sampled)


def _silence(now: Snapshot) -> str:
    """Without reports nobody knows how long items wait."""
    seconds = silent_seconds(now)
    if seconds is None:
        return "No worker or beat has ever used this queue: is REDIS_KEY right?"
    if now.sampled is None or seconds <= SILENT_SECONDS:
        return ""
    return f"No worker or beat has reported since {words.clock(now.sampled, now.time)}"
