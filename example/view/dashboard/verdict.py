"""Whether all is well, in one sentence, and a line for each thing that is not."""

from dataclasses import dataclass

from ...runtime.snapshot import Snapshot
from ..programs import Program
from ..queue_text import LATE_SECONDS
from . import words
from .source import Seen

STARTING_SECONDS = 10.0
"""A program that takes longer to start is not well."""
GOOD, LOOK, BAD = "good", "look", "bad"
NOT_WELL = {"FATAL", "BACKOFF", "UNKNOWN"}


@dataclass(frozen=True)
class Verdict:
    """What stands at the top of the page."""

    level: str
    """good, look (it works, but needs attention), or bad."""
    sentence: str
    reasons: list[str]
    """Each stays the same as long as it holds, since a screen reader reads what has changed."""


def judge(queue: Seen[Snapshot], programs: Seen[list[Program]]) -> Verdict:
    """The worst of what is seen, and all of it."""
    found = [*_of_redis(queue), *_of_supervisord(programs)]
    if programs.value and not programs.trouble:
        found += _of_programs(programs.value)
    if queue.value and not queue.trouble:
        found += _of_queue(queue.value)
    levels = {level for level, _ in found}
    reasons = [reason for _, reason in sorted(found, key=lambda each: each[0] != BAD)]
    if BAD in levels:
        return Verdict(BAD, "Not well", reasons)
    if LOOK in levels:
        return Verdict(LOOK, "It works, but have a look", reasons)
    return Verdict(GOOD, "All is well", [])


Found = list[tuple[str, str]]


def _of_redis(queue: Seen[Snapshot]) -> Found:
    if not queue.trouble:
        return []
    return [(BAD, f"Redis has not answered since {words.clock(queue.since)}: {queue.trouble}")]


def _of_supervisord(programs: Seen[list[Program]]) -> Found:
    if not programs.trouble:
        return []
    since = words.clock(programs.since)
    # Perhaps there is none, as under `python -m example`.
    level = LOOK if programs.value is None else BAD
    return [(level, f"supervisord has not answered since {since}: {programs.trouble}")]


def _of_programs(rows: list[Program]) -> Found:
    found = []
    for row in rows:
        if row.ready:
            continue
        if row.state in NOT_WELL:
            found.append((BAD, f"{row.name} does not run: {row.state}"))
        elif row.state == "STOPPED":
            found.append((LOOK, f"{row.name} is stopped"))
        elif row.state == "EXITED":
            found.append((LOOK, f"{row.name} has ended: {row.last_exit or 'cause unknown'}"))
        else:
            slow = (row.uptime_seconds or 0.0) > STARTING_SECONDS
            found.append((BAD if slow else LOOK, f"{row.name} is not ready yet"))
    return found


def _of_queue(snapshot: Snapshot) -> Found:
    found = []
    if snapshot.waiting and not snapshot.workers:
        found.append((BAD, "Items wait, and no worker takes them"))
    if (snapshot.oldest_seconds or 0.0) > LATE_SECONDS:
        found.append((LOOK, f"Items wait for more than {words.duration(LATE_SECONDS)}"))
    if snapshot.dead:
        found.append((LOOK, "The dead list is not empty"))
    return found
