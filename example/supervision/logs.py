"""All output in one stream: `worker_00 | a line`, on supervisord's stdout.

If the reader of that stream stops reading, supervisord must not freeze, so nothing here waits.
Up to LIMIT bytes are kept for the reader; further lines are dropped, and their number is logged.
A program's output arrives if its section has `stdout_events_enabled=true` or
`stderr_events_enabled=true`.
"""

import errno
import io
import json
import os
import select
import socket
import stat
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from supervisor import events
from supervisor.loggers import StreamHandler
from supervisor.states import STOPPED_STATES, ProcessStates, SupervisorStates

from . import own_stdout
from .guard import Function
from .plugin import Plugin

LIMIT = 16 * 1024 * 1024
"""Bytes that wait for a slow reader."""
BLOCK = 4096
"""A pipe that poll() calls writable takes so many bytes without blocking."""
LONGEST_LINE = 64 * 1024
"""Bytes. A longer line is written before its end has come."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors of a full disk, and of a file that may not grow."""
FULL_SECONDS = 1.0
"""How long to wait before writing to it again."""
FLUSH_SECONDS = 1.0
"""How long the exit waits for a slow reader."""
COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Writer:
    """Writes bytes to a descriptor and never waits. Takes the place of supervisord's `sys.stdout`.

    When the reader has gone, `on_break(why)` is called once, and later lines are thrown away.
    """

    def __init__(self, target: int, on_break: Callable[[str], object] = lambda _: None):
        self.target = target
        self.on_break = on_break
        self.fd = -1
        self.waiting: deque[bytearray] = deque()
        self.size = 0
        self.dropped = 0
        self.broken = False
        self.full_until = 0.0

    def open(self) -> int:
        """Open a descriptor of our own for the target.

        O_NONBLOCK on the target itself would also change it for the shell, which shares it.
        """
        kind = os.fstat(self.target).st_mode
        self.socket = stat.S_ISSOCK(kind)
        try:
            if not (stat.S_ISFIFO(kind) or stat.S_ISCHR(kind)):
                raise OSError("neither pipe nor terminal")
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            self.fd = os.open(f"/proc/self/fd/{self.target}", flags)
        except OSError:  # such as a pipe of another user: it cannot be opened by name
            self.fd = os.dup(self.target)
        return self.fd

    def put(self, line: bytes) -> None:
        """Keep `line` for the reader, or count it as dropped."""
        if self.broken:
            return
        if self.size + len(line) > LIMIT:
            self.dropped += 1
            return
        # An object for each short line would take many times the bytes of the line.
        if self.waiting and len(self.waiting[-1]) + len(line) <= BLOCK:
            self.waiting[-1] += line
        else:
            self.waiting.append(bytearray(line))
        self.size += len(line)

    def wants(self) -> bool:
        """Whether there is something to write, and may be room for it."""
        return bool(self.waiting) and time.monotonic() >= self.full_until

    def push(self) -> None:
        """Write what the reader takes now."""
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        while self.wants() and self.fd >= 0 and poll.poll(0):
            block = self.waiting[0]
            piece = block[:BLOCK]
            try:
                done = self._write(piece)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in FULL:
                    # There may be room later. Until then wait: poll() calls any file writable.
                    self.full_until = time.monotonic() + FULL_SECONDS
                    return
                self.waiting.clear()
                self.size = 0
                self.broken = True
                self.on_break(str(error.strerror))
                return
            del block[:done]
            self.size -= done
            if not block:
                self.waiting.popleft()
            if done < len(piece):
                return

    def _write(self, piece: bytearray) -> int:
        if not self.socket:
            return os.write(self.fd, piece)
        with socket.socket(fileno=os.dup(self.fd)) as peer:
            return peer.send(piece, socket.MSG_DONTWAIT)

    def flush_at_exit(self) -> None:
        """Give the reader FLUSH_SECONDS to take what waits."""
        end = time.monotonic() + FLUSH_SECONDS
        while self.waiting and not self.broken and time.monotonic() < end:
            self.push()
            time.sleep(0.01)
        self.dropped += sum(block.count(b"\n") for block in self.waiting)


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


def install(plugin: Plugin, _: object) -> None:
    """Take over supervisord's stdout, unless it runs as a daemon or is told to be silent."""
    if not plugin.options.nodaemon or plugin.options.silent or not sys.__stdout__:
        return
    before, sys.stdout = sys.stdout, sys.__stdout__

    def on_break(why: str) -> None:
        plugin.options.logger.warn(f"stdout: {why}: nobody reads it any more, all else goes on")

    writer = Writer(sys.stdout.fileno(), on_break)
    lines = Lines(writer, style())

    for index, handler in enumerate(plugin.options.logger.handlers):
        if getattr(handler, "stream", None) is before:
            own = OwnHandler(lines, handler.level, plugin.guard)
            plugin.options.logger.handlers[index] = own

    own_stdout.take_over(plugin)

    def on_output(event: Any) -> None:
        process = event.process
        data = event.data if isinstance(event.data, bytes) else event.data.encode()
        lines.feed(process.group.config.name, process.config.name, event.channel, data)

    def on_state(event: Any) -> None:
        if event.process.state in (*STOPPED_STATES, ProcessStates.BACKOFF):
            lines.end(event.process.group.config.name, event.process.config.name)

    def on_close() -> None:
        writer.flush_at_exit()
        _forget_dead_readers()
        if plugin.options.mood == SupervisorStates.RESTARTING:
            sys.stdout = BetweenRuns()
        if writer.dropped:
            plugin.options.logger.warn(f"stdout: dropped {writer.dropped} lines, nobody read them")

    plugin.subscribe(events.ProcessLogEvent, on_output)
    plugin.subscribe(events.ProcessStateEvent, on_state)
    plugin.watch(writer.open(), write=lines.push, wants_write=writer.wants)
    plugin.at_close(on_close)
