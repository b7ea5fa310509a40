"""Programs report their state: the receiving side of sd_notify (Linux).

Protocol: sd_notify(3). Understood are READY=1, STATUS=, WATCHDOG=1, STOPPING=1,
EXTEND_TIMEOUT_USEC=, and three of our own: X_STOP_SECONDS= says how long the program may take to
stop, X_END= why it ends by itself, as it was set up to, and X_COUNT_name= is a number for metrics.
The kernel tells which process sent a message. Messages count only from processes that supervisord
itself has started.
"""

import contextlib
import os
import secrets
import socket
import struct
import sys
import time
from typing import Any

from .plugin import Note, Plugin
from .values import seconds

CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
# There is room for the credentials only, so the kernel drops file descriptors in a message.
ANCILLARY = socket.CMSG_SPACE(CREDENTIALS.size)
LONGEST_STATUS = 200
COUNT = "X_COUNT_"
MOST_COUNTS = 20
MOST_AT_ONCE = 100
"""Messages in one turn: a sender that floods us must not hold up supervisord's loop."""


def install(plugin: Plugin, _: object) -> None:
    if sys.platform != "linux":
        plugin.options.logger.warn("notify: needs Linux, left off")
        return
    owner = os.geteuid()
    private = _open_private(plugin)
    public = "" if private and owner else _open_public(plugin)

    def before_exec(_filename: str, _argv: list[str], env: dict[str, str]) -> None:
        # This runs in the child, which has already become the program's `user`. Were the variable
        # in the configuration, supervisord would conclude that the program has changed.
        env["NOTIFY_SOCKET"] = private if private and os.geteuid() == owner else public

    plugin.before(plugin.options, "execve", before_exec)


def _open_private(plugin: Plugin) -> str:
    """Open a socket beside the control socket, for our own user only. Returns its path, or ""."""
    servers = plugin.options.server_configs
    files = [server["file"] for server in servers if server["family"] == socket.AF_UNIX]
    if not files:
        return ""
    path = f"{files[0]}.notify"
    inbox = _inbox()
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        inbox.bind(path)
        os.chmod(path, 0o600)
    except OSError as error:
        inbox.close()
        plugin.options.logger.warn(f"notify: {path}: {error}; using one that all may send to")
        return ""
    plugin.at_close(lambda: os.unlink(path))
    _listen(plugin, inbox)
    return path


def _open_public(plugin: Plugin) -> str:
    """Open a socket for programs of other users, which may not open ours. Any user may fill it."""
    # An abstract name needs no file, and ends with supervisord.
    name = f"supervisord-{os.getpid()}-{secrets.token_hex(8)}"
    inbox = _inbox()
    inbox.bind(f"\0{name}")
    _listen(plugin, inbox)
    return f"@{name}"


def _inbox() -> socket.socket:
    inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    inbox.setblocking(False)
    inbox.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return inbox


def _listen(plugin: Plugin, inbox: socket.socket) -> None:
    def on_read() -> None:
        for _ in range(MOST_AT_ONCE):
            try:
                data, ancillary, _, _ = inbox.recvmsg(4096, ANCILLARY)
            except BlockingIOError:
                return
            if process := plugin.options.pidhistory.get(_sender(ancillary)):
                _take_note(plugin, process, data.decode(errors="replace"))

    plugin.watch(inbox.fileno(), read=on_read)
    # `watch` closes the descriptor.
    plugin.at_close(inbox.detach)


def _sender(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            return int(CREDENTIALS.unpack(data)[0])
    return 0


def _take_note(plugin: Plugin, process: Any, message: str) -> None:
    key = plugin.key(process)
    note = plugin.notes.get(key)
    if note is None or note.pid != process.pid:
        note = plugin.notes[key] = Note(process.pid)
    for line in message.splitlines():
        name, _, value = line.partition("=")
        if name == "STATUS":
            note.status = _shown(value)
        elif name == "X_END":
            note.end = _shown(value)
        elif line == "READY=1" and note.ready_at is None:
            note.ready_at = time.monotonic()
            plugin.options.logger.info(f"ready: {process.config.name}")
        elif line == "WATCHDOG=1":
            note.heard_at = time.monotonic()
        elif line == "STOPPING=1":
            note.stopping = True
        elif name == "X_STOP_SECONDS":
            with contextlib.suppress(ValueError):
                note.stop_seconds = seconds(value)
        elif name == "EXTEND_TIMEOUT_USEC" and value.isdecimal():
            note.held_up_until = time.monotonic() + int(value) / 1e6
        elif name.startswith(COUNT) and name.isidentifier():
            _count(note, name.removeprefix(COUNT).lower(), value)


def _count(note: Note, name: str, value: str) -> None:
    if name in note.counts or len(note.counts) < MOST_COUNTS:
        with contextlib.suppress(ValueError):
            note.counts[name] = float(value)


def _shown(text: str) -> str:
    """Without what a terminal would obey, and not too long."""
    return "".join(filter(str.isprintable, text))[:LONGEST_STATUS]
