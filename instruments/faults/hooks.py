"""Test-only, imported by the programs under test: work that takes time, and ways to misbehave.

The folder FAULTS holds the journal, one line of "time kind pid what" for each thing done, and
the files by which a test asks for misbehaviour.
"""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

FOLDER = os.environ["FAULTS"]
# Open from the start: a program whose descriptors are used up still writes it.
JOURNAL = os.open(f"{FOLDER}/journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
FOREVER = 600


def note(kind: str, what: str = "") -> None:
    os.write(JOURNAL, f"{time.monotonic():.6f} {kind} {os.getpid()} {what}\n".encode())


def block_if_told(program: str) -> None:
    """Block the event loop, once for each time that a test asks for it."""
    try:
        os.unlink(f"{FOLDER}/block-{program}")
    except FileNotFoundError:
        return
    note("blocked", program)
    time.sleep(FOREVER)


def started(program: str) -> None:
    """The program's own code is being loaded: crash, at once or a little later, if told to."""
    if os.path.exists(f"{FOLDER}/crash-{program}"):
        os._exit(1)
    if os.path.exists(f"{FOLDER}/crash-late-{program}"):
        later = threading.Timer(1.5, os._exit, [1])
        later.daemon = True
        later.start()


def api(app: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """The ASGI application `app`, with a note for each request."""

    async def noted(scope: dict[str, Any], receive: object, send: object) -> None:
        if scope["type"] == "http":
            note("request")
            block_if_told("app")
        await app(scope, receive, send)

    return noted


def tick(payload: str) -> str:
    """What beat pushes; it says so."""
    note("tick", payload)
    block_if_told("beat")
    return payload


async def work(item: str) -> None:
    """One item's work: 50 ms, or a second where the item says that it is slow."""
    note("began", item)
    block_if_told("worker")
    if item.startswith("poison"):
        os._exit(1)
    if "child" in item:
        subprocess.Popen(["sleep", str(FOREVER)])  # noqa: ASYNC220 it is not waited for
    if "pool" in item:
        end_a_forked_child()
    await asyncio.sleep(1.0 if "slow" in item else 30.0 if "endless" in item else 0.05)
    note("worked", item)


def end_a_forked_child() -> None:
    """As multiprocessing's pools do with theirs: fork, and send TERM."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(FOREVER,))
    child.start()
    assert child.pid
    os.kill(child.pid, signal.SIGTERM)
    child.join()
