"""Slots: run so many items at once, and report how each of them ended. Knows no Redis."""

import asyncio
import contextlib
import inspect
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from .task import MOST, Again, Attempt, GiveUp, doing

logger = logging.getLogger(__name__)

Work = Callable[[Any], Any]

GRACE = 1.0  # seconds that a task has to end once it has run too long
LAST_GRACE = 0.05  # seconds that all tasks have to end when the worker ends
SPELL = 0.02  # seconds of starting tasks in one go, before the event loop does anything else
MANY = 100  # taken and not started: with more, the clock would cost more than a small task
TIMED = 64  # of so many items one is timed then, and stands for them all
THREADS = 1000  # at most: with some thousands the event loop waits for seconds to have its turn


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item failed, in one line that Redis takes."""

    why: str
    error: BaseException | None = None
    """What the task raised, if that was it."""
    is_final: bool = False
    """Whether another attempt would end just the same."""
    after: float | None = None
    """Seconds until the next attempt, if the task has asked for that."""


@dataclass(slots=True)
class Slot:
    """A slot that is taken: by a task, or by a thread if `task` is None."""

    task: asyncio.Task[None] | None
    deadline: float
    """By time.monotonic()."""
    size: int
    """Bytes of its item."""
    is_abandoned: bool = False
    """Whether its end is not reported any more. The slot is free only when the task has ended."""


class Slots:
    """Runs the items of `taken`, the leftmost first, and calls `done` or `failed` with their ids.

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
        taken: deque[tuple[int, bytes]],
        done: Callable[[int], None],
        failed: Callable[[int, Failure], None],
        ran: Callable[[float, int], None],
        describe: Callable[[int, float], Attempt],
    ) -> None:
        self.running: dict[int, Slot] = {}
        self.changed = asyncio.Event()
        """Set when an item has ended, or a slot has fallen free."""
        self.started_at = 0.0  # by time.monotonic(): when an item was started last
        self.have_cancelled = False
        """Whether a task was cancelled: what it has begun in a thread may run on unseen."""
        self._work = work
        self._is_text = _takes_text(work)
        self._is_threaded = not inspect.iscoroutinefunction(work)
        self._concurrency = self._bearable(concurrency)
        self._timeout = timeout
        self._taken = taken
        self._done = done
        self._failed = failed
        self._ran = ran
        self._describe = describe
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._will_start = False  # the event loop is about to call `start`
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
    def count(self) -> int:
        """How many items may run at once."""
        return self._concurrency

    @property
    def are_taken(self) -> bool:
        """Whether no slot is free."""
        return len(self.running) >= self._concurrency

    def are_worn_out(self, alone: bool) -> bool:
        """Whether tasks that cannot be stopped have half of the slots, or one if it runs alone."""
        long_ago = time.monotonic() - GRACE
        lost = sum(slot.is_abandoned and slot.deadline < long_ago for slot in self.running.values())
        return lost >= (1 if alone else (self._concurrency + 1) // 2)

    def unreported(self) -> list[int]:
        """The ids of what runs, and has not been reported to have run too long."""
        return [item_id for item_id, slot in self.running.items() if not slot.is_abandoned]

    def size(self) -> int:
        """Bytes of all items that run."""
        return sum(slot.size for slot in self.running.values())

    def start(self) -> None:
        """Start taken items while slots are free, for SPELL seconds at most.

        The rest starts when a slot falls free, or by the next call. Raises RuntimeError if the
        machine has not even one thread.
        """
        self._will_start = False
        taken, running = self._taken, self.running
        if not (taken and self._is_open and len(running) < self._concurrency):
            return
        monotonic, spawn, perform, loop = time.monotonic, _spawn, self._perform, self._loop
        now = self.started_at = monotonic()
        end, deadline = now + SPELL, now + self._timeout
        every = TIMED if len(taken) > MANY else 1
        while taken and len(running) < self._concurrency and monotonic() < end:
            item_id, item = taken.popleft()
            try:
                argument = item.decode() if self._is_text else item
            except UnicodeDecodeError:
                why = "the task takes str, and this is not UTF-8"
                self._failed(item_id, Failure(why, is_final=True))
                continue
            if self._is_threaded:
                if not self._start_thread(item_id, argument, deadline):
                    taken.appendleft((item_id, item))
                    break
                running[item_id] = Slot(None, deadline, len(item))
                continue
            if item_id % every:
                task = spawn(loop, perform(item_id, argument, deadline))
            else:
                task = spawn(loop, self._perform_timed(item_id, argument, deadline, every))
            if not task.done():
                running[item_id] = Slot(task, deadline, len(item))
        if running and self._sweeper is None:
            self._sweep()

    def close(self) -> None:
        """Start nothing more."""
        self._is_open = False

    async def cancel(self) -> None:
        """Cancel all that runs, and report its end no more. Gives it LAST_GRACE seconds to end."""
        for item_id, slot in self.running.items():
            slot.is_abandoned = True
            self._cancel(item_id, slot)
        if self.running:
            await asyncio.sleep(LAST_GRACE)

    def _start_thread(self, item_id: int, argument: str | bytes, deadline: float) -> bool:
        """Returns whether the system gave a thread. If not, there are fewer slots from now on.

        Raises RuntimeError if none runs.
        """
        try:
            arguments = (item_id, argument, deadline)
            threading.Thread(target=self._perform_here, args=arguments, daemon=True).start()
        except RuntimeError:
            if not self.running:
                raise
            self._concurrency = len(self.running)
            logger.warning("no more threads to be had: CONCURRENCY is %d now", self._concurrency)
            return False
        return True

    async def _perform(self, item_id: int, argument: str | bytes, deadline: float) -> None:
        error = None
        doing.set((self._describe, item_id, deadline))
        try:
            await self._work(argument)
        except BaseException as raised:  # a SystemExit would end the event loop with all tasks
            error = raised
        self._end(item_id, error)

    async def _perform_timed(
        self, item_id: int, argument: str | bytes, deadline: float, stands_for: int
    ) -> None:
        began = time.monotonic()
        await self._perform(item_id, argument, deadline)
        self._note(time.monotonic() - began, stands_for)

    def _perform_here(self, item_id: int, argument: str | bytes, deadline: float) -> None:
        """The same in the thread that calls."""
        error: BaseException | None = None
        began = time.monotonic()
        doing.set((self._describe, item_id, deadline))
        try:
            result = self._work(argument)
            if inspect.isawaitable(result) or inspect.isgenerator(result):
                raise TypeError("it returned an awaitable or generator: make it async def")
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the event loop may be closed by now
            self._loop.call_soon_threadsafe(self._end, item_id, error)
            self._loop.call_soon_threadsafe(self._note, time.monotonic() - began, 1)

    def _note(self, seconds: float, stands_for: int) -> None:
        if seconds < self._timeout:  # else `_sweep` has told
            self._ran(seconds, stands_for)

    def _end(self, item_id: int, error: BaseException | None) -> None:
        slot = self.running.pop(item_id, None)
        if not slot or not slot.is_abandoned:
            if error is None:
                self._done(item_id)
            else:
                self._failed(item_id, _failure(error))
        self.changed.set()
        if self._taken and not self._will_start:
            # One call is enough for all that end in this turn of the event loop.
            self._will_start = True
            self._loop.call_soon(self.start)

    def _sweep(self) -> None:
        """Fail what has run too long. Runs again when the next deadline is over."""
        now = time.monotonic()
        self._sweeper = None
        for item_id, slot in self.running.items():
            if slot.is_abandoned:
                continue
            if slot.deadline > now:
                self._sweeper = self._loop.call_later(slot.deadline - now, self._sweep)
                break
            slot.is_abandoned = True
            self._ran(self._timeout, 1)
            self._failed(item_id, Failure(f"ran longer than JOB_TIMEOUT, {self._timeout:g} s"))
            self._cancel(item_id, slot)
            self.changed.set()

    def _cancel(self, item_id: int, slot: Slot) -> None:
        if slot.task:
            # The task may not have begun yet: then `_perform` does not see its end.
            slot.task.add_done_callback(lambda _: self.running.pop(item_id, None))
            slot.task.cancel()
            self.have_cancelled = True


def _failure(error: BaseException) -> Failure:
    said = _said(error)
    why, unsaid = _described(said), None if said is error else error
    match said:
        case GiveUp():
            return Failure(why, unsaid, is_final=True)
        case Again(after=int() | float() as after) if 0 <= after <= MOST:
            return Failure(why, unsaid, after=after)
        case _:
            return Failure(why, error)


def _said(error: BaseException) -> BaseException:
    """What the task says of its item, if a TaskGroup has put that into a group; else `error`."""
    if isinstance(error, BaseExceptionGroup):
        for kind in (GiveUp, Again):
            group: BaseException | None = error.subgroup(kind)
            while isinstance(group, BaseExceptionGroup):
                group = group.exceptions[0]
            if group:
                return group
    return error


def _described(error: BaseException) -> str:
    """The exception in one line that Redis takes, whatever its text is made of."""
    try:
        text = str(error)
    except Exception:
        text = "(its __str__ fails)"
    line = f"{type(error).__name__}: {text}"[:1000]
    return line.encode(errors="backslashreplace").decode()


def _takes_text(work: Work) -> bool:
    """Whether the type hint of the task's only argument says str rather than bytes.

    Raises TypeError if it says neither.
    """
    hints = [each.annotation for each in inspect.signature(work).parameters.values()]
    # A module that postpones its annotations has them as text.
    hint = {"str": str, "bytes": bytes}.get(hints[0], hints[0]) if len(hints) == 1 else None
    if hint not in (str, bytes):
        name = getattr(work, "__name__", repr(work))
        raise TypeError(f"{name}() must take one argument, with the type hint str or bytes")
    return hint is str


if sys.version_info >= (3, 12):

    def _spawn(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]
    ) -> asyncio.Task[None]:
        # When this returns, the task has run up to its first wait: most have ended by then.
        return asyncio.Task(coroutine, loop=loop, eager_start=True)

else:

    def _spawn(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]
    ) -> asyncio.Task[None]:
        return loop.create_task(coroutine)
