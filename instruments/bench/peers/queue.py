"""The queue's measures: enqueue, drain, latency of an idle worker, and what a kill -9 does."""

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.server import Server

from .contenders import CONTENDERS, Contender
from .side import Side, at_work, scripts
from .theirs.marks import AGAIN, LATE, NAP, NOOP

LATENCIES = 40
PATIENCE = 90
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
                one_round(contender, server, scale, rows[contender.title])
    killed = [each for each in chosen if each.again]
    progress(f"queue, kill -9: {len(killed)} contenders, up to {PATIENCE} s each")
    with ThreadPoolExecutor(TOGETHER) as pool:
        for contender, seconds in zip(killed, pool.map(redelivered, killed), strict=True):
            rows[contender.title]["again"] = seconds
    return {"rows": list(rows.values()), "rounds": rounds, "patience": PATIENCE}


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
    }


def one_round(contender: Contender, server: Server, scale: float, row: Row) -> None:
    """All of it is queued before the worker starts: first the no-op items, then the naps."""
    noops = max(60, int(contender.noops * scale))
    naps = max(20, int(contender.naps * scale))
    with at_work(contender, server) as side:
        row["enqueue"].append(float(side.push("noop", str(noops), str(naps))))
        side.start()
        row["noop"].append(side.speed(NOOP, noops, DRAIN_WITHIN))
        row["nap"].append(side.speed(NAP, naps, DRAIN_WITHIN))
        side.await_count(NAP, naps, DRAIN_WITHIN)
        side.push("late", str(LATENCIES))
        side.await_count(LATE, LATENCIES, DRAIN_WITHIN)
        row["late"].append(side.latencies())


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
            while not side.marks.begun.exists():
                time.sleep(0.01)
            side.kill()
            killed = time.monotonic()
            side.start()
        while time.monotonic() < killed + PATIENCE:
            if side.marks.count(AGAIN):
                return time.monotonic() - killed
            time.sleep(0.05)
        return None
