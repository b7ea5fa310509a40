"""What a task may know of its attempt, and say of its item."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

MOST = 1e9  # seconds until another attempt, some thirty years


class GiveUp(Exception):  # noqa: N818 it is said, not told of
    """Raise it for an item that can never be done: the dead list has it at once, and the reason."""


class Again(Exception):  # noqa: N818
    """Raise it to have the item tried again in `after` seconds, rather than after a random time.

    It counts as an attempt: MAX_ATTEMPTS bounds how often. Raises ValueError unless `after` is from
    0 to MOST.
    """

    def __init__(self, why: str = "asked for it", *, after: float) -> None:
        super().__init__(why)
        if not 0 <= after <= MOST:
            raise ValueError(f"Again(after={after!r}): use seconds from 0 to {MOST:.0f}")
        self.after = after

    def __reduce__(self) -> tuple[Any, ...]:
        # So that it may come out of another process.
        return partial(type(self), after=self.after), self.args


@dataclass(frozen=True)
class Attempt:
    """One attempt at an item."""

    item: str
    """The item's name, as the worker's log and the queue's keys have it."""
    number: int
    """1 for the first attempt; one more for each that failed."""
    deaths: int
    """How many workers died that had it in hand."""
    deadline: float
    """When JOB_TIMEOUT ends it, by time.monotonic()."""


describer: ContextVar[Callable[[int, float], Attempt]] = ContextVar("describer")
"""For the worker to set, once: who describes the attempt at an item, by what is in `doing`.

The description is made only if somebody asks: most tasks do not.
"""
doing: ContextVar[tuple[int, float]] = ContextVar("doing")
"""For the worker to set, in each task: the id of its item, and its deadline."""


def attempt() -> Attempt:
    """The attempt that this code is part of: also in plain functions, and in their threads if
    these were started by `asyncio.to_thread`. Raises LookupError outside of any."""
    try:
        return describer.get()(*doing.get())
    except LookupError:
        raise LookupError(
            "no task runs here: call attempt() in the task, and give other threads and processes"
            " what it returns"
        ) from None
