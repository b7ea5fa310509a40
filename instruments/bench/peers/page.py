"""docs/benchmarks.md and its charts, from the data of a run."""

import statistics
import textwrap
from typing import Any

from .chart import bars
from .words import APP, HEAD, QUEUE, WHY

Row = dict[str, Any]


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
        lines = [
            (title_of(row), percentile(row, 0.5), f"{milliseconds(percentile(row, 0.5))} ms")
            for row in rows
        ]
        title = "From push to task, where the worker is idle: the median"
        found["benchmarks-latency.svg"] = bars(title, data["queue"]["when"], lines)
    if rows := data.get("app", {}).get("rows"):
        lines = [(row["name"], statistics.median(row["kept"]), rate(row["kept"])) for row in rows]
        note = f"requests a second, {data['app']['when']}"
        found["benchmarks-app.svg"] = bars("A small answer, over kept connections", note, lines)
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
        " | push to task, ms: p50 | p99 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in queue["rows"]:
        cells = [
            row["name"],
            row["setting"],
            row["promise"],
            *(f"{rate(row[what])} {spread(row[what])}" for what in ("noop", "nap", "enqueue")),
            milliseconds(percentile(row, 0.5)),
            milliseconds(percentile(row, 0.99)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def kill_table(queue: Row) -> str:
    lines = ["| | worked again after | as documented |", "|---|---|---|"]
    for row in queue["rows"]:
        if row["documented"]:
            seconds = row["again"]
            words = f"{seconds:.1f} s" if seconds is not None else "not seen"
            lines.append(f"| {title_of(row)} | {words} | {row['documented']} |")
    return "\n".join(lines)


def app_table(rows: list[Row]) -> str:
    lines = ["| | kept connections | fresh connections |", "|---|---|---|"]
    for row in rows:
        kept, fresh = (f"{rate(row[what])} {spread(row[what])}" for what in ("kept", "fresh"))
        lines.append(f"| {row['name']} | {kept} | {fresh} |")
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
    quick = min(others, key=lambda row: percentile(row, 0.5))
    told.append(
        f"{milliseconds(percentile(ours, 0.5))} ms from push to task beside"
        f" {milliseconds(percentile(quick, 0.5))} ms of {title_of(quick)}"
    )
    words = f"Beside the quickest that also works each item at least once: {'; '.join(told)}."
    return textwrap.fill(words, 100, break_on_hyphens=False)


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


def milliseconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
