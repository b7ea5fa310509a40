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
    aborted: dict[int, float] = {}
    last_turn = time.monotonic()

    def before_exec(_filename: str, _argv: list[str], env: dict[str, str]) -> None:
        if limit := deadlines.of(plugin.process_of(env)):
            env["WATCHDOG_USEC"] = str(int(limit * 1e6))
            env.pop("WATCHDOG_PID", None)

    def on_turn() -> None:
        nonlocal last_turn
        now = time.monotonic()
        away, last_turn = now - last_turn, now
        for pid in aborted.keys() - plugin.options.pidhistory:
            del aborted[pid]
        for process in plugin.processes():
            note, limit = plugin.note(process), deadlines.of(process)
            if note is None or note.heard_at is None or not limit or _is_stopping(process, note):
                continue
            if away > 2:
                # supervisord itself was held up, and has not read what was sent meanwhile.
                note.heard_at += away
            if now - note.heard_at <= limit:
                continue
            if process.pid not in aborted:
                plugin.blame[plugin.key(process)] = why = f"silent for {limit:g} s"
                plugin.options.logger.error(f"hangs: {process.config.name}: {why}, sent SIGABRT")
                aborted[process.pid] = now
                plugin.options.kill(process.pid, signal.SIGABRT)
            elif now - aborted[process.pid] >= KILL_AFTER:
                plugin.options.kill(process.pid, signal.SIGKILL)

    plugin.before(plugin.options, "execve", before_exec)
    plugin.every_turn(on_turn)


def _is_stopping(process: Any, note: Note) -> bool:
    """Whether somebody else waits for its end: nobody does where it ends by itself, as planned."""
    running = process.state in (ProcessStates.STARTING, ProcessStates.RUNNING)
    return not running or (note.stopping and not note.end)
