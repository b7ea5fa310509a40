"""What docs/benchmarks.md says of the stack: tables, charts, and the words around them."""

import statistics
from typing import Any

from .chart import bars

Row = dict[str, Any]

TEXT = """\
## The stack

app, beat and worker together, with nothing to do but beat's one item a second.

![MiB of memory](benchmarks-stack-memory.svg)
![Seconds from start to the first item](benchmarks-stack-start.svg)

{idle}

{ends}

{machine}

How it was measured:

- All serve the same Starlette application by uvicorn, and work the same item, which leaves a mark.
  All use one Redis server on the same machine, each a database of its own. It is in no sum.
  {rounds} rounds in turns; the tables have medians, with the lowest and the highest.
- What runs is in the table: ours has two app and two beat, as shipped, or one of each. Four others
  run our own programs, so the launcher alone makes the difference. A queue's library runs its own
  worker and cron under stock supervisord, whose part of the memory has a column. With systemd in
  its place, that part would be nothing: the machine has it anyway.
- The files that were written for each are in `instruments/bench/peers/stacks.py`. Keys that the
  documentation does not ask for are at their defaults. uvicorn is set up for supervisord (`--fd 0`)
  and for circus as its own documentation says. arq's cron runs in its worker. celery's worker has a
  process for each core, and rq's forks for each item: their defaults.
- *memory* is the sum of PSS over all processes of the stack: a page that several processes share is
  counted once, in parts. *CPU* is of all processes, over three seconds, in percent of one core.
- *first 200* and *first item*: seconds from the start of the parent. One item is there before.
- *restart of app*: as each documents it; where app cannot be restarted alone, all ends by TERM and
  starts again. One client asks on fresh connections, some 100 times a second. *failed* are its
  requests without an answer, *slowest* is the answer that took longest.
- *end*: seconds from TERM to the end of the parent. *left* are processes that live 2 s after that,
  or {after:.0f} s after a kill -9 of the parent.
"""

MANAGERS = """\
### What other process managers do

They do what this layout does not:

- **systemd** keeps a program from files and networks, limits its memory and CPU, ends for sure all
  that it has started, starts it at boot, and waits for sockets and timers. Where a machine has it
  and restarts are all you need, take it. Few containers have it, and it has no row here, because
  nobody starts a second one beside the machine's own. [production.md](production.md) uses both:
  systemd runs supervisord.
- **circus** is changed and watched while it runs: it adds programs, shows statistics of each
  process (`circus-top`), publishes events over ZeroMQ, and runs hooks and plugins in Python.
- **honcho** needs one file, which Heroku and others read too, and exports it to systemd, runit or
  supervisord. It is the least to learn where nothing has to be restarted.
- **process-compose** starts a process once others are healthy or done, probes by HTTP or by a
  command, has a terminal interface, a REST API and schedules, and is one binary without Python. No
  package of PyPI, npm or Debian 12 has it, so it has no row.
- **s6** and **runit** are small programs in C: their supervisors need next to no memory.

This layout does what they do not, or only when set to: it holds the socket, rolls to a new version
and undoes a bad one, calls a program ready when that says so, replaces one that hangs, leaves no
process behind after a kill -9 of the parent, and brings the queue. Supervisord costs memory for
that: see *parent's part*.
"""


def markdown(part: Row, machine: str) -> str:
    text = TEXT.format(
        idle=idle_table(part["rows"]),
        ends=end_table(part["rows"]),
        machine=machine,
        rounds=part["rounds"],
        after=part["after"],
    )
    return "\n".join([text, MANAGERS])


def charts(part: Row) -> dict[str, str]:
    """File name -> SVG."""

    def lines(what: str, unit: str, digits: int) -> list[tuple[str, float, str]]:
        found = [(row["name"], statistics.median(row[what])) for row in part["rows"]]
        return [(name, value, f"{value:.{digits}f} {unit}") for name, value in found]

    when = part["when"]
    return {
        "benchmarks-stack-memory.svg": bars(
            "Memory of app, beat and worker, idle", f"MiB PSS, {when}", lines("memory", "MiB", 0)
        ),
        "benchmarks-stack-start.svg": bars(
            "From start to the first item done", f"seconds, {when}", lines("item", "s", 2)
        ),
    }


def idle_table(rows: list[Row]) -> str:
    lines = [
        "| | runs | memory, MiB | parent's part | CPU, % | first 200, s | first item, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            row["name"],
            row["runs"],
            middle(row["memory"], 0),
            f"{statistics.median(row['parent']):.0f}",
            middle([100 * each for each in row["cpu"]], 1),
            middle(row["answer"], 2),
            middle(row["item"], 2),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def end_table(rows: list[Row]) -> str:
    lines = [
        "| | when a process dies | restart of app | failed | slowest, s | end, s | left after TERM"
        " | left after kill -9 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        orphans = row["orphans"]
        cells = [
            row["name"],
            row["death"],
            f"`{row['restart']}`" if row["restart"] else "of everything",
            middle(row["failed"], 0),
            middle(row["slowest"], 2),
            middle(row["end"], 2),
            f"{statistics.median(row['left']):.0f}",
            "" if orphans is None else f"{orphans}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def middle(values: list[float], digits: int) -> str:
    """The median, and the lowest and the highest in small print."""
    low, high = min(values), max(values)
    found = f"{statistics.median(values):.{digits}f}"
    return f"{found} <sub>{low:.{digits}f} to {high:.{digits}f}</sub>" if low != high else found
