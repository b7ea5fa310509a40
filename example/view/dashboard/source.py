"""Asks for what the page shows: once a second at most, however many look; never if nobody does."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")

FRESH_SECONDS = 0.9
"""How long an answer is reused: a page asks each second."""
PATIENCE_SECONDS = 1.0
"""How long a page waits for an answer before it is shown without one."""
GIVE_UP_SECONDS = 10.0


@dataclass(frozen=True)
class Seen(Generic[T]):
    """The last answer, and whether there is none at present."""

    value: T | None
    at: float | None
    """When it came, in seconds since the epoch; None: never."""
    trouble: str
    """Why there is no newer answer, as a sentence; '' if all is well."""
    since: float
    """When the trouble was seen first, in seconds since the epoch."""


class Source(Generic[T]):
    """Asks by `ask`, which raises one of `errors` if there is no answer.

    `explain` makes a sentence of what was raised.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[T]],
        errors: tuple[type[Exception], ...],
        explain: Callable[[Exception], str],
    ) -> None:
        self._ask = ask
        self._explain = explain
        self._errors: tuple[type[Exception], ...] = (TimeoutError, *errors)
        self._asking: asyncio.Task[None] | None = None
        self._asked = 0.0
        self._seen: Seen[T] = Seen(None, None, "", 0.0)

    async def look(self) -> Seen[T]:
        """The last answer, at most FRESH_SECONDS old unless there is trouble."""
        now = asyncio.get_running_loop().time()
        asking = self._asking
        if asking is None or (asking.done() and now - self._asked >= FRESH_SECONDS):
            self._asked = now
            self._asking = asking = asyncio.create_task(self._renew())
        await asyncio.wait({asking}, timeout=PATIENCE_SECONDS)
        if not asking.done():
            self._failed(TimeoutError("it takes too long"))
        return self._seen

    def forget(self) -> None:
        """Ask again when somebody looks next, since something has changed."""
        self._asking = None

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                value = await self._ask()
        except self._errors as error:
            self._failed(error)
        except Exception as error:
            # Another version may have written what was read. That must not pass for "all is well".
            if not self._seen.trouble:
                logger.exception("an answer that cannot be read")
            self._failed(error)
        else:
            self._seen = Seen(value, time.time(), "", 0.0)

    def _failed(self, error: Exception) -> None:
        since = self._seen.since if self._seen.trouble else time.time()
        self._seen = Seen(self._seen.value, self._seen.at, self._explain(error), since)
