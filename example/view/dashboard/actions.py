"""What an operator can do on the page. Each action does what a command does."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ...runtime import dead, link
from .. import programs
from .operations import Operations, Progress

T = TypeVar("T")
Form = dict[str, str]
ERRORS = (*programs.ERRORS, *link.ERRORS)


@dataclass(frozen=True)
class Question:
    """What the page asks before something is lost or interrupted."""

    title: str
    text: str
    button: str
    is_grave: bool


@dataclass(frozen=True)
class Action:
    """What one button does."""

    carry_out: Callable[[Form], Awaitable[None]]
    """Raises KeyError or ValueError if a field is missing or wrong."""
    question: Callable[[Form], Question] | None = None


class Actions:
    """All actions by name, and the progress of those that were begun."""

    def __init__(self, url: str, key: str) -> None:
        self._queue = (url, key)
        self.operations = Operations(ERRORS)
        self.all = {
            "restart": Action(self._restart, _ask_restart),
            "roll": Action(self._roll),
            "scale": Action(self._scale),
            "requeue": Action(self._requeue),
            "drop": Action(self._drop, _ask_drop),
            "retry-now": Action(self._retry_now),
        }

    async def _restart(self, form: Form) -> None:
        name = form["name"]

        async def begin() -> str:
            goes_on = await _asked(programs.restart, name)
            return "" if goes_on else "it is starting"

        await self.operations.carry_out(f"Restart {name}", begin, _progress(name))

    async def _roll(self, form: Form) -> None:
        name = form["name"]

        async def begin() -> str:
            await _asked(programs.roll, name)
            return ""

        await self.operations.carry_out(f"Roll {name}", begin, _progress(name))

    async def _scale(self, form: Form) -> None:
        name, number = form["name"], int(form["number"])

        async def begin() -> str:
            await _asked(programs.scale, name, number)
            return f"{name} has {number} from now on"

        await self.operations.carry_out(f"Scale {name} to {number}", begin)

    async def _requeue(self, form: Form) -> None:
        await self._treat(form, "Requeue", "is on the list again", dead.requeue)

    async def _drop(self, form: Form) -> None:
        await self._treat(form, "Drop", "is gone", dead.drop)

    async def _treat(
        self, form: Form, what: str, done: str, do: Callable[..., Awaitable[int]]
    ) -> None:
        one = form["id"]

        async def begin() -> str:
            count = await do(*self._queue, None if one == "all" else one)
            return _counted(count, done) if count else "nothing was left to do"

        which = "all dead items" if one == "all" else f"dead item {one}"
        await self.operations.carry_out(f"{what} {which}", begin)

    async def _retry_now(self, _: Form) -> None:
        async def begin() -> str:
            return _counted(await dead.retry_now(*self._queue), "does not wait any longer")

        await self.operations.carry_out("Retry now", begin)


def _counted(count: int, done: str) -> str:
    plural = done.replace("is ", "are ").replace("does not", "do not")
    return f"1 item {done}" if count == 1 else f"{count} items {plural}"


async def _asked(do: Callable[..., T], *words: Any) -> T:
    """Call a function of programs.py in a thread."""
    return await asyncio.to_thread(lambda: do(programs.find(), *words))


def _progress(name: str) -> Progress:
    return lambda: _asked(programs.progress, name)


def _ask_restart(form: Form) -> Question:
    text = (
        "It finishes what it has in hand, within DRAIN_SECONDS, then stops and starts again."
        " Roll replaces it without a pause."
    )
    return Question(f"Restart {form.get('name', '')}?", text, "Restart", is_grave=False)


def _ask_drop(form: Form) -> Question:
    if form.get("id") == "all":
        text = "This cannot be undone."
        return Question("Drop all dead items?", text, "Drop all", is_grave=True)
    shown = form.get("shown") or form.get("id", "")
    text = f"This cannot be undone: {shown}"
    return Question("Drop this item?", text, "Drop", is_grave=True)
