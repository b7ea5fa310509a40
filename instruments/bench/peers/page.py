"""docs/benchmarks.md and its charts, from the data of a run."""

import statistics
import textwrap
from collections.abc import Callable
from typing import Any

from . import growth_page, stack_page
from .chart import bars
from .words import APP, HEAD, QUEUE, TRIED, WHY

Row = dict[str, Any]
OTHERS = {"stack": stack_page, "growth": growth_page}


def documents(data: Row) -> dict[str, str]:
    """File name -> text, for docs/."""
    found = {"benchmarks.md": markdown(data)}
    if rows := data.get("queue", {}).get("rows"):
        note = f"items a second, {data['queue']['when']}"
        for what, title in (("noop", "Items that need no work"), ("nap", "Items that sleep 1 ms")):
            lines = [
                (title_of(row), statistics.median(row[what]), f"{rate(row[what])}") for row in rows
            ]
            found[f"benchmarks-{what}.svg"] = bars(title, note, lines)
        for what, title, value in (
            ("latency", "From push to task, where the worker is idle: the median", idle_median),
            ("load", "From push to task at half load: 99 of 100 take no longer", loaded_p99),
        ):
            if what == "load" and not is_loaded(rows):
                continue
            lines = [(title_of(row), value(row), f"{milliseconds(value(row))} ms") for row in rows]
            found[f"benchmarks-{what}.svg"] = bars(title, data["queue"]["when"], lines)
    if rows := data.get("app", {}).get("rows"):
        kept = [(row["name"], [each["rate"] for each in row["kept"]]) for row in rows]
        lines = [(name, statistics.median(values), rate(values)) for name, values in kept]
        note = f"requests a second, {data['app']['when']}"
        found["benchmarks-app.svg"] = bars("A small answer, over kept connections", note, lines)
    for name, other in OTHERS.items():
        if name in data:
            found |= other.charts(data[name])
    return found


def markdown(data: Row) -> str:
    parts = [HEAD]
    if "queue" in data:
        queue = data["queue"]
        text = QUEUE.format(
            table=queue_table(queue),
            kills=kill_table(queue),
            machine=machine(queue),
            rounds=queue["rounds"],
            patience=queue["patience"],
            late=queue["rounds"] * len(queue["rows"][0]["late"][0]),
        )
        parts += [text, WHY.format(summary=summary(queue["rows"]))]
    if rows := data.get("app", {}).get("rows"):
        app = data["app"]
        text = APP.format(
            table=app_table(rows), machine=machine(app), rounds=app["rounds"], wrk=app["wrk"]
        )
        parts.append(text)
    for name, other in OTHERS.items():
        if name in data:
            parts.append(other.markdown(data[name], machine(data[name])))
    if "queue" in data:
        parts.append(TRIED)
    return "\n".join(parts)


def machine(part: Row) -> str:
    seen: dict[str, list[str]] = {}
    for venv, versions in part["versions"].items():
        for name, version in versions.items():
            seen.setdefault(f"{name} {version}", []).append(venv)
    peers = ", ".join(sorted(seen))
    words = f"Measured on {part['when']}: {part['machine']}; {peers}."
    return textwrap.fill(words, 100, break_on_hyphens=False)


