"""What supervisord knows of each program, and what an operator does with one: restart, roll, scale.

The functions call supervisord by XML-RPC on its control socket, as `supervisorctl` does. They
block: call them in a thread if others must not wait.
"""

import contextlib
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple
from xmlrpc.client import Error, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from ..supervision import probe
from ..supervision.ctl import READY_WITHIN

ERRORS = (OSError, HTTPException, Error, ValueError, OverflowError)
"""What each function here raises if supervisord does not answer, or refuses. OverflowError: XML-RPC
has no number beyond 32 bits."""


@dataclass(frozen=True)
class Program:
    """A process of supervisord's, as it is now; None if something is not known."""

    name: str
    """As supervisorctl takes it: `worker:worker_00`, or `beat`."""
    group: str
    program: str
    """What `scale` takes; it differs from the group inside a `[group:x]`."""
    pid: int
    """0 if it does not run."""
    state: str
    """RUNNING, BACKOFF, …: supervisord's word."""
    ready: bool
    status: str
    """What it says of itself, one line."""
    restarts: int
    memory: int | None
    """Resident bytes."""
    cpu_seconds: float | None
    silent_seconds: float | None
    """Since its last sign of life, if it gives any."""
    uptime_seconds: float | None
    last_exit: str | None
    """`exit status 1` or `terminated by SIGKILL`; if supervision ended it, also why."""
    last_exit_at: float | None
    """Seconds since the epoch."""
    last_exit_code: int | None
    """The exit status, or the number of the signal with a minus."""
    counts: dict[str, float]
    """What it counts itself: app counts its `requests` and `connections`."""


class Supervisord(NamedTuple):
    """A control socket. Each question has a connection of its own, so any thread may ask."""

    url: str
    username: str
    password: str

    def ask(self, method: str, *words: object) -> Any:
        """Call a method, such as `supervision.ready`. Raises ERRORS; TimeoutError after 2 s."""
        with ServerProxy("http://localhost", _Transport(self)) as proxy:
            return getattr(proxy, method)(*words)


class _Transport(SupervisorTransport):  # type: ignore[misc]  # supervisor has no types
    """With a time-out, which supervisor's own transport lacks."""

    def __init__(self, server: Supervisord) -> None:
        super().__init__(server.username, server.password, server.url)
        self._get_connection = self._connect

    def _connect(self) -> HTTPConnection:
        made = HTTPConnection("localhost")
        made.sock = probe.connect(self.serverurl)
        return made


def find() -> Supervisord:
    """The supervisord that supervisorctl would find. Raises ValueError if no file names it."""
    return Supervisord(*probe.control())


def read(server: Supervisord) -> list[Program]:
    """All processes, in supervisord's order. Raises one of ERRORS."""
    return [_program(row) for row in server.ask("supervision.ready")]


def _program(row: dict[str, Any]) -> Program:
    reasons = [row.get("last_exit"), row.get("last_exit_why")]
    return Program(
        name=row["name"],
        group=row["group"],
        program=row["program"],
        pid=row["pid"],
        state=row["state"],
        ready=row["ready"],
        status=row.get("status", ""),
        restarts=row["restarts"],
        memory=int(row["memory"]) if "memory" in row else None,
        cpu_seconds=row.get("cpu"),
        silent_seconds=row.get("silent_seconds"),
        uptime_seconds=row.get("uptime_seconds"),
        last_exit=", ".join(filter(None, reasons)) or None,
        last_exit_at=row.get("last_exit_at"),
        last_exit_code=row.get("last_exit_code"),
        counts=row.get("counts", {}),
    )


def restart(server: Supervisord, name: str) -> bool:
    """Begin to restart a process, or the processes of a group that run; start them if none runs.

    supervisord goes on with it even if the caller ends. Returns whether `progress` reports on it:
    it does not if processes are only started.
    """
    rows = [row for row in read(server) if name in (row.name, row.program, row.group)]
    if not rows or any(row.pid or row.state == "BACKOFF" for row in rows):
        server.ask("supervision.roll", name, READY_WITHIN, True)
        return True
    for row in rows:
        server.ask("supervisor.startProcess", row.name, False)
    return False


def roll(server: Supervisord, name: str) -> None:
    """Begin to replace a process, or a group's processes, each once its successor is ready."""
    server.ask("supervision.roll", name, READY_WITHIN, False)


def progress(server: Supervisord, name: str) -> tuple[list[str], bool | None]:
    """The lines of the last `roll` or `restart` of this name, and whether it went well.

    None while it goes on. Raises one of ERRORS, also if there was none.
    """
    told = server.ask("supervision.rolled", name, 0)
    return told["lines"], None if told["status"] < 0 else told["status"] == 0


def scale(server: Supervisord, program: str, number: int) -> None:
    """Run `number` processes of a program, 1 to 256. Surplus ones may still be stopping then."""
    # A refusal comes at once. The answer comes when the surplus processes have stopped.
    with contextlib.suppress(TimeoutError):
        server.ask("supervision.scale", program, number)
