"""The queue's measures: enqueue, drain, latency when idle and loaded, and what a kill -9 does."""

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from tests.server import Server
from tests.waiting import eventually

from .contenders import CONTENDERS, Contender
from .side import Side, at_work, milliseconds, scripts
from .theirs.marks import AGAIN, LATE, LOADED, NAP, NOOP

LATENCIES = 30
PATIENCE = 75
"""Seconds that an item may take to be worked again; arq, celery and taskiq take longer."""
DRAIN_WITHIN = 40
TOGETHER = 12
"""How many are killed at a time: they only wait."""

Row = dict[str, Any]
Progress = Callable[[str], None]


def measure(rounds: int, scale: float, only: str, progress: Progress) -> Row:
    """A row for each contender, with all that was measured in each round."""
    chosen = [each for each in CONTENDERS if only in each.title]
    for contender in chosen:
        scripts(contender.venv)
    rows: dict[str, Row] = {each.title: new_row(each) for each in chosen}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ex", dir="/tmp"))
        server = stack.enter_context(Server(Path(folder)))
        for number in range(rounds):
            for contender in chosen:
                progress(f"queue, round {number + 1} of {rounds}: {contender.title}")
                try:
                    found = one_round(contender, server, scale)
                except (AssertionError, CalledProcessError) as error:
                    progress(f"not counted, it failed: {contender.title}: {error}\n")
                    continue
                for what, value in found.items():
                    rows[contender.title][what].append(value)
    killed = [each for each in chosen if each.again and rows[each.title]["late"]]
    progress(f"queue, kill -9: {len(killed)} contenders, up to {PATIENCE} s each")
    with ThreadPoolExecutor(TOGETHER) as pool:
        for contender, seconds in zip(killed, pool.map(redelivered, killed), strict=True):
            rows[contender.title]["again"] = seconds
    return {
        "rows": [row for row in rows.values() if row["late"]],
        "rounds": rounds,
        "patience": PATIENCE,
    }


def new_row(contender: Contender) -> Row:
    return {
        "name": contender.name,
        "setting": contender.setting,
        "command": contender.command,
        "promise": contender.promise,
        "documented": contender.again,
        "enqueue": [],
        "noop": [],
        "nap": [],
        "late": [],
        "load": [],
    }


def one_round(contender: Contender, server: Server, scale: float) -> Row:
    """All of it is queued before the worker starts: first the no-op items, then the naps."""
    noops = max(60, int(contender.noops * scale))
    naps = max(20, int(contender.naps * scale))
    with at_work(contender, server) as side:
        found: Row = {"enqueue": float(side.push("noop", str(noops), str(naps)))}
        side.start()
        found["noop"] = side.speed(NOOP, noops, DRAIN_WITHIN)
        found["nap"] = side.speed(NAP, naps, DRAIN_WITHIN)
        side.await_count(NAP, naps, DRAIN_WITHIN)
        half = min(found["nap"], found["enqueue"]) / 2
        rate, samples = side.push("late", str(LATENCIES), str(half)).split()
        side.await_count(LATE, LATENCIES, DRAIN_WITHIN)
        side.await_count(LOADED, int(samples), DRAIN_WITHIN)
        found["late"] = milliseconds(side.marks.late)
        return found | {"load": under_load(float(rate), milliseconds(side.marks.loaded))}


def under_load(rate: float, late: list[float]) -> Row:
    return {"rate": rate, "p50": percentile(late, 0.5), "p99": percentile(late, 0.99)}


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[round(share * (len(values) - 1))]


_starting = threading.Lock()


def redelivered(contender: Contender) -> float | None:
    """Seconds from a kill -9 of all its processes to the end of its item; a new worker is started
    at once. None: not within PATIENCE."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ex", dir="/tmp"))
        server = stack.enter_context(Server(Path(folder)))
        side: Side = stack.enter_context(at_work(contender, server))
        with _starting:
            side.push("again")
            side.start()
            eventually(side.marks.begun.exists, DRAIN_WITHIN, side.report)
            side.kill()
            killed = time.monotonic()
            side.start()
        while time.monotonic() < killed + PATIENCE:
            if side.marks.count(AGAIN):
                return time.monotonic() - killed
            time.sleep(0.05)
        return None
