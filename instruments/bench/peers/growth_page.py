"""What docs/benchmarks.md says of growth: tables, curves, and the words around them."""

import statistics
import textwrap
from typing import Any

from .curves import Curve, curves
from .many_programs import END_WITHIN

Row = dict[str, Any]

HEAD = """\
## Growth

What one more costs, of items that wait, of workers, and of programs. {rounds} rounds in turns; the
numbers are medians.
"""

QUEUED = """\
### Items that wait

![Microseconds of CPU an item](benchmarks-growth-queued.svg)

{table}

One worker with {items:,} items of {size} bytes above so many that wait, and a task that does
nothing. What counts is the middle four fifths. *memory* is what Redis needs for a waiting item. The
append-only file is on; its rewriting is off here, because that would fall on one round by chance.
"""

WORKERS = """\
### Workers

![Microseconds of CPU an item](benchmarks-growth-workers.svg)

{table}

So many processes on one queue work {items:,} items together; the machine has {cores} cores. *idle*
is one process of them that waits: its share of memory (PSS) and of a core, and what it costs Redis.
"""

PROGRAMS = """\
### Programs under supervisord

![MiB of supervisord](benchmarks-growth-programs.svg)
![Percent of a core](benchmarks-growth-programs-cpu.svg)

{table}

So many sections in `supervisord.conf`, each a `sleep`, with our plugin and without. *memory* and
*CPU* are supervisord's own, with all helpers of the plugin. *start* is from exec until all programs
were started, *status* one `supervisorctl status`, *end* from TERM to exit, in one round. Without
the plugin, supervisord ends one section after the other.
{more}
"""


def markdown(part: Row, machine: str) -> str:
    parts = [HEAD.format(rounds=part["rounds"])]
    if rows := part.get("queued"):
        parts.append(
            QUEUED.format(table=queued_table(rows), items=part["items"], size=part["size"])
        )
    if rows := part.get("workers"):
        parts.append(
            WORKERS.format(table=workers_table(rows), items=part["items"], cores=part["cores"])
        )
    if rows := part.get("programs"):
        parts.append(PROGRAMS.format(table=programs_table(rows), more=one_more(rows)))
    return "\n".join([*parts, f"{machine}\n"])


def charts(part: Row) -> dict[str, str]:
    """File name -> SVG."""
    found = {}
    for name, across in (("queued", "items that wait"), ("workers", "worker processes")):
        if rows := part.get(name):
            lines = [
                Curve(words, [(row["count"], middle(row["costs"], what)) for row in rows])
                for what, words in (("workers", "workers"), ("redis", "Redis"))
            ]
            title = f"CPU for an item, over {across}"
            note = f"microseconds, {part['when']}"
            found[f"benchmarks-growth-{name}.svg"] = curves(title, note, across, lines)
    if rows := part.get("programs"):
        for suffix, what, title, factor in (
            ("", "memory", "Memory of supervisord, MiB", 1),
            ("-cpu", "cpu", "CPU of supervisord, idle, % of a core", 100),
        ):
            lines = [
                Curve(words, [(row["count"], factor * middle(row["found"], what)) for row in some])
                for words, some in (
                    ("with our plugin", [row for row in rows if row["plugin"]]),
                    ("without", [row for row in rows if not row["plugin"]]),
                )
            ]
            found[f"benchmarks-growth-programs{suffix}.svg"] = curves(
                title, part["when"], "programs", lines
            )
    return found


def queued_table(rows: list[Row]) -> str:
    return table(
        "items that wait|items/s|worker's CPU, µs an item|Redis CPU, µs an item|memory, bytes",
        [
            [
                f"{row['count']:,}",
                f"{middle(row['costs'], 'rate'):,.0f}",
                f"{middle(row['costs'], 'workers'):.2f}",
                f"{middle(row['costs'], 'redis'):.2f}",
                f"{row['bytes']:.0f}" if row["count"] >= 10_000 else "",
            ]
            for row in rows
        ],
    )


def workers_table(rows: list[Row]) -> str:
    return table(
        "workers|items/s|workers' CPU, µs an item|Redis CPU, µs an item"
        "|one idle: memory, MiB|CPU, %|Redis CPU, %",
        [
            [
                f"{row['count']}",
                f"{middle(row['costs'], 'rate'):,.0f}",
                f"{middle(row['costs'], 'workers'):.2f}",
                f"{middle(row['costs'], 'redis'):.2f}",
                f"{middle(row['idle'], 'memory'):.1f}",
                f"{100 * middle(row['idle'], 'worker'):.2f}",
                f"{100 * middle(row['idle'], 'redis'):.2f}",
            ]
            for row in rows
        ],
    )


def programs_table(rows: list[Row]) -> str:
    return table(
        "programs|our plugin|memory, MiB|CPU, %|start, s|status, s|end, s",
        [
            [
                f"{row['count']}",
                "with" if row["plugin"] else "without",
                f"{middle(row['found'], 'memory'):.1f}",
                f"{100 * middle(row['found'], 'cpu'):.2f}",
                *(f"{middle(row['found'], what):.2f}" for what in ("start", "status")),
                f"{row['end']:.2f}" if row["end"] < END_WITHIN else f"over {END_WITHIN:.0f}",
            ]
            for row in rows
        ],
    )


def one_more(rows: list[Row]) -> str:
    """What a program costs, between the fewest and the most."""
    told = []
    for plugin, words in ((True, "with"), (False, "without")):
        some = [row for row in rows if row["plugin"] is plugin]
        first, last = some[0], some[-1]
        if more := last["count"] - first["count"]:
            memory, cpu, status = (
                (middle(last["found"], what) - middle(first["found"], what)) / more
                for what in ("memory", "cpu", "status")
            )
            told.append(
                f"{memory * 1024:.0f} KiB, {100 * cpu:.3f} % of a core and {1000 * status:.1f} ms"
                f" of `status` {words} the plugin"
            )
    return textwrap.fill(f"One program more costs {', and '.join(told)}.", 100) if told else ""


def table(head: str, lines: list[list[str]]) -> str:
    names = head.split("|")
    rows = [names, ["---"] * len(names), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def middle(rows: list[Row], what: str) -> float:
    return float(statistics.median(row[what] for row in rows))
