"""Each end that nobody has asked for, in a file that outlives supervisord: `supervisorctl history`.

A line of JSON for each, with what the process wrote last; and one for each start of supervisord.
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
"""So many lines are in the file at the most; then the older half goes."""
LAST_LINES = 6
LONGEST_LINE = 300
TAIL_BYTES = 8192
Record = dict[str, Any]


def file(text: str) -> Path | None:
    """A file, from the folder of supervisord.conf on; or None for `off`."""
    return None if text.lower() in OFF else Path(text)


def install(plugin: Plugin, name: Path) -> None:
    path = Path(plugin.options.here) / name
    if not os.access(path.parent, os.W_OK | os.X_OK):
        plugin.options.logger.warn(f"history: no folder {path.parent} that we may use; left off")
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600))
    except OSError as error:  # another user's, say
        plugin.options.logger.warn(f"history: {error}; left off")
        return

    def history(_: object) -> list[Record]:
        """Tell of each end that nobody has asked for, the oldest first.

        @return array result  A struct for each: name, group, program, at, status, why, ran, lines;
                              the first five of `supervisord` itself when it started
        """
        return read(path)

    def on_start(_: object) -> None:
        us = dict.fromkeys(("name", "group", "program"), "supervisord")
        add(path, {**us, "at": time.time(), "status": "started"})

    def on_end(event: Any) -> None:
        process = event.process
        last = plugin.exits.get(plugin.key(process))
        if last and process.pid == last.pid and not _was_asked_for(event, last):
            add(path, _record(plugin, process, last))

    plugin.around(POutputDispatcher, "_log", _keep_tail)
    plugin.subscribe(SupervisorRunningEvent, on_start)
    for kind in (ProcessStateExitedEvent, ProcessStateBackoffEvent, ProcessStateStoppedEvent):
        plugin.subscribe(kind, on_end)
    plugin.methods["history"] = history


def _was_asked_for(event: Any, last: Exit) -> bool:
    """Also who ends as its file expects; but neither who is restarted then, nor who had to be
    killed in the end."""
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
    """Keep what a process has written last. Its log file may hold another's lines too: those of the
    one before, or of the one that it is to replace."""
    channel.tail = (getattr(channel, "tail", b"") + data)[-TAIL_BYTES:]
    original(channel, data)


def _last_lines(process: Any) -> list[str]:
    """What it has written last, to stderr where that is apart."""
    tails = {
        channel.channel: channel.tail
        for channel in process.dispatchers.values()
        if hasattr(channel, "tail")
    }
    text = (tails.get("stderr") or tails.get("stdout") or b"").decode(errors="replace")
    lines = [line.rstrip() for line in text.splitlines() if line.strip()][-LAST_LINES:]
    # Without what a terminal would obey.
    return ["".join(c if c.isprintable() else " " for c in line[:LONGEST_LINE]) for line in lines]


def read(path: Path) -> list[Record]:
    """What the file holds. A line that a fault has cut is left out."""
    records = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def add(path: Path, record: Record) -> None:
    """Write one more line, which only our own user can read: it may hold anything."""
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
