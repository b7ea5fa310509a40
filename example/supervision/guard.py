"""The one place where our code meets supervisord's loop, so that no fault of ours can end it.

supervisord ends, and leaves its children behind, if a subscriber of an event raises, or
`readable()` or `writable()` of an object in its socket map. So no part touches the loop itself:
it hands its functions to `Hooks`, which guards each of them.
"""

import functools
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from supervisor import events

Function = Callable[..., Any]
REPEAT_SECONDS = 60
"""A function that runs in each turn would fail in each turn: it is reported once in this time."""


def guard(function: Function, report: Callable[[str], object], fallback: object = None) -> Function:
    """Wrap `function`: on an exception the wrapper calls `report` and returns `fallback`."""
    told = -float(REPEAT_SECONDS)

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        nonlocal told
        try:
            return function(*args, **kwargs)
        except Exception:
            if time.monotonic() - told >= REPEAT_SECONDS:
                told = time.monotonic()
                try:
                    report(f"supervision: {function.__qualname__} failed\n{traceback.format_exc()}")
                except Exception:
                    traceback.print_exc(file=sys.__stderr__)
            return fallback

    return guarded


class Watcher:
    """What supervisord's loop calls for a descriptor: guarded functions."""

    def __init__(self, readable: Function, writable: Function, read: Function, write: Function):
        self.readable = readable
        self.writable = writable
        self.handle_read_event = read
        self.handle_write_event = write

    def handle_error(self) -> None:
        """Do nothing: the guarded functions report their own faults."""


class Hooks:
    """The guarded ways into one supervisord, until it exits or reloads."""

    def __init__(self, supervisord: Any):
        self.supervisord = supervisord
        self.options = supervisord.options
        self.exit_status = 0
        """What supervisord is to exit with, if not 0."""
        self._closers: list[Function] = []
        original = self.options.close_logger

        def close_logger() -> None:
            for close in reversed(self._closers):
                close()
            original()
            if self.exit_status:
                raise SystemExit(self.exit_status)

        # The last call of supervisord's main(), at exit and at each reload.
        self.options.close_logger = close_logger

    def report(self, message: str) -> None:
        self.options.logger.error(message)

    def guard(self, function: Function, fallback: object = None) -> Function:
        return guard(function, self.report, fallback)

    def subscribe(self, event: type, callback: Function) -> None:
        """Have `callback(event)` called at each event of that type, as long as this run lasts."""
        events.subscribe(event, self.guard(callback))

    def before(self, owner: Any, name: str, hook: Function) -> None:
        """Have `hook` called with the same arguments before each call of `owner.name`."""
        original, hook = getattr(owner, name), self.guard(hook)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            hook(*args, **kwargs)
            return original(*args, **kwargs)

        setattr(owner, name, wrapped)

    def after(self, owner: Any, name: str, hook: Function) -> None:
        """Have `hook` called with what each call of `owner.name` returned."""
        original, hook = getattr(owner, name), self.guard(hook)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            hook(result)
            return result

        setattr(owner, name, wrapped)

    def around(self, owner: Any, name: str, function: Function) -> None:
        """Have `function(original, …)` called for `owner.name(…)`, as long as this run lasts.

        Where it raises, the original is called.
        """
        original, failed = getattr(owner, name), object()
        guarded = self.guard(function, failed)

        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = guarded(original, *args, **kwargs)
            return original(*args, **kwargs) if result is failed else result

        setattr(owner, name, wrapped)
        self.at_close(lambda: setattr(owner, name, original))

    def unless(self, owner: Any, name: str, check: Function) -> None:
        """Have calls of `owner.name`, which returns nothing, do nothing while `check()` is true."""
        original, check = getattr(owner, name), self.guard(check, False)

        def wrapped(*args: Any, **kwargs: Any) -> None:
            if not check():
                original(*args, **kwargs)

        setattr(owner, name, wrapped)

    def every_turn(self, hook: Function) -> None:
        """Have `hook()` called at the end of each turn of the loop, at least once a second."""
        guarded = self.guard(hook)
        self.after(self.supervisord, "tick", lambda _: guarded())

    def watch(
        self,
        fd: int,
        read: Function | None = None,
        write: Function | None = None,
        wants_write: Function | None = None,
    ) -> None:
        """Have the loop call `read()` or `write()` when `fd` is ready; closes `fd` at the end."""
        self.options.get_socket_map()[fd] = Watcher(
            readable=lambda: read is not None,
            writable=self.guard(wants_write, False) if wants_write else lambda: False,
            read=self.guard(read) if read else lambda: None,
            write=self.guard(write) if write else lambda: None,
        )
        self.at_close(lambda: self.unwatch(fd))

    def unwatch(self, fd: int) -> None:
        """Watch `fd` no more, and close it. Does nothing the second time."""
        if self.options.get_socket_map().pop(fd, None):
            os.close(fd)

    def at_close(self, close: Function) -> None:
        """Have `close()` called when supervisord exits or reloads, in reverse order."""
        self._closers.append(self.guard(close))
