"""The one place where our code meets supervisord's loop, so that no fault of ours can end it.

supervisord ends, and leaves its children behind, when a subscriber of an event or `readable()`
or `writable()` of an object in its socket map raises. Parts therefore never touch the loop
themselves: they hand their functions to a `Plugin`, which guards each of them.
"""

import functools
import os
import secrets
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from supervisor import events
from supervisor.options import make_namespec
from supervisor.states import ProcessStates

from .values import names_of

Function = Callable[..., Any]


class Exit(NamedTuple):
    """How a process ended."""

    pid: int
    status: int
    """As waitpid returns it."""
    at: float
    why: str


@dataclass
class Note:
    """What a process has said of itself by sd_notify; times are time.monotonic()'s."""

    pid: int
    ready_at: float | None = None
    heard_at: float | None = None
    """Its last WATCHDOG=1."""
    status: str = ""
    stopping: bool = False
    stop_seconds: float | None = None
    """How long it may take to stop, once told."""


STEADY_SECONDS = 10.0
"""Who has run so long could start, even if it says nothing of itself."""
REPEAT_SECONDS = 60
"""A fault in what runs every turn is told once in this time, not every turn."""


def guard(function: Function, report: Callable[[str], object], fallback: object = None) -> Function:
    """`function`, which on any exception reports it and returns `fallback` instead."""
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
    """What supervisord's loop asks of each descriptor, answered by guarded functions."""

    def __init__(self, readable: Function, writable: Function, read: Function, write: Function):
        self.readable = readable
        self.writable = writable
        self.handle_read_event = read
        self.handle_write_event = write

    def handle_error(self) -> None:
        """Nothing: the guarded functions have reported it."""


class Plugin:
    """What the parts may do to one supervisord, until it exits or reloads."""

    def __init__(self, supervisord: Any):
        self.supervisord = supervisord
        self.options = supervisord.options
        self.exit_status = 0
        self.run = secrets.token_hex(8)
        """A name for the time until supervisord exits or reloads."""
        self.interfaces = 0
        """How many HTTP servers have been given their interface."""
        self.methods: dict[str, Function] = {}
        """Name -> function(interface, …): what the parts publish by XML-RPC."""
        self.notes: dict[str, Note] = {}
        """What processes have said of themselves, by full name."""
        self.blame: dict[str, str] = {}
        """Why a process that is about to be killed is, by full name."""
        self.exits: dict[str, Exit] = {}
        """How each process ended last, by full name."""
        self.starts: Counter[str] = Counter()
        """How often each process was started, by full name."""
        self.is_ready: Function = lambda process: process.state == ProcessStates.RUNNING
        """Whether a process does its work; the part `ready` knows more of that."""
        self.busy: dict[str, str] = {}
        """Groups whose processes are being exchanged, and by what."""
        self.kill_at: dict[int, float] = {}
        """When a process that is stopping is killed, by time.time(), where not as its file says."""
        self.successors: set[str] = set()
        """Full names of processes that are to take over from others, and do not count yet."""
        self._proven: set[str] = set()
        self.after(self.options, "waitpid", self._note_exit)
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
        """Leave `fd` alone from now on, and close it; does nothing the second time."""
        if self.options.get_socket_map().pop(fd, None):
            os.close(fd)

    def at_close(self, close: Function) -> None:
        """Have `close()` called when supervisord exits or reloads, last come first."""
        self._closers.append(self.guard(close))

    @staticmethod
    def key(process: Any) -> str:
        """A process's full name, as supervisorctl takes it: `worker:worker_00`, or `beat`."""
        return str(make_namespec(process.group.config.name, process.config.name))

    def _note_exit(self, waited: tuple[int, int]) -> None:
        pid, status = waited
        process = self.options.pidhistory.get(pid)
        if process is None:
            return
        key, now = self.key(process), time.time()
        why = "stopped" if process.killing else self.blame.pop(key, "")
        self.exits[key] = Exit(pid, status, now, why)
        note = self.note(process)
        if (note and note.ready_at) or now - process.laststart >= STEADY_SECONDS:
            self._proven.add(key)

    def was_ready(self, process: Any) -> bool:
        """Whether a process that has ended was ready, then or before: it can work, once mended.

        Of a program that says nothing of itself: whether it has run for STEADY_SECONDS.
        """
        return self.key(process) in self._proven

    def note(self, process: Any) -> Note | None:
        """What the process that runs now has said, or None when it has said nothing."""
        note = self.notes.get(self.key(process))
        return note if note and process.pid and note.pid == process.pid else None

    def rename(self, before: str, after: str | None) -> None:
        """Take what is known of a process over to another full name; for None, forget it."""
        self.successors.discard(before)
        self._proven.discard(before)
        last, note, starts = (
            self.exits.pop(before, None),
            self.notes.pop(before, None),
            self.starts.pop(before, 0),
        )
        if after is None:
            return
        self.starts[after] += starts
        if note:
            self.notes[after] = note
        if last:
            self.exits[after] = last

    def give_up(self, process: Any, why: str) -> None:
        """FATAL, for a process that has ended and would be started again."""
        if process.state != ProcessStates.BACKOFF:
            process.change_state(ProcessStates.BACKOFF)
        process.spawnerr = why
        self.options.logger.warn(f"gave up: {process.config.name}: {why}")
        process.give_up()

    def process_of(self, environ: dict[str, str]) -> Any:
        """The process object of a program that is about to run with this environment."""
        group = self.supervisord.process_groups[environ["SUPERVISOR_GROUP_NAME"]]
        return group.processes[environ["SUPERVISOR_PROCESS_NAME"]]

    def unmatched(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that no program, process or group of the file has."""
        known = set(self.supervisord.process_groups).union(
            self.options.programs, *map(names_of, self.processes())
        )
        return [name for name in names if name not in known]

    def processes(self) -> list[Any]:
        """All of supervisord's process objects."""
        groups = list(self.supervisord.process_groups.values())
        return [process for group in groups for process in list(group.processes.values())]
