"""The table for people: in the terminal, as docs/faults.md, and as docs/faults.svg."""

import os
import platform
import subprocess
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from importlib.metadata import version

from tests.server import server_program

from .columns import COLUMNS, Column
from .scene import Seen
from .table import Fault

Cell = Seen | str
"""What was seen, or why nothing was."""
Cells = Mapping[tuple[str, str], Cell]
"""(fault, column) -> cell."""

HELD, BACK, NOT, SKIPPED = "held", "back", "not", "skipped"
LEGEND = {
    HELD: "nothing failed or lost, or the right end",
    BACK: "back by itself, with traces",
    NOT: "needs a person",
    SKIPPED: "skipped on that machine",
}
COLOURS = {HELD: "#1b7f5c", BACK: "#e0a526", NOT: "#b3362c", SKIPPED: "#9a9a9a"}
INK = {HELD: "#fff", BACK: "#222", NOT: "#fff", SKIPPED: "#fff"}


def verdict(fault: Fault, cell: Cell) -> str:
    """The cell's kind: one of LEGEND."""
    if isinstance(cell, str):
        return SKIPPED
    traces = cell.failed or cell.lost or cell.doubled or cell.missed or cell.ticks_doubled
    if fault.ends or fault.should_end:
        told = fault.ends or cell.status != 0
        if cell.status is None or cell.orphans or not told:
            return NOT
        return BACK if cell.lost or cell.doubled else HELD
    if cell.seconds is None or cell.orphans:
        return NOT
    return BACK if traces else HELD


def text(fault: Fault, cell: Cell) -> str:
    """The cell in words: only what is not zero."""
    if isinstance(cell, str):
        return f"skipped: {cell}"
    counted = {
        "failed": cell.failed if cell.seconds is not None or "app" not in away(cell) else 0,
        "lost": cell.lost,
        "doubled": cell.doubled,
        "ticks missed": cell.missed if cell.seconds is not None else 0,
        "ticks doubled": cell.ticks_doubled,
        "orphans": cell.orphans,
    }
    return ", ".join(
        [outcome(fault, cell), *(f"{count} {name}" for name, count in counted.items() if count)]
    )


def outcome(fault: Fault, cell: Seen) -> str:
    """What came of it, and how soon."""
    if fault.ends or fault.should_end:
        if cell.status is None:
            return "does not end" if fault.ends else "never, and runs on"
        return f"ended after {cell.seconds:.1f} s with {cell.status}"
    if cell.status is not None:
        return f"never: ended with {cell.status}"
    if cell.seconds is None:
        gone = away(cell) or f"{cell.fewer} process fewer"
        return f"never: {gone}"
    return f"{cell.seconds:.1f} s"


def away(cell: Seen) -> str:
    """The programs that did not work in the end."""
    return ", ".join(sorted({who.split(" ")[0] for who in cell.away}))


def machine() -> list[str]:
    """On what all this was measured: the kind of machine, and versions."""
    server = subprocess.run([server_program(), "--version"], capture_output=True, text=True)
    name, *words = server.stdout.split()
    number = next(word.removeprefix("v=") for word in words if word.startswith("v="))
    packages = ("supervisor", "uvicorn", "uvloop", "starlette", "redis")
    return [
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        f"Python {platform.python_version()}",
        *(f"{package} {version(package)}" for package in packages),
        f"{name.lower()}-server {number}",
    ]


def totals(faults: Sequence[Fault], column: Column, cells: Cells) -> Counter[str]:
    return Counter(verdict(fault, cells[fault.name, column.name]) for fault in faults)


MARKDOWN = """\
# Faults, measured

What users see when something goes wrong with the same three programs, under four launchers:

- **{0}**: the common recipe, as in the article that this layout grew from: one file,
  started by a `main.py` with three `Process`es and `join()`;
- **{1}**: this package under a `multiprocessing` parent;
- **{2}**: this package under our `supervisord.conf`, without everything in it that
  is our own;
- **{3}**: this package under `supervisord.conf` as it is shipped.

![The chart of the table below](faults.svg)

{summary}

{machine}

## How to read it

Each cell is one real run: a launcher, a Redis with its append-only file on, and a light load. One
client opens a connection for each request, two keep theirs. Each asks every {pause} s and gives up
after {timeout:.0f} s. Numbered items are pushed at the same rate. An item takes 50 ms of work. If
the fault strikes the worker or the launcher, an item of a second is in hand.

A cell says after how many seconds everything worked again, counted from the fault, or from its
end if it has one ("for 3 s"). It names only what is not zero:

- *failed*: requests without an answer;
- *lost*: items that Redis had confirmed, that were never worked, and that have left Redis;
- *doubled*: items worked more than once;
- *ticks missed*, *ticks doubled*: seconds without their push, or with two;
- *orphans*: processes that live a second after their launcher has gone;
- *never*: something does not work again by itself within {patience:.0f} to {longest:.0f} s. Its
  failures then depend on how long one waits, and are not counted.

If the fault is meant to end the launcher, or only a person can help, the cell says when the
launcher ended, and with which exit status: that is how its own supervisor learns of it.

The article's column is measured kindly: its client library retries more than the article's own did,
and its output is not buffered. "Stock" runs our programs too, with their queue and clean stop, so
only supervisord differs. The watchdog finds a program that hangs after 30 s, as shipped. In
"Redis absent" REDIS_URL is no address of this machine: otherwise the last three launchers would
start a Redis. The clock that jumps is that of the programs, not that of Redis's machine. Without
descriptors, the event loop may accept a connection only to close it: how many fail is luck, and
depends on which of two processes is struck.

| fault | {header} |
|---|{rules}|
{rows}

`instruments/faults/table.py` has the promise for each cell of the last column, and `scripts/faults`
fails if one is broken. Some of these cells run with the tests.
"""


