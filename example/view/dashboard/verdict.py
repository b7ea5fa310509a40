"""Whether all is well, in one sentence, and a line for each thing that is not."""

from dataclasses import dataclass
from typing import Any

from ...runtime.snapshot import Snapshot
from .. import troubles, words
from ..programs import Program
from ..troubles import BAD, LOOK
from .source import Seen

STARTING_SECONDS = 10.0
"""A program that takes longer to start is not well."""
GOOD = "good"
MOST_NAMES = 5
"""Of programs that have the same trouble."""
NO_REDIS = ("Redis away since ", "Redis refuses since ")
"""How the status of a program begins that cannot push or take: see outage.py."""
NOT_WELL = {"FATAL", "BACKOFF", "UNKNOWN"}


@dataclass(frozen=True)
class Verdict:
    """What stands at the top of the page."""

    level: str
    """good, look (it works, but needs attention), or bad."""
    sentence: str
    reasons: list[str]
    """Each stays the same as long as it holds, since a screen reader reads what has changed."""


def judge(queue: Seen[Snapshot], limit: int, programs: Seen[list[Program]]) -> Verdict:
    """The worst of what is seen, and all of it; no more than `limit` items may wait."""
    found = [*_of_redis(queue), *_of_supervisord(programs)]
    if programs.value and not programs.trouble:
        is_told = bool(queue.trouble or (queue.value and queue.value.refusal))
        found += _of_programs(programs.value, is_told)
    if queue.value and not queue.trouble:
        found += troubles.of_queue(queue.value, limit)
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
    return [(BAD, _since(queue))]


def _of_supervisord(programs: Seen[list[Program]]) -> Found:
    if not programs.trouble:
        return []
    # Perhaps there is none, as under `python -m example`.
    level = LOOK if programs.value is None else BAD
    return [(level, _since(programs))]


def _since(seen: Seen[Any]) -> str:
    return f"{seen.trouble} (since {words.clock(seen.since)})"


def _of_programs(rows: list[Program], is_redis_told: bool) -> Found:
    names: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if not row.ready or (row.status.startswith(NO_REDIS) and not is_redis_told):
            names.setdefault(_complaint(row), []).append(row.name)
    return [(level, f"{what}: {_some(which)}") for (level, what), which in names.items()]


def _complaint(row: Program) -> tuple[str, str]:
    if row.ready:
        # It retries.
        trouble, _, why = row.status.partition(": ")
        return BAD, f"{trouble.partition(' since ')[0]} ({why.removesuffix('.')})"
    if row.state in NOT_WELL:
        return BAD, f"Does not run ({row.state})"
    if row.state == "STOPPED":
        return LOOK, "Stopped"
    if row.state == "EXITED":
        return LOOK, f"Has ended ({row.last_exit or 'cause unknown'})"
    slow = (row.uptime_seconds or 0.0) > STARTING_SECONDS
    return BAD if slow else LOOK, "Not ready yet"


def _some(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
