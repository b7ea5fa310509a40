"""The life of one program's process: signals, parent, readiness, exit status."""

import asyncio
import contextlib
import faulthandler
import gc
import logging
import math
import os
import signal
import stat
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import NoReturn, Self

import uvloop

from .lifeline import AFTER_DRAIN, STOP, die_with_parent
from .notify import notify, watchdog_seconds

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
"""A process gives a sign of life at least this often, even if the watchdog allows more."""
HELD_UP_SECONDS = 60
"""A program counts as held up by another for so long, unless it says so again."""
CANCEL_SECONDS = 0.2
"""How long the remaining tasks may take to end when the process ends at once."""
COLLECT_AFTER = 10_000
"""New objects until the garbage collector looks for cycles. Python's default is a few hundred.
Tasks or requests that end together leave more than that, so it would look in vain all the time."""
LEFT_SECONDS = 1.0
"""How long Python itself may take to end: it waits for threads and processes of tasks."""
ECHO_SECONDS = 0.5
"""Some callers signal a program and its group: a repeat this soon is the same request."""


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run `main()` in an event loop of its own, as the only thing that this process does."""
    _occupy_standard_descriptors()
    _keep_input()
    die_with_parent()
    # A watchdog sends SIGABRT first. Then the log shows where the process hangs.
    faulthandler.enable(2)
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])

    async def program() -> None:
        await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(program())
        except Exception:
            # Shown here, since Python may wait for threads of the user's code before it would.
            traceback.print_exc()
            _exit_soon(1)
            sys.exit(1)
    # Without this, the interpreter's last garbage collections take most of the time of a stop.
    gc.freeze()


def _occupy_standard_descriptors() -> None:
    """Open /dev/null for those that are closed: libuv aborts if another file has their number."""
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(free)


def _keep_input() -> None:
    """Have the commands that the user's code starts read nothing.

    Under supervisord they would wait for a pipe that never ends. Python itself still reads it: a
    debugger does, by `supervisorctl fg`.
    """
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        sys.stdin = os.fdopen(os.dup(0))
        read_nothing()


def read_nothing() -> None:
    """Make /dev/null descriptor 0, which whatever this process starts inherits."""
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)


class StoppedError(Exception):
    """A stop came before the body of `until_stop` had ended."""


class Process:
    """What a launcher sees of a program, as an async context around its main loop.

    The first TERM or INT sets `stopping`: the program finishes what is in hand, and leaves the
    context. A later one ends the process at once with status 128 + signal.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.stopping = asyncio.Event()
        self.exit_at_once: int | None = None
        """If set, the status to exit with when the context is left, even if threads still run."""
        self.drain_seconds: float | None = None
        """Seconds that running work may take to end. The service manager gets AFTER_DRAIN more."""
        self._told_to_stop = 0.0
        self._is_ready = False
        self._repeated = ""
        """What each sign of life repeats: a busy manager may have missed the first."""

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
        if error is None:
            _exit_soon(0)
        elif isinstance(error, SystemExit) and isinstance(error.code, int):
            _exit_soon(error.code)

    @contextlib.asynccontextmanager
    async def until_stop(self) -> AsyncIterator[None]:
        """Run the body; break it off, and raise StoppedError, if a stop comes before its end."""
        try:
            async with asyncio.timeout(None) as body:
                watch = asyncio.create_task(self._break_off(body))
                try:
                    yield
                finally:
                    # A stop that comes from now on finds nothing to break off.
                    watch.cancel()
        except TimeoutError:
            if body.expired():
                raise StoppedError from None
            raise

    async def _break_off(self, body: asyncio.Timeout) -> None:
        await self.stopping.wait()
        body.reschedule(asyncio.get_running_loop().time())

    def ready(self, status: str) -> None:
        """Announce that the program does its work now; `status` is one line for people.

        Not once a stop has come.
        """
        if self.stopping.is_set():
            return
        logger.info("%s ready: %s", self.name, status)
        news = "READY=1"
        if self.drain_seconds is not None:
            # X_ marks an extension: sd_notify(3) has no message for this before the stop.
            news += f"\nX_STOP_SECONDS={self.drain_seconds + AFTER_DRAIN:g}"
        notify(f"{news}\nSTATUS={status}")
        self._repeated = news
        self._is_ready = True

    def status(self, status: str, **counts: int) -> None:
        """Announce the program's state, in one line for people; `counts` are for metrics."""
        # X_ marks an extension, see above.
        told = "".join(f"\nX_COUNT_{name.upper()}={count}" for name, count in counts.items())
        notify(f"STATUS={status}{told}")
        if not self._is_ready:
            self._repeated = ""

    def held_up(self, why: str) -> None:
        """As `status`, of a program that waits for another, which is not to blame for that.

        Before it is ready, it gets more time for its start, until it says another status.
        """
        self.status(why)
        if not self._is_ready:
            self._repeated = f"EXTEND_TIMEOUT_USEC={HELD_UP_SECONDS * 10**6}"
            notify(self._repeated)

    def end(self, why: str) -> None:
        """Announce that the program ends as it was set up to, and why, in one line for people."""
        logger.info("%s ends: %s", self.name, why)
        notify(f"STOPPING=1\nX_END={why}")
        self._repeated = ""

    def _stop(self, number: signal.Signals) -> None:
        if self.stopping.is_set() and time.monotonic() - self._told_to_stop < ECHO_SECONDS:
            return
        if self.stopping.is_set():
            logger.warning("%s ends at once: a second %s", self.name, number.name)
            exit_at_once(128 + number)
        logger.info("%s stopping: %s", self.name, number.name)
        notify("STOPPING=1")
        self._told_to_stop = time.monotonic()
        self._repeated = ""
        self.stopping.set()

    async def _feed_watchdog(self) -> None:
        # This runs in the event loop on purpose: if the loop is blocked, it must fall silent.
        seconds = watchdog_seconds()
        sign = "WATCHDOG=1" if seconds else ""
        while True:
            notify(f"{self._repeated}\n{sign}".strip())
            await asyncio.sleep(min((seconds or math.inf) / 3, HEARTBEAT_SECONDS))


async def _cancel_all_others() -> None:
    """Cancel as asyncio.run does, but wait briefly: libraries use this to end their processes."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=CANCEL_SECONDS)


class Forks:
    """A forked child has no part in our signals.

    It inherits the handlers, and shares the descriptor that wakes our event loop. So without this
    we would act on a TERM that is meant for the child, such as a pool sends to its processes.
    """

    def __init__(self) -> None:
        self.processes = 0
        """How many `Process`es are entered. Without any, the handlers are not ours to change."""
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


def _exit_soon(status: int) -> None:
    """End the process within LEFT_SECONDS, even if the user's code has left threads or processes.

    Python would wait for them. Until then it runs what is registered by atexit.
    """
    timer = threading.Timer(LEFT_SECONDS, exit_at_once, (status,))
    timer.daemon = True
    timer.start()


def exit_at_once(status: int) -> NoReturn:
    """End the process with this exit status, whatever its threads do. Flushes output and logs."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
