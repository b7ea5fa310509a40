"""The queue in words, for a terminal."""

from collections.abc import Sequence

from ..runtime.dead import Dead, shown
from ..runtime.snapshot import TOTALS, Snapshot
from .words import duration, span

ITEM = 200  # characters of a dead item
WHY = 300  # characters of the reason why it is dead
_Row = tuple[str, str, str]


def status(now: Snapshot, where: str, wrong: Sequence[str]) -> str:
    """What an operator asks: what is wrong, how much waits and for how long, what was done."""
    told = [f"  ! {each}" for each in wrong] or ["  all is well"]
    blocks = [[where, *told], _table(_places(now)), _table(_totals(now))]
    blocks += [_table(_schedule(now))]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _places(now: Snapshot) -> list[_Row]:
    return [
        ("waiting", f"{now.waiting:,}", f"the oldest for {_oldest(now)}" if now.waiting else ""),
        ("in hand", f"{now.in_hand:,}", f"of {_counted(now.workers, 'worker')}"),
        ("retrying", f"{now.retrying:,}", "example-queue retry-now" if now.retrying else ""),
        ("later", f"{now.later:,}", ""),
        ("dead", f"{now.dead:,}", "example-queue dead" if now.dead else ""),
    ]


def _oldest(now: Snapshot) -> str:
    if now.oldest_seconds is None:
        return "an unknown time"
    return f"{span(now.oldest_seconds)}{' or longer' if now.oldest_is_least else ''}"


def _totals(now: Snapshot) -> list[_Row]:
    rows: list[_Row] = [("", "so far", "a second")]
    for name in TOTALS:
        rate = f"{now.rates[name]:>8,.1f}" if name in now.rates else ""
        rows.append((name, f"{now.totals[name]:,}", rate))
    if now.run_seconds:
        p50, p95, p99 = (duration(now.run_seconds[f"p{share}"]) for share in (50, 95, 99))
        rows.append(("run time", p50, f"median; 95 % up to {p95}, 99 % up to {p99}"))
    return rows


def _schedule(now: Snapshot) -> list[_Row]:
    rows: list[_Row] = [("schedule", "last tick", "missed")]
    for entry in now.schedule:
        last = f"{span(now.time - entry.last)} ago" if entry.last else "none yet"
        rows.append((shown(entry.name.encode()), last, f"{entry.missed:,}"))
    return rows if len(rows) > 1 else []


def _table(rows: Sequence[_Row]) -> list[str]:
    """The rows in aligned columns: the second one to the right."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]}".rstrip() for row in rows]


def dead(found: Sequence[Dead], now: float) -> str:
    """The dead items, three lines each; `now` in seconds since the epoch."""
    lines = []
    for each in found:
        lines.append(
            f"{each.id}  {span(now - each.time)} ago,"
            f" {_counted(each.failures, 'failed attempt')},"
            f" {_counted(each.deaths, 'worker')} died, {_counted(each.size, 'byte')}"
        )
        lines += [f"  {shown(each.why.encode(), WHY)}", f"  {shown(each.item, ITEM)}"]
    return "\n".join(lines) or "none"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
