"""The actions that operators have begun on the page, their progress and their end."""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .. import words

logger = logging.getLogger(__name__)

SHOWN_SECONDS = 60.0
"""How long an operation is shown after its end."""
MOST = 5
LINES = 8
"""How many of an operation's lines are kept, the last ones."""

Progress = Callable[[], Awaitable[tuple[list[str], bool | None]]]
"""The lines so far, and whether it went well; None while it goes on."""


@dataclass
class Operation:
    """One action that was begun."""

    number: int
    what: str
    began: float
    """Seconds since the epoch."""
    good: bool | None = None
    """None as long as it goes on."""
    lines: list[str] = field(default_factory=list)
    ended: float = 0.0


class Operations:
    """All operations that were begun; one that fails raises one of `errors`."""

    def __init__(self, errors: tuple[type[Exception], ...]) -> None:
        self._errors = errors
        self._all: list[Operation] = []
        self._numbers = itertools.count(1)
        self._following: set[asyncio.Task[None]] = set()

    def recent(self) -> list[Operation]:
        """The last ones that go on, or ended less than SHOWN_SECONDS ago, the newest first."""
        now = time.time()
        self._all = [
            each for each in self._all if each.good is None or now - each.ended < SHOWN_SECONDS
        ][-MOST:]
        return self._all[::-1]

    async def carry_out(
        self, what: str, begin: Callable[[], Awaitable[str]], progress: Progress | None = None
    ) -> None:
        """Await `begin()`, which returns what it has done, or '' if `progress` will say so."""
        operation = Operation(next(self._numbers), what, time.time())
        self._all.append(operation)
        logger.info("asked for on the page: %s", words.clean(what))
        try:
            told = await begin()
        except self._errors as error:
            self._end(operation, False, [_reason(error)])
            return
        if progress is None or told:
            self._end(operation, True, [told])
            return
        task = asyncio.create_task(self._follow(operation, progress))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _follow(self, operation: Operation, progress: Progress) -> None:
        while operation.good is None:
            try:
                lines, good = await progress()
            except self._errors as error:
                self._end(operation, False, [*operation.lines, _reason(error)])
                return
            operation.lines = lines[-LINES:]
            if good is not None:
                self._end(operation, good, lines)
            await asyncio.sleep(0.2)

    def _end(self, operation: Operation, good: bool, lines: list[str]) -> None:
        operation.lines, operation.good, operation.ended = lines[-LINES:], good, time.time()


def _reason(error: Exception) -> str:
    return str(getattr(error, "faultString", "") or error) or type(error).__name__
