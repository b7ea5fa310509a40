"""The state of every process, for `supervisorctl ready`, the health check and `roll`."""

import os
import time
from pathlib import Path
from typing import Any

from supervisor.events import ProcessStateStartingEvent
from supervisor.options import decode_wait_status
from supervisor.states import ProcessStates, getProcessStateDescription

from .plugin import Exit, Note, Plugin
from .values import Names

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def install(plugin: Plugin, must_say_so: Names) -> None:
    plugin.must_say_so = must_say_so
    plugin.is_ready = lambda process: _is_ready(plugin, process, must_say_so)

    def ready(_: object) -> list[dict[str, Any]]:
        """Tell how each process does.

        @return array result  A struct for each process; what is not known is left out
        """
        processes = plugin.processes()
        return [_row(plugin, it) for it in processes if plugin.key(it) not in plugin.successors]

    def on_start(event: Any) -> None:
        plugin.starts[plugin.key(event.process)] += 1

    plugin.subscribe(ProcessStateStartingEvent, on_start)
    plugin.methods["ready"] = ready


def _row(plugin: Plugin, process: Any) -> dict[str, Any]:
    key = plugin.key(process)
    row = {
        "name": key,
        "group": process.group.config.name,
        "program": process.config.program,
        "pid": process.pid,
        "state": getProcessStateDescription(process.state),
        "ready": plugin.is_ready(process),
        "restarts": max(0, plugin.starts[key] - 1),
    }
    if manager := getattr(process.group, "socket_manager", None):
        row["socket"] = manager.config().url
    row |= _said(plugin.note(process)) or _spawn_error(process)
    if _is_starting(plugin, process) and not row["ready"]:
        row["starting_seconds"] = _starting_seconds(plugin, process)
    row |= _last_exit(plugin.exits.get(key))
    if process.pid:
        row["uptime_seconds"] = max(0.0, time.time() - process.laststart)
        row |= _resources(process.pid)
    return row


def _last_exit(last: Exit | None) -> dict[str, Any]:
    if last is None:
        return {}
    return {
        "last_exit": decode_wait_status(last.status)[1],
        "last_exit_at": last.at,
        "last_exit_code": os.waitstatus_to_exitcode(last.status),
        "last_exit_why": last.why,
    }


def _said(note: Note | None) -> dict[str, Any]:
    """What a process has said of itself by sd_notify."""
    if note is None:
        return {}
    said: dict[str, Any] = {"status": note.status, "counts": note.counts}
    now = time.monotonic()
    if note.ready_at is not None:
        said["ready_seconds"] = now - note.ready_at
    if note.heard_at is not None:
        said["silent_seconds"] = now - note.heard_at
    return said


def _spawn_error(process: Any) -> dict[str, Any]:
    """Why supervisord could not start a process, or does not start it yet."""
    return {"status": process.spawnerr} if process.spawnerr else {}


def _is_ready(plugin: Plugin, process: Any, must_say_so: Names) -> bool:
    """Whether a process does its work, or has none to do.

    A program that has ever sent an sd_notify message, or must send one, is ready once it says so.
    Any other program is ready when it is RUNNING.
    """
    config, state = process.config, process.state
    if state == ProcessStates.EXITED:
        return process.exitstatus in config.exitcodes
    if state == ProcessStates.STOPPED:
        return not config.autostart and not process.laststart
    if process in must_say_so or plugin.key(process) in plugin.notes:
        note = plugin.note(process)
        up = state in (ProcessStates.STARTING, ProcessStates.RUNNING)
        return bool(up and note and note.ready_at is not None and not note.stopping)
    return bool(state == ProcessStates.RUNNING)


def _is_starting(plugin: Plugin, process: Any) -> bool:
    note = plugin.note(process)
    up = process.state in (ProcessStates.STARTING, ProcessStates.RUNNING)
    return up and not (note and note.stopping)


def resident(pid: int) -> int | None:
    """Bytes of memory that a process holds, where /proc tells them."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return None


def _starting_seconds(plugin: Plugin, process: Any) -> float:
    """Without the time in which another has held it up."""
    seconds: float = time.time() - process.laststart
    if note := plugin.note(process):
        seconds = min(seconds, time.monotonic() - note.held_up_until)
    return max(0.0, seconds)


def _resources(pid: int) -> dict[str, float]:
    """Resident bytes and seconds of CPU time, where /proc tells them."""
    memory = resident(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return {}
    # The memory as a float, since an XML-RPC integer has 32 bits only.
    cpu = (int(fields[11]) + int(fields[12])) / TICK
    return {"cpu": cpu} | ({} if memory is None else {"memory": float(memory)})
