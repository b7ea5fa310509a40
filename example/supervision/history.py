"""Unexpected exits of processes, in a file that outlives supervisord: `supervisorctl history`.

The file has a line of JSON for each exit, with the last lines that the process wrote, and one for
each start of supervisord.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.datatypes import RestartUnconditionally
from supervisor.dispatchers import POutputDispatcher
from supervisor.events import (
    ProcessStateBackoffEvent,
    ProcessStateExitedEvent,
    ProcessStateStoppedEvent,
    SupervisorRunningEvent,
)
from supervisor.options import decode_wait_status
from supervisor.states import ProcessStates

from .plugin import Exit, Plugin
from .values import OFF

MOST = 200
"""Lines in the file at most. The line after that removes the older half."""
LAST_LINES = 12
LONGEST_LINE = 300
TAIL_BYTES = 8192
Record = dict[str, Any]


def file(text: str) -> Path | None:
    """A path relative to the folder of supervisord.conf, or None for `off`."""
    return None if text.lower() in OFF else Path(text)


def install(plugin: Plugin, name: Path) -> None:
    path = Path(plugin.options.here) / name
    if trouble := _why_not_writable(path):
        plugin.options.logger.warn(f"history: {trouble}; left off")
        return
    history = History(plugin, path)
    plugin.methods["history"] = history.history
    plugin.around(POutputDispatcher, "_log", _keep_tail)
    plugin.subscribe(SupervisorRunningEvent, history.on_start)
    for kind in (ProcessStateExitedEvent, ProcessStateBackoffEvent, ProcessStateStoppedEvent):
        plugin.subscribe(kind, history.on_end)


def _why_not_writable(path: Path) -> str:
    """Why the file cannot be kept at `path`, or ''. Makes the file if it is not there."""
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return f"no folder {path.parent} that is writable"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600))
    except OSError as error:  # the file may be another user's
        return str(error)
    return ""


class History:
    """The method that supervisorctl calls, and what adds records to the file at `path`."""

    def __init__(self, plugin: Plugin, path: Path) -> None:
        self._plugin = plugin
        self._path = path

    def history(self) -> list[Record]:
        """List the unexpected exits, the oldest first.

        @return array result  A struct for each: name, group, program, at, status, why, ran, lines;
                              for a start of supervisord itself, the first five
        """
        return read(self._path)

    def on_start(self, _: object) -> None:
        """Record that supervisord has started."""
        us = dict.fromkeys(("name", "group", "program"), "supervisord")
        add(self._path, {**us, "at": time.time(), "status": "started"})

    def on_end(self, event: Any) -> None:
        """Record the exit of a process, unless it was expected."""
        process = event.process
        last = self._plugin.exits.get(self._plugin.key(process))
        if last and process.pid == last.pid and not _is_expected(event, last):
            add(self._path, _record(self._plugin, process, last))


def _is_expected(event: Any, last: Exit) -> bool:
    """Whether an exit was asked for, or has one of the file's `exitcodes`.

    Three are not expected: a stop that took a SIGKILL, a stop for a fault such as too much memory,
    and an exit after which a program with `autorestart = true` is restarted.
    """
    if last.planned:
        return True
    if isinstance(event, ProcessStateStoppedEvent):
        killed = os.waitstatus_to_exitcode(last.status) == -signal.SIGKILL
        return not killed and last.why == "stopped"
    if isinstance(event, ProcessStateBackoffEvent):
        return bool(event.from_state != ProcessStates.STARTING)
    always = event.process.config.autorestart is RestartUnconditionally
    return bool(event.expected and not always)


def _record(plugin: Plugin, process: Any, last: Exit) -> Record:
    return {
        "name": plugin.key(process),
        "group": process.group.config.name,
        "program": process.config.program,
        "at": last.at,
        "status": decode_wait_status(last.status)[1],
        "why": "killed to stop" if last.why == "stopped" else last.why,
        "ran": max(0.0, last.at - process.laststart),
        "lines": _last_lines(process),
    }


def _keep_tail(original: Callable[..., None], channel: Any, data: bytes) -> None:
    """Keep the end of a process's output. Its log file may also hold lines of the process before
    it, or of the one that replaces it."""
    channel.tail = (getattr(channel, "tail", b"") + data)[-TAIL_BYTES:]
    original(channel, data)


def _last_lines(process: Any) -> list[str]:
    """The last lines that a process wrote: to stderr, if that is apart from stdout."""
    tails = {
        channel.channel: channel.tail
        for channel in process.dispatchers.values()
        if hasattr(channel, "tail")
    }
    text = (tails.get("stderr") or tails.get("stdout") or b"").decode(errors="replace")
    lines = [line.rstrip() for line in text.splitlines() if line.strip()][-LAST_LINES:]
    # A terminal would obey control characters.
    return ["".join(c if c.isprintable() else " " for c in line[:LONGEST_LINE]) for line in lines]


def read(path: Path) -> list[Record]:
    """The records in the file. A line that is cut off, for instance by a full disk, is left out."""
    records = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def add(path: Path, record: Record) -> None:
    """Write one more line. Only our own user may read it: output may hold secrets."""
    line = json.dumps(record) + "\n"
    old = read(path)
    if len(old) < MOST:
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as out:
            out.write(line)
        return
    new = path.with_name(f"{path.name}.new")
    kept = "".join(json.dumps(each) + "\n" for each in old[-MOST // 2 :])
    with open(os.open(new, os.O_WRONLY | os.O_TRUNC | os.O_CREAT, 0o600), "w") as out:
        out.write(kept + line)
    new.replace(path)
