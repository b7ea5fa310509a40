"""What the parts know together of one supervisord and its processes."""

import os
import secrets
import time
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from supervisor.options import make_namespec
from supervisor.states import ProcessStates

from .guard import Function, Hooks
from .values import names_of


class Exit(NamedTuple):
    """How a process ended."""

    pid: int
    status: int
    """As waitpid returns it."""
    at: float
    why: str
    planned: bool = False
    """Whether it has ended by itself, as it was set up to: it has said so, and its status does."""


@dataclass
class Note:
    """What a process has said of itself by sd_notify; times are time.monotonic()'s."""

    pid: int
    ready_at: float | None = None
    heard_at: float | None = None
    """Its last WATCHDOG=1."""
    status: str = ""
    held_up_until: float = 0.0
    """Until then another holds it up, as far as it knows: it is no fault of its own."""
    stopping: bool = False
    end: str = ""
    """Why it ends by itself, as it was set up to."""
    stop_seconds: float | None = None
    """How long it may take to stop, once it is told to."""
    counts: dict[str, float] = field(default_factory=dict)
    """What it counts, by its own names."""


STEADY_SECONDS = 10.0
"""A program that has run so long was able to start, even if it says nothing of itself."""


class Plugin(Hooks):
    """The hooks of one supervisord, and what is known of its processes."""

    def __init__(self, supervisord: Any):
        super().__init__(supervisord)
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
        self.must_say_so: Container[Any] = ()
        """Processes that are not ready before they have said so by sd_notify."""
        self.busy: dict[str, str] = {}
        """Groups whose processes are being exchanged, and by what."""
        self.kill_at: dict[int, float] = {}
        """When a stopping process is killed, by time.time(), if not after its `stopwaitsecs`."""
        self.successors: set[str] = set()
        """Full names of processes that are to take over from others, and do not count yet."""
        self._proven: set[str] = set()
        self.after(self.options, "waitpid", self._note_exit)

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
        blame = self.blame.pop(key, "")
        note = self.note(process)
        end = note.end if note and not blame else ""
        why = blame or ("stopped" if process.killing else end)
        as_expected = os.waitstatus_to_exitcode(status) in process.config.exitcodes
        self.exits[key] = Exit(pid, status, now, why, bool(end) and as_expected)
        # A program that must say so proves nothing by its age: on a slow machine it fails late.
        silent = process not in self.must_say_so
        if (note and note.ready_at) or (silent and now - process.laststart >= STEADY_SECONDS):
            self._proven.add(key)

    def ended_as_planned(self, process: Any) -> bool:
        """Whether a process has ended this moment, by itself, as it was set up to."""
        last = self.exits.get(self.key(process))
        return bool(last and last.pid == process.pid and last.planned)

    def was_ready(self, process: Any) -> bool:
        """Whether a process that has ended was ever ready, so that it can work once it is mended.

        A program that need not say so also counts as ready once it has run for STEADY_SECONDS.
        """
        return self.key(process) in self._proven

    def note(self, process: Any) -> Note | None:
        """What the process that runs now has said, or None when it has said nothing."""
        note = self.notes.get(self.key(process))
        return note if note and process.pid and note.pid == process.pid else None

    def rename(self, before: str, after: str | None) -> None:
        """Keep what is known of a process under another full name; for None, forget it."""
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
        """Make a process FATAL that has ended and would be started again."""
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
