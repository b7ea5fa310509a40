"""The stack's measures: app, beat and worker together, idle, started, restarted, ended."""

import contextlib
import re
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from tests.server import Server

from . import tree
from .contenders import ARQ, HERE, PEERS
from .running import Requests, Running, running
from .side import scripts
from .stacks import STACKS, Stack

SETTLE, IDLE = 1.0, 3.0
"""Seconds after the first answer and item, and then those over which CPU is taken."""
ORPHANS_AFTER = 5.0
"""Seconds after kill -9 of the parent."""
CALM = 60
"""How many answers in a row stand before a restart, and after it."""
MEASURED = ("memory", "parent", "cpu", "answer", "item", "failed", "slowest", "end", "left")
Row = dict[str, Any]
Progress = Callable[[str], None]


def measure(rounds: int, scale: float, only: str, progress: Progress) -> Row:
    """A row for each stack, with all that was measured in each round."""
    chosen = [each for each in STACKS if only in each.name]
    for venv in (HERE, PEERS, ARQ):
        scripts(venv)
    rows = {each.name: new_row(each) for each in chosen}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ex", dir="/tmp"))
        server = stack.enter_context(Server(Path(folder)))
        urls = [f"{server.url}/{number}" for number in range(len(chosen))]
        # First, because it also warms up what all read from the disk.
        progress("stack: kill -9 of each parent")
        with ThreadPoolExecutor(len(STACKS)) as pool:
            for each, found in zip(chosen, pool.map(orphans, chosen, urls), strict=True):
                rows[each.name]["orphans"] = found
        for number in range(rounds):
            for each, url in zip(chosen, urls, strict=True):
                progress(f"stack, round {number + 1} of {rounds}: {each.name}")
                try:
                    values = one_round(each, url, scale)
                except (AssertionError, SubprocessError) as error:
                    progress(f"not counted, it failed: {each.name}: {error}\n")
                    continue
                for what, value in zip(MEASURED, values, strict=True):
                    rows[each.name][what].append(value)
    measured = [row for row in rows.values() if row["memory"]]
    return {"rows": measured, "rounds": rounds, "after": ORPHANS_AFTER}


def new_row(stack: Stack) -> Row:
    return {
        "name": stack.name,
        "runs": stack.runs,
        "death": stack.death,
        "restart": re.sub(r"\{peers\}/| --endpoint \S+", "", stack.restart),
        **{what: [] for what in MEASURED},
    }


def orphans(stack: Stack, url: str) -> int | None:
    """How many processes live after kill -9 of their parent. None: it did not start."""
    with contextlib.suppress(AssertionError, SubprocessError), running(stack, url) as it:
        it.start()
        it.first_answer()
        it.eventually(it.items)
        time.sleep(SETTLE)
        it.process.kill()
        it.process.wait()
        return it.left(ORPHANS_AFTER)
    return None


def one_round(stack: Stack, url: str, scale: float) -> list[float]:
    """In the order of MEASURED: MiB, MiB, share of a core, then seconds and counts."""
    with running(stack, url) as it:
        it.push()
        begun = time.monotonic()
        it.start()
        answer = it.first_answer() - begun
        it.eventually(it.items)
        item = it.items()[0] - begun
        time.sleep(SETTLE)
        cpu = tree.share(it.living, max(0.5, IDLE * scale))
        memory, parent = tree.memory(it.living()), tree.memory([it.process.pid])
        asked = asked_meanwhile(it)
        end, left = it.end()
        return [memory, parent, cpu, answer, item, asked.failed, asked.slowest, end, left]


def asked_meanwhile(it: Running) -> Requests:
    """What a client saw of a restart of app, until it had answers again for a while."""
    with Requests(it.port) as asked:
        it.eventually(lambda: asked.in_a_row >= CALM)
        it.restart()
        asked.in_a_row = 0
        it.eventually(lambda: asked.in_a_row >= CALM)
    return asked
