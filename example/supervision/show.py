"""What supervisorctl's verbs show: tables and stories as lines of text, and a screen of them."""

import os
import time
from typing import Any, TextIO

Row = dict[str, Any]
HEADINGS = (
    "PROCESS", "STATE", "READY", "WATCHDOG", "RESTARTS", "LAST EXIT", "MEMORY", "CPU", "STATUS"
)  # fmt: skip


def table(rows: list[Row], now: float) -> list[str]:
    """The rows as lines of aligned columns; `-` where nothing is known."""
    cells = [HEADINGS, *(_cells(row, now) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def _cells(row: Row, now: float) -> tuple[str, ...]:
    if "ready_seconds" in row:
        ready = _age(row["ready_seconds"])
    else:
        ready = "yes" if row["ready"] else "no"
    last = "-"
    if "last_exit" in row:
        reasons = [row["last_exit"], row["last_exit_why"], f"{_age(now - row['last_exit_at'])} ago"]
        last = ", ".join(filter(None, reasons))
    return (
        row["name"],
        row["state"],
        ready,
        f"{row['silent_seconds']:.0f} s" if "silent_seconds" in row else "-",
        str(row["restarts"]),
        last,
        f"{row['memory'] / 2**20:.0f} MiB" if "memory" in row else "-",
        f"{row['cpu']:.1f} s" if "cpu" in row else "-",
        row.get("status") or "-",
    )


def story(record: Row) -> list[str]:
    """One record of `history`: a line with time, name, exit and reason, then its last output."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["at"]))
    parts = [record["status"], record.get("why", "")]
    if "ran" in record:
        parts.append(f"had run for {_span(record['ran'])}")
    first = f"{at}  {record['name']}  {', '.join(filter(None, parts))}"
    return [first, *(f"    {line}" for line in record.get("lines", ()))]


def _age(seconds: float) -> str:
    # Below zero if the clock was set back meanwhile.
    return f"{max(seconds, 0):.0f} s" if seconds < 120 else _span(seconds)


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = int(seconds) // 60
    hours = minutes // 60
    if minutes < 120:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


class Screen:
    """Lines that take each other's place on a terminal; elsewhere they follow each other."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def show(self, lines: list[str]) -> None:
        if not self.out.isatty():
            self.out.write("\n".join([*lines, "", ""]))
        else:
            # Ask each time: a variable COLUMNS would not change with the window.
            size = os.get_terminal_size(self.out.fileno())
            columns, rows = size.columns or 80, size.lines or 24  # a serial line may know none
            if len(lines) >= rows > 1:
                lines = [*lines[: rows - 2], f"... and {len(lines) - rows + 2} more"]
            shown = "".join(f"{line[:columns]}\x1b[K\n" for line in lines)
            # Home, then each line over the old one, then nothing below: this does not flicker.
            self.out.write(f"\x1b[H{shown}\x1b[J")
        self.out.flush()