def queue_table(queue: Row) -> str:
    lines = [
        "| | set to | killed with an item | no-op items/s | 1 ms items/s | enqueued/s"
        " | idle: ms to task, p50 / p99 | half load: ms to task, p50 / p99 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in queue["rows"]:
        cells = [
            row["name"],
            row["setting"],
            row["promise"],
            *(f"{rate(row[what])} {spread(row[what])}" for what in ("noop", "nap", "enqueue")),
            f"{milliseconds(idle_median(row))} / {milliseconds(percentile(row, 0.99))}",
            under_load(row),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def kill_table(queue: Row) -> str:
    lines = ["| | worked again after | as documented |", "|---|---|---|"]
    for row in queue["rows"]:
        if row["documented"]:
            seconds = row["again"]
            lost = "lost" if row["documented"].startswith("never") else "not seen"
            words = f"{seconds:.1f} s" if seconds is not None else lost
            lines.append(f"| {title_of(row)} | {words} | {row['documented']} |")
    return "\n".join(lines)


def app_table(rows: list[Row]) -> str:
    lines = [
        "| | kept connections: requests/s | ms, p50 / p99 | CPU us each"
        " | fresh connections: requests/s | ms, p50 / p99 | CPU us each |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["name"]]
        for asked in (row["kept"], row["fresh"]):
            found = {what: [each[what] for each in asked] for what in asked[0]}
            p50, p99, cpu = (statistics.median(found[what]) for what in ("p50", "p99", "cpu"))
            cells.append(f"{rate(found['rate'])} {spread(found['rate'])}")
            cells += [f"{milliseconds(p50)} / {milliseconds(p99)}", f"{cpu:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(rows: list[Row]) -> str:
    """How many times as quick the first row is as the best that keeps as much, and as the loop."""
    ours = rows[0]
    others = [row for row in rows if row["name"] != "ours" and row["promise"] == ours["promise"]]
    if ours["name"] != "ours" or not others:
        return ""
    told = []
    for what, words in (("noop", "no-op items"), ("nap", "1 ms items")):
        best = max(others, key=lambda row: statistics.median(row[what]))
        times = statistics.median(ours[what]) / statistics.median(best[what])
        told.append(f"{times:.1f} times {title_of(best)} in {words}")
    quick = min(others, key=idle_median)
    told.append(
        f"{milliseconds(idle_median(ours))} ms from push to task beside"
        f" {milliseconds(idle_median(quick))} ms of {title_of(quick)}"
    )
    words = f"Beside the quickest that also works each item at least once: {'; '.join(told)}."
    if ahead := quicker(rows):
        words += f" Quicker than both rows of this layout are: {'; '.join(ahead)}."
    return textwrap.fill(words, 100, break_on_hyphens=False)


def quicker(rows: list[Row]) -> list[str]:
    """In what some other is quicker than all rows of ours, whatever it keeps, and which is best."""
    measures: dict[str, Callable[[Row], float]] = {
        "no-op items": lambda row: statistics.median(row["noop"]),
        "1 ms items": lambda row: statistics.median(row["nap"]),
        "pushes": lambda row: statistics.median(row["enqueue"]),
        "the median from push to task, idle": lambda row: 1 / idle_median(row),
        "its p99": lambda row: 1 / percentile(row, 0.99),
    }
    if is_loaded(rows):
        measures["p99 at half load, each at its own rate"] = lambda row: 1 / loaded_p99(row)
    told = []
    for words, speed in measures.items():
        best = max((row for row in rows if row["name"] != "ours"), key=speed)
        ours = max((row for row in rows if row["name"] == "ours"), key=speed)
        if (times := speed(best) / speed(ours)) > 1.05:
            told.append(f"{title_of(best)} in {words} ({times:.1f} times)")
    return told


def title_of(row: Row) -> str:
    return f"{row['name']}, {row['setting']}"


def rate(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f}"


def spread(values: list[float]) -> str:
    """The lowest and the highest, in small print."""
    return f"<sub>{min(values):,.0f} to {max(values):,.0f}</sub>"


def percentile(row: Row, share: float) -> float:
    """Of all rounds together."""
    values = sorted(value for part in row["late"] for value in part)
    return float(values[round(share * (len(values) - 1))])


def idle_median(row: Row) -> float:
    return percentile(row, 0.5)


def under_load(row: Row) -> str:
    if not is_loaded([row]):
        return ""
    p50, p99 = milliseconds(middle(row, "p50")), milliseconds(middle(row, "p99"))
    return f"{p50} / {p99} <sub>at {middle(row, 'rate'):,.0f}/s</sub>"


def is_loaded(rows: list[Row]) -> bool:
    """Whether they are of a run that has measured half load already."""
    return all(row.get("load") for row in rows)


def loaded_p99(row: Row) -> float:
    return middle(row, "p99")


def middle(row: Row, what: str) -> float:
    """The median over the rounds at half load."""
    return float(statistics.median(each[what] for each in row["load"]))


def milliseconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
