"""Writes bytes to supervisord's stdout without ever waiting for whoever reads it.

If the reader stops reading, supervisord must not freeze. Up to LIMIT bytes are kept for the reader;
further lines are dropped and counted.
"""

import errno
import os
import select
import socket
import stat
import time
from collections import deque
from collections.abc import Callable

LIMIT = 16 * 1024 * 1024
"""Bytes that wait for a slow reader."""
BLOCK = 4096
"""A pipe that poll() calls writable takes so many bytes without blocking."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors of a full disk, and of a file that may not grow."""
FULL_SECONDS = 1.0
"""How long to wait before writing to it again."""
FLUSH_SECONDS = 1.0
"""How long the exit waits for a slow reader."""


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
