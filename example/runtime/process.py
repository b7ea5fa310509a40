"""The life of one program's process: signals, parent, readiness, exit status."""

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import NoReturn, Self

import uvloop

from .lifeline import STOP, die_with_parent
from .notify import notify, watchdog_seconds

logger = logging.getLogger(__name__)

AFTER_DRAIN = 2.0
"""Seconds that a stop takes beyond its drain: for last answers, to tell Redis, to end."""
BEAT_SECONDS = 10.0
"""At least this often a process says that it lives, also to a patient watchdog."""
CANCEL_SECONDS = 0.2
"""For tasks that are left when the process ends at once."""
COLLECT_AFTER = 10_000
"""New objects until the garbage collector looks for cycles: Python's few hundred are less than what
tasks or requests that end together leave, so that it would look for nothing all the time."""
ECHO_SECONDS = 0.5
"""Some who stop a program signal it and its group: a repeat this soon is the same request."""


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run `main()` in an event loop of its own, as the only thing that this process does."""
    die_with_parent()
    # A watchdog sends SIGABRT first: then the log tells where we hung.
    faulthandler.enable()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])

    async def program() -> None:
        await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(program())
    # Else the interpreter's last garbage collections take most of the time that a stop takes.
    gc.freeze()


class Process:
    """What launchers see of a program, as an async context around its main loop.

    The first TERM or INT sets `stopping`: finish what is in hand, then leave the context.
    A later one ends the process at once with status 128 + signal, whatever it does.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.stopping = asyncio.Event()
        self.exit_at_once: int | None = None
        """The status to exit with when the context is left, whatever threads still run."""
        self.drain_seconds: float | None = None
        """How long what is in hand may take to end; the manager is told, with AFTER_DRAIN."""
        self._told_to_stop = 0.0
        self._sign_of_life = "WATCHDOG=1"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in STOP:
            loop.add_signal_handler(number, self._stop, number)
        forks.processes += 1
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
        self._watchdog = asyncio.create_task(self._feed_watchdog())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watchdog.cancel()
        forks.processes -= 1
        if error is None:
            logger.info("%s stopped", self.name)
        if self.exit_at_once is not None:
            await _cancel_all_others()
            exit_at_once(self.exit_at_once)

    def ready(self, status: str) -> None:
        """Announce that the program does its work now; `status` is one line for people."""
        logger.info("%s ready: %s", self.name, status)
        news = "READY=1"
        if self.drain_seconds is not None:
            # Of our own, as X_ says: sd_notify(3) has no word for it before the stop.
            news += f"\nX_STOP_SECONDS={self.drain_seconds + AFTER_DRAIN:g}"
        notify(f"{news}\nSTATUS={status}")
        # Again each time: a manager that was busy may have missed the first.
        self._sign_of_life = f"{news}\nWATCHDOG=1"

    def status(self, status: str, **counts: int) -> None:
        """Announce, in one line for people, how the program does; `counts` are for metrics."""
        # Of our own, as X_ says.
        told = "".join(f"\nX_COUNT_{name.upper()}={count}" for name, count in counts.items())
        notify(f"STATUS={status}{told}")

    def _stop(self, number: signal.Signals) -> None:
        if self.stopping.is_set() and time.monotonic() - self._told_to_stop < ECHO_SECONDS:
            return
        if self.stopping.is_set():
            logger.warning("%s ends at once: a second %s", self.name, number.name)
            exit_at_once(128 + number)
        logger.info("%s stopping: %s", self.name, number.name)
        notify("STOPPING=1")
        self._told_to_stop = time.monotonic()
        self._sign_of_life = "WATCHDOG=1"
        self.stopping.set()

    async def _feed_watchdog(self) -> None:
        # From the event loop on purpose: a blocked loop must fall silent.
        seconds = watchdog_seconds()
        while seconds:
            notify(self._sign_of_life)
            await asyncio.sleep(min(seconds / 3, BEAT_SECONDS))


async def _cancel_all_others() -> None:
    """As asyncio.run does at its end, but not for long: libraries end their processes then."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=CANCEL_SECONDS)


class Forks:
    """A forked child has no part in our signals.

    It inherits the handlers, and shares the descriptor that wakes our event loop: without this we
    hear a TERM that is meant for the child, such as a pool sends to its own.
    """

    def __init__(self) -> None:
        self.processes = 0
        """How many `Process`es are entered: without any, nothing here is ours to change."""
        self._masks = threading.local()
        os.register_at_fork(
            before=self._block, after_in_parent=self._unblock, after_in_child=self._be_a_child
        )

    def _block(self) -> None:
        # A signal waits until the child has handlers of its own.
        self._masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP)

    def _unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.before)

    def _be_a_child(self) -> None:
        if self.processes:
            self.processes = 0
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._unblock()


forks = Forks()


def exit_at_once(status: int) -> NoReturn:
    """End the process, whatever its threads do; what was printed and logged is not lost."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
