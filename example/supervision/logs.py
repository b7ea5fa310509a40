"""All output in one stream: `worker_00 | a line`, on supervisord's stdout.

A program's output arrives if its section has `stdout_events_enabled=true` or
`stderr_events_enabled=true`. Nothing here waits for the reader; see writer.py. If lines had to be
dropped, their number is logged.
"""

import io
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from supervisor import events
from supervisor.loggers import StreamHandler
from supervisor.states import STOPPED_STATES, ProcessStates, SupervisorStates

from . import own_stdout
from .guard import Function
from .plugin import Plugin
from .writer import LIMIT, Writer

LONGEST_LINE = 64 * 1024
"""Bytes. A longer line is written before its end has come."""
COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


def install(plugin: Plugin, _: object) -> None:
    """Take over supervisord's stdout, unless it runs as a daemon or is told to be silent."""
    if not plugin.options.nodaemon or plugin.options.silent or not sys.__stdout__:
        return
    before, sys.stdout = sys.stdout, sys.__stdout__
    stream = Stream(plugin, sys.stdout.fileno())
    stream.take_own_lines(before)
    own_stdout.take_over(plugin)
    plugin.subscribe(events.ProcessLogEvent, stream.on_output)
    plugin.subscribe(events.ProcessStateEvent, stream.on_state)
    writer = stream.writer
    plugin.watch(writer.open(), write=stream.lines.push, wants_write=writer.wants)
    plugin.at_close(stream.on_close)


class Stream:
    """The one stream of a run of supervisord, and the events that put lines into it."""

    def __init__(self, plugin: Plugin, target: int) -> None:
        self._plugin = plugin
        self.writer = Writer(target, self._on_break)
        self.lines = Lines(self.writer, style())

    def take_own_lines(self, before: object) -> None:
        """Send here what supervisord's logger has written to the stream `before`."""
        handlers = self._plugin.options.logger.handlers
        for index, handler in enumerate(handlers):
            if getattr(handler, "stream", None) is before:
                handlers[index] = OwnHandler(self.lines, handler.level, self._plugin.guard)

    def on_output(self, event: Any) -> None:
        """Write what a program has written."""
        process = event.process
        data = event.data if isinstance(event.data, bytes) else event.data.encode()
        self.lines.feed(process.group.config.name, process.config.name, event.channel, data)

    def on_state(self, event: Any) -> None:
        """Write the rest of what a process that has ended has written."""
        process = event.process
        if process.state in (*STOPPED_STATES, ProcessStates.BACKOFF):
            self.lines.end(process.group.config.name, process.config.name)

    def on_close(self) -> None:
        """Write what waits, and leave stdout fit for what comes: a reload, or the exit."""
        self.writer.flush_at_exit()
        _forget_dead_readers()
        if self._plugin.options.mood == SupervisorStates.RESTARTING:
            sys.stdout = BetweenRuns()
        if dropped := self.writer.dropped:
            self._warn(f"stdout: dropped {dropped} lines, nobody read them")

    def _on_break(self, why: str) -> None:
        self._warn(f"stdout: {why}: nobody reads it any more, all else goes on")

    def _warn(self, text: str) -> None:
        self._plugin.options.logger.warn(text)


class Lines:
    """Joins the pieces that programs write into lines, and adds the program's name."""

    def __init__(self, writer: Writer, style: Literal["plain", "colour", "json"]):
        self.writer = writer
        self.style = style
        self.rest: dict[tuple[str, str, str], bytes] = {}
        self.colour: dict[str, int] = {}
        self.told = 0

    def feed(self, group: str, name: str, channel: str, data: bytes) -> None:
        """Write the lines that `data` completes."""
        key = group, name, channel
        *lines, rest = (self.rest.pop(key, b"") + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            lines.append(rest)
            rest = b""
        if rest:
            self.rest[key] = rest
        for line in lines:
            self.line(name, line)
        self.push()

    def end(self, group: str, name: str) -> None:
        """Write what an ended program has left without a line end."""
        for channel in ("stdout", "stderr"):
            if rest := self.rest.pop((group, name, channel), b""):
                self.line(name, rest)
        self.push()

    def line(self, name: str, line: bytes, **more: str) -> None:
        """Write one line of the program `name`; `more` is for readers of JSON."""
        self._tell_what_was_dropped()
        line = line.rstrip(b"\r")
        if self.style == "json":
            entry = {"program": name, **(_object(line) or _entry(line)), **more}
            self.writer.put(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
            return
        prefix = f"{name} |"
        if self.style == "colour":
            colour = self.colour.setdefault(name, COLOURS[len(self.colour) % len(COLOURS)])
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        self.writer.put(prefix.encode() + b" " + line + b"\n")

    def push(self) -> None:
        """Write what the reader takes now."""
        self.writer.push()
        self._tell_what_was_dropped()

    def _tell_what_was_dropped(self) -> None:
        lost = self.writer.dropped - self.told
        if lost and self.writer.size < LIMIT // 2:
            self.told = self.writer.dropped
            self.line("supervisord", b"dropped %d lines: nobody read them in time" % lost)


def _entry(line: bytes) -> dict[str, object]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"time": now, "message": line.decode(errors="replace")}


def _object(line: bytes) -> dict[str, object] | None:
    """The object that a line holds if its program logs in JSON itself, or None."""
    if not line.startswith(b"{"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


class OwnHandler(StreamHandler):  # type: ignore[misc]  # supervisor has no types
    """Sends supervisord's own lines to the same stream."""

    def __init__(self, lines: Lines, level: int, guard: Callable[[Function], Function]):
        super().__init__(lines)
        self.lines = lines
        self.level = level
        self.emit = guard(self.write)

    def write(self, record: Any) -> None:
        entry = record.asdict()
        for line in entry["message"].rstrip("\n").split("\n"):
            if self.lines.style == "json":
                self.lines.line("supervisord", line.encode(), level=entry["levelname"])
            else:
                said = f"{entry['asctime']} {entry['levelname']} {line}"
                self.lines.line("supervisord", said.encode())
        self.lines.push()

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class BetweenRuns(io.TextIOBase):
    """supervisord's stdout during a reload. Text that the reader does not take at once is lost."""

    def write(self, text: str) -> int:
        writer = Writer(sys.__stdout__.fileno())  # type: ignore[union-attr]
        fd = writer.open()
        writer.put(text.encode())
        writer.push()
        os.close(fd)
        return len(text)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def style() -> Literal["plain", "colour", "json"]:
    """What LOG_FORMAT, NO_COLOR and the kind of stdout ask for."""
    if os.environ.get("LOG_FORMAT", "").lower() == "json":
        return "json"
    return "colour" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else "plain"


def _forget_dead_readers() -> None:
    """Replace streams that cannot be flushed: at exit Python would turn our status into 120."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except OSError:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  Python closes it
