"""A process that has fallen silent has to show where it hangs; then it is killed and replaced.

Only processes that have sent WATCHDOG=1 are watched. SIGABRT comes first, as with systemd: on it, a
Python program with `faulthandler` writes its stacks to its log.
"""

import signal
import time
from typing import Any

from supervisor.states import ProcessStates

from .plugin import Note, Plugin
from .values import PerProgram, seconds

SHORTEST = 3.0
"""Seconds. A turn of supervisord's loop may last one."""
KILL_AFTER = 0.5
"""Seconds from SIGABRT to SIGKILL."""


def deadline(text: str) -> float:
    """Seconds of silence, at least SHORTEST."""
    value = seconds(text)
    if value < SHORTEST:
        raise ValueError(f"expected at least {SHORTEST:g} seconds")
    return value


def install(plugin: Plugin, deadlines: PerProgram[float]) -> None:
    watchdog = Watchdog(plugin, deadlines)
    plugin.before(plugin.options, "execve", watchdog.before_exec)
    plugin.every_turn(watchdog.check_all)


class Watchdog:
    """Aborts, and then kills, each process that is silent for longer than its deadline."""

    def __init__(self, plugin: Plugin, deadlines: PerProgram[float]) -> None:
        self._plugin = plugin
        self._deadlines = deadlines
        self._aborted: dict[int, float] = {}
        """Process id -> when it got SIGABRT, by time.monotonic()."""
        self._last_turn = time.monotonic()

    def before_exec(self, _filename: str, _argv: list[str], env: dict[str, str]) -> None:
        if limit := self._deadlines.of(self._plugin.process_of(env)):
            env["WATCHDOG_USEC"] = str(int(limit * 1e6))
            env.pop("WATCHDOG_PID", None)

    def check_all(self) -> None:
        now = time.monotonic()
        away, self._last_turn = now - self._last_turn, now
        for pid in self._aborted.keys() - self._plugin.options.pidhistory:
            del self._aborted[pid]
        for process in self._plugin.processes():
            note, limit = self._plugin.note(process), self._deadlines.of(process)
            if note is None or note.heard_at is None or not limit or _is_stopping(process, note):
                continue
            if away > 2:
                # supervisord itself was held up, and has not read what was sent meanwhile.
                note.heard_at += away
            if now - note.heard_at > limit:
                self._end(process, limit, now)

    def _end(self, process: Any, limit: float, now: float) -> None:
        if process.pid not in self._aborted:
            self._plugin.blame[self._plugin.key(process)] = why = f"silent for {limit:g} s"
            self._plugin.options.logger.error(f"hangs: {process.config.name}: {why}, sent SIGABRT")
            self._aborted[process.pid] = now
            self._plugin.options.kill(process.pid, signal.SIGABRT)
        elif now - self._aborted[process.pid] >= KILL_AFTER:
            self._plugin.options.kill(process.pid, signal.SIGKILL)


def _is_stopping(process: Any, note: Note) -> bool:
    """Whether something else waits for its end. Nothing does if it ends by itself, as planned."""
    running = process.state in (ProcessStates.STARTING, ProcessStates.RUNNING)
    return not running or (note.stopping and not note.end)