def markdown(faults: Sequence[Fault], cells: Cells, when: datetime, jobs: int) -> str:
    """docs/faults.md."""
    from .traffic import PAUSE, TIMEOUT

    signs = {HELD: "🟢", BACK: "🟡", NOT: "🔴", SKIPPED: "⚪"}
    rows = []
    for fault in faults:
        row = [fault.name]
        for column in COLUMNS:
            cell = cells[fault.name, column.name]
            row.append(f"{signs[verdict(fault, cell)]} {text(fault, cell)}")
        rows.append("| " + " | ".join(row) + " |")
    summary = ["| of {} faults | {} |".format(len(faults), " | ".join(c.title for c in COLUMNS))]
    summary.append("|---|" + "---|" * len(COLUMNS))
    counts = {column.name: totals(faults, column, cells) for column in COLUMNS}
    for kind, meaning in LEGEND.items():
        numbers = [counts[column.name][kind] for column in COLUMNS]
        if any(numbers):
            line = " | ".join(map(str, numbers))
            summary.append(f"| {signs[kind]} {meaning} | {line} |")
    return MARKDOWN.format(
        *(column.title for column in COLUMNS),
        summary="\n".join(summary),
        machine=textwrap.fill(
            f"Made by `scripts/faults` on {when:%Y-%m-%d}: {', '.join(machine())}. {jobs} cells ran"
            ' at a time, so read seconds as "about".',
            width=100,
        ),
        pause=PAUSE,
        timeout=TIMEOUT,
        patience=min(fault.patience for fault in faults),
        longest=max(fault.patience for fault in faults),
        header=" | ".join(column.title for column in COLUMNS),
        rules="|".join(["---"] * len(COLUMNS)),
        rows="\n".join(rows),
    )


def svg(faults: Sequence[Fault], cells: Cells, when: datetime) -> str:
    """docs/faults.svg: a row for each fault, a column for each launcher."""
    left, width, height, top = 290, 168, 22, 70
    total = left + width * len(COLUMNS) + 10
    bottom = top + height * len(faults)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {bottom + 84}"'
        f' width="{total}" font-family="sans-serif" font-size="12" role="img">',
        "<title>What came of each fault, by launcher</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        _text(
            12, 26, "What came of each fault: seconds until all worked again, or the end", size=16
        ),
        _text(12, 46, f"measured by scripts/faults on {when:%Y-%m-%d}", colour="#666"),
    ]
    for index, column in enumerate(COLUMNS):
        x = left + width * index
        parts.append(_text(x + width / 2, top - 8, column.title, anchor="middle", weight="bold"))
        for row, fault in enumerate(faults):
            cell = cells[fault.name, column.name]
            kind = verdict(fault, cell)
            y = top + height * row
            parts.append(_box(x, y, width - 2, height - 2, COLOURS[kind], text(fault, cell)))
            words = _brief(fault, cell)
            parts.append(_text(x + width / 2, y + 15, words, INK[kind], anchor="middle", size=11))
        # Below the column its sum, as one bar.
        at: float = x
        counts = totals(faults, column, cells)
        for kind, count in ((kind, counts[kind]) for kind in LEGEND if counts[kind]):
            part = (width - 2) * count / len(faults)
            parts.append(_box(at, bottom + 12, part, 22, COLOURS[kind], LEGEND[kind]))
            parts.append(_text(at + part / 2, bottom + 28, str(count), INK[kind], anchor="middle"))
            at += part
    for row, fault in enumerate(faults):
        parts.append(_text(left - 8, top + height * row + 15, fault.name, anchor="end"))
    parts.append(_text(left - 8, bottom + 28, f"of {len(faults)} faults", anchor="end"))
    at = left
    for kind, meaning in LEGEND.items():
        if any(totals(faults, column, cells)[kind] for column in COLUMNS):
            parts.append(_box(at, bottom + 54, 12, 12, COLOURS[kind], meaning))
            parts.append(_text(at + 18, bottom + 64, meaning))
            at += 40 + 6.4 * len(meaning)
    return "\n".join([*parts, "</svg>", ""])


def _brief(fault: Fault, cell: Cell) -> str:
    if isinstance(cell, str):
        return "skipped"
    extra = [("orphans", cell.orphans), ("lost", cell.lost)]
    noted = [f"{count} {name}" for name, count in extra if count]
    words = outcome(fault, cell).replace("never, and runs on", "runs on, half dead")
    if cell.status is not None:
        words = f"exit {cell.status}"
        if not noted and cell.seconds is not None:
            words += f", {cell.seconds:.1f} s"
        elif not (fault.ends or fault.should_end):
            words = f"never: {words}"
    elif noted:
        words = words.replace("beat, worker", "worker")
    return ", ".join([words, *noted])


def _box(x: float, y: float, width: float, height: float, colour: str, title: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"'
        f' fill="{colour}"><title>{escape(title)}</title></rect>'
    )


def _text(
    x: float,
    y: float,
    words: str,
    colour: str = "#222",
    anchor: str = "start",
    size: int = 12,
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}"'
        f' font-size="{size}" font-weight="{weight}">{escape(words)}</text>'
    )
