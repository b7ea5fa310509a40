"""Slots: run so many items at once, and report how each of them ended. Knows no Redis."""

import asyncio
import contextlib
import contextvars
import functools
import inspect
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .failure import NOT_TEXT, Failure, failure
from .task import Attempt, describer, doing

logger = logging.getLogger(__name__)

Work = Callable[[Any], Any]

GRACE = 1.0  # seconds that a task has to end once it has run too long
LAST_GRACE = 0.05  # seconds that all tasks have to end when the worker ends
SPELL = 0.02  # seconds of starting tasks in one go, before the event loop does anything else
MANY = 100  # with more items to start, the clock would cost more than a small task
TIMED = 64  # then one in so many items is timed, and counts for all of them
REGAIN = 60.0  # seconds until a thread is asked for again, after the machine had none
THREADS = 1000  # at most: with some thousands the event loop waits for seconds to have its turn


# The task, or None for a thread; its deadline by time.monotonic(); the bytes of its item.
Slot = tuple[asyncio.Task[None] | None, float, int]


class Slots:
    """Runs the `unstarted` items, the leftmost first, and calls `done` or `failed` with their ids.

    `work` takes an item. A coroutine function runs in the event loop, any other in a thread. An
    item that runs longer than `timeout` seconds fails. Its task is cancelled; a thread cannot be.
    `ran` gets the seconds that an item ran, and how many items it stands for: see TIMED.
    `describe` gives the attempt for an id and deadline. Raises TypeError if `work` is no function
    of one argument with the type hint str or bytes.
    """

    def __init__(
        self,
        work: Work,
        concurrency: int,
        timeout: float,
        unstarted: deque[tuple[int, bytes]],
        done: Callable[[int], None],
        failed: Callable[[int, Failure], None],
        ran: Callable[[float, int], None],
        describe: Callable[[int, float], Attempt],
    ) -> None:
        self.running: dict[int, Slot] = {}
        self._abandoned: set[int] = set()
        """Those of `running` whose end is not reported any more."""
        self.changed = asyncio.Event()
        """Set when an item has ended, or a slot is free again."""
        self.started_at = 0.0  # by time.monotonic(): when `start` found a free slot last
        self.have_cancelled = False
        """Whether a task was cancelled: what it has begun in a thread may run on unseen."""
        self._work = work
        self._is_text = _takes_text(work)
        self._is_threaded = not inspect.iscoroutinefunction(work)
        self._capacity = self._most = self._bearable(concurrency)
        self._timeout = timeout
        self._unstarted = unstarted
        self._done = done
        self._failed = failed
        self._ran = ran
        describer.set(describe)
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        self._spawn = _spawner(self._loop)
        self._is_open = True
        self._start_is_scheduled = False  # the event loop is about to call `start`
        self._sweeper: asyncio.TimerHandle | None = None

    def _bearable(self, concurrency: int) -> int:
        if not self._is_threaded or concurrency <= THREADS:
            return concurrency
        logger.warning(
            "CONCURRENCY is %d here, the most for plain functions:"
            " use more worker processes, or async functions",
            THREADS,
        )
        return THREADS

    @property
    def capacity(self) -> int:
        """How many items may run at once."""
        return self._capacity

    @property
    def are_full(self) -> bool:
        """Whether no slot is free."""
        return len(self.running) >= self._capacity

    def are_worn_out(self, alone: bool) -> bool:
        """Whether tasks that cannot be stopped hold half of the slots: or one, if `alone`, since
        that keeps all others from starting."""
        long_ago = time.monotonic() - GRACE
        lost = sum(self.running[item_id][1] < long_ago for item_id in self._abandoned)
        return lost >= (1 if alone else (self._capacity + 1) // 2)

    def unreported(self) -> list[int]:
        """The ids of what runs, and has not been reported to have run too long."""
        return [item_id for item_id in self.running if item_id not in self._abandoned]

    def size(self) -> int:
        """Bytes of all items that run, without those of tasks that cannot be stopped: these would
        leave no room for others."""
        return sum(
            size for item_id, (_, _, size) in self.running.items() if item_id not in self._abandoned
        )

    def start(self) -> None:
        """Start items while slots are free, for SPELL seconds at most.

        The rest starts when a slot is free again, or by the next call. Raises RuntimeError if the
        machine has not even one thread.
        """
        if not self._is_open:
            return
        self._start_is_scheduled = False
        if not self._unstarted or self.are_full:
            return
        self.started_at = time.monotonic()
        if self._is_threaded:
            self._start_threads(self.started_at + SPELL)
        else:
            self._start_tasks(self.started_at + SPELL)
        if self.running and self._sweeper is None:
            self._sweep()

    def _start_tasks(self, end: float) -> None:
        # The local names make a no-op task a twentieth cheaper.
        unstarted, running, monotonic = self._unstarted, self.running, time.monotonic
        capacity, is_text = self._capacity, self._is_text
        perform, spawn = self._perform, self._spawn
        deadline = self.started_at + self._timeout
        every = TIMED if len(unstarted) > MANY else 1
        while unstarted and len(running) < capacity and monotonic() < end:
            item_id, item = unstarted.popleft()
            try:
                argument = item.decode() if is_text else item
            except UnicodeDecodeError:
                self._failed(item_id, NOT_TEXT)
                continue
            if item_id % every:
                task = spawn(perform(item_id, argument, deadline))
            else:
                task = spawn(self._perform_timed(item_id, argument, deadline, every))
            if not task.done():
                running[item_id] = (task, deadline, len(item))

    def _start_threads(self, end: float) -> None:
        unstarted, deadline = self._unstarted, self.started_at + self._timeout
        while unstarted and not self.are_full and time.monotonic() < end:
            item_id, item = unstarted[0]
            try:
                argument = item.decode() if self._is_text else item
            except UnicodeDecodeError:
                self._failed(item_id, NOT_TEXT)
            else:
                if not self._start_thread(item_id, argument, deadline):
                    return
                self.running[item_id] = (None, deadline, len(item))
            unstarted.popleft()

    def close(self) -> None:
        """Start nothing more."""
        self._is_open = False

    async def cancel(self) -> None:
        """Cancel all that runs, and report its end no more. Gives it LAST_GRACE seconds to end."""
        self._abandoned.update(self.running)
        for item_id in self.running:
            self._cancel(item_id)
        if self.running:
            await asyncio.sleep(LAST_GRACE)

    def _start_thread(self, item_id: int, argument: str | bytes, deadline: float) -> bool:
        """Returns whether there was a thread to be had. If not, there are fewer slots for
        REGAIN seconds.

        Raises RuntimeError if none runs.
        """
        try:
            arguments = (self._perform_here, item_id, argument, deadline)
            threading.Thread(target=self._context.copy().run, args=arguments, daemon=True).start()
        except RuntimeError:
            if not self.running:
                raise
            self._capacity = len(self.running)
            self._loop.call_later(REGAIN, self._regain)
            logger.warning("no more threads to be had: CONCURRENCY is %d now", self._capacity)
            return False
        return True

    def _regain(self) -> None:
        self._capacity = self._most
        self.changed.set()

    async def _perform(self, item_id: int, argument: str | bytes, deadline: float) -> None:
        doing.set((item_id, deadline))
        try:
            await self._work(argument)
        except BaseException as error:  # a SystemExit would end the event loop with all tasks
            self._end(item_id, error)
        else:
            self._end(item_id)

    async def _perform_timed(
        self, item_id: int, argument: str | bytes, deadline: float, stands_for: int
    ) -> None:
        began = time.monotonic()
        await self._perform(item_id, argument, deadline)
        self._note(time.monotonic() - began, stands_for)

    def _perform_here(self, item_id: int, argument: str | bytes, deadline: float) -> None:
        """As `_perform`, for a plain function, in its thread."""
        error: BaseException | None = None
        began = time.monotonic()
        doing.set((item_id, deadline))
        try:
            result = self._work(argument)
            if inspect.isawaitable(result) or inspect.isgenerator(result):
                raise TypeError("it returned an awaitable or generator: make it async def")
            if inspect.isasyncgen(result):
                raise TypeError("it returned an async generator: have no yield in it")
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the event loop may be closed by now
            self._loop.call_soon_threadsafe(self._end, item_id, error)
            self._loop.call_soon_threadsafe(self._note, time.monotonic() - began, 1)

    def _note(self, seconds: float, stands_for: int) -> None:
        if seconds < self._timeout:  # `_sweep` has noted those that ran longer
            self._ran(seconds, stands_for)

    def _end(self, item_id: int, error: BaseException | None = None) -> None:
        self.running.pop(item_id, None)
        if item_id in self._abandoned:
            self._abandoned.remove(item_id)
        elif error is None:
            self._done(item_id)
        else:
            self._failed(item_id, failure(error))
        self.changed.set()
        # Once it is closed, the event loop may be, too.
        if self._unstarted and self._is_open and not self._start_is_scheduled:
            # One call is enough for all that end in this turn of the event loop.
            self._start_is_scheduled = True
            self._loop.call_soon(self.start, context=self._context)

    def _sweep(self) -> None:
        """Fail what has run too long. Runs again when the next deadline is over."""
        now = time.monotonic()
        self._sweeper = None
        for item_id, (_, deadline, _) in self.running.items():
            if item_id in self._abandoned:
                continue
            if deadline > now:
                self._sweeper = self._loop.call_later(
                    deadline - now, self._sweep, context=self._context
                )
                break
            self._abandoned.add(item_id)
            self._ran(self._timeout, 1)
            self._failed(item_id, Failure(f"ran longer than JOB_TIMEOUT, {self._timeout:g} s"))
            self._cancel(item_id)
            self.changed.set()

    def _cancel(self, item_id: int) -> None:
        task = self.running[item_id][0]
        if task:
            # The task may not have begun yet: then `_perform` does not see its end.
            task.add_done_callback(lambda _: self._forget(item_id))
            task.cancel()
            self.have_cancelled = True

    def _forget(self, item_id: int) -> None:
        self.running.pop(item_id, None)
        self._abandoned.discard(item_id)
        self.changed.set()


def _takes_text(work: Work) -> bool:
    """Whether the type hint of the task's only argument says str rather than bytes.

    Raises TypeError if it says neither, or if the task is a generator.
    """
    name = getattr(work, "__name__", repr(work))
    if inspect.isgeneratorfunction(work) or inspect.isasyncgenfunction(work):
        raise TypeError(f"{name}() must have no yield: nobody would run it")
    hints = [each.annotation for each in inspect.signature(work).parameters.values()]
    # A module that postpones its annotations has them as text.
    hint = {"str": str, "bytes": bytes}.get(hints[0], hints[0]) if len(hints) == 1 else None
    if hint not in (str, bytes):
        raise TypeError(f"{name}() must take one argument, with the type hint str or bytes")
    return hint is str


def _spawner(loop: asyncio.AbstractEventLoop) -> Callable[..., asyncio.Task[None]]:
    if sys.version_info < (3, 12):
        return loop.create_task
    # When this returns, the task has run up to its first wait: most have ended by then.
    return functools.partial(asyncio.Task, loop=loop, eager_start=True)
