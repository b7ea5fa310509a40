"""Slow clients: how long one may take, and how many connections there may be.

Connections are checked once a second, so a request that arrives normally costs nothing. Their state
is read from uvicorn's own protocols for HTTP/1.1, `httptools` and `h11`.
"""

import asyncio
import contextlib
import fcntl
import heapq
import logging
import math
import resource
import struct
import termios
from typing import Any

logger = logging.getLogger(__name__)

HEADERS, BODY, READER, APPLICATION, NOTHING = "headers", "body", "reader", "application", "nothing"
"""What a connection waits for."""

SECONDS = {HEADERS: 20.0, READER: 60.0}
"""How long it may wait: for the end of a request's headers; for a client that does not read."""
BODY_SECONDS = 30.0
BODY_RATE = 500
"""A connection is closed if its body brings fewer bytes a second than this for BODY_SECONDS."""
SHARE = 0.75
"""Connections may take this share of the process's descriptors: the application needs some too."""
TELL_SECONDS = 60.0
"""A warning that would repeat is logged once in this time."""

HEADERS_SIZE = 65536
"""Bytes of one request's headers. uvicorn bounds them with `h11`, but not with `httptools`."""
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n"
    b"connection: close\r\n\r\n"
)
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n"
    b"connection: close\r\n\r\n"
)


class Limits:
    """The bounds for the HTTP connections of one server; `connections` is uvicorn's set of all."""

    def __init__(self, connections: set[Any]) -> None:
        self._connections = connections
        self._slow = 0
        self._told: dict[str, float] = {}

    def over(self, protocol: type[Any]) -> type[Any]:
        """uvicorn's HTTP `protocol`, within these limits."""
        limits, receive = self, protocol.data_received

        class Limited(protocol):  # type: ignore[misc]
            def connection_made(self, transport: asyncio.Transport) -> None:
                self.mark: object = (HEADERS, None, 0)
                self.since = self.loop.time()
                self.arrived = self.without_body = 0
                if limits.admits(self.since):
                    super().connection_made(transport)
                else:
                    self.transport = transport
                    transport.write(BUSY)
                    transport.close()

            def data_received(self, data: bytes) -> None:
                receive(self, data)
                cycle = self.cycle
                # A request that has come at once, and whole, is to cost as little as can be.
                if (
                    cycle is None
                    or cycle.more_body
                    or cycle.response_complete
                    or cycle.scope is not self.scope
                ):
                    self.came_in_part(len(data))
                else:
                    self.without_body = 0

            def came_in_part(self, size: int) -> None:
                self.arrived += size
                self.without_body = 0 if self.without_body < 0 else self.without_body + size
                if self.without_body > HEADERS_SIZE and hasattr(self, "parser"):
                    _refuse(self)
                else:
                    _keep(self)

            def on_body(self, body: bytes) -> None:
                """`httptools` has some; `h11` bounds headers and trailers by itself."""
                self.without_body = -1
                super().on_body(body)

        return Limited

    def admits(self, now: float) -> bool:
        """Whether one more connection may come at `now`, by loop.time(); may close slow ones."""
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = int(descriptors * SHARE)
        if descriptors == resource.RLIM_INFINITY or len(self._connections) < most:
            return True
        room = self._make_room(now)
        what = "the slowest are closed" if room else "new ones are refused"
        self._tell(now, what, f"{most} connections, the most for {descriptors} descriptors: {what}")
        return room

    def sweep(self, now: float) -> None:
        """Close what is too slow at `now`, by loop.time(). To be called once a second."""
        slow = [each for each in self._limited() if _is_slow(each, now)]
        for connection in slow:
            self._close(connection)
        self._slow += len(slow)
        if self._slow and self._tell(now, "", f"closed {self._slow} connections: too slow"):
            self._slow = 0

    def _make_room(self, now: float) -> bool:
        """Close a twentieth of the connections that can best be spared; False if none can."""
        spare: dict[str, list[Any]] = {HEADERS: [], NOTHING: [], BODY: []}
        for connection in self._limited():
            waits, age = _waits_for(connection), quiet_seconds(connection, now)
            if waits != BODY or age > 1 > connection.arrived / age / BODY_RATE:
                spare.get(waits, []).append(connection)
        found = next(filter(None, spare.values()), [])
        most = 1 + len(found) // 20
        for connection in heapq.nlargest(most, found, key=lambda each: quiet_seconds(each, now)):
            self._close(connection)
        return bool(found)

    def _limited(self) -> list[Any]:
        """The HTTP connections, without those that have become WebSockets."""
        return [each for each in self._connections if hasattr(each, "arrived")]

    def _close(self, connection: Any) -> None:
        connection.transport.abort()
        # uvicorn removes it later. Until then it would count, and more would be closed than needed.
        self._connections.discard(connection)

    def _tell(self, now: float, kind: str, what: str) -> bool:
        if now - self._told.get(kind, -TELL_SECONDS) < TELL_SECONDS:
            return False
        self._told[kind] = now
        logger.warning("%s", what)
        return True


def _has_begun(connection: Any) -> bool:
    """Whether a request's headers have begun to come, and not ended."""
    if hasattr(connection, "parser"):
        # `httptools` makes a scope as a request begins, and the cycle with it as its headers end.
        scope, cycle = connection.scope, connection.cycle
        return scope is not None and (cycle is None or cycle.scope is not scope)
    return bool(connection.conn.trailing_data[0])


def _refuse(connection: Any) -> None:
    """Close a connection with too large headers or trailers, with an answer unless one was sent."""
    answered = connection.cycle is None or connection.cycle.response_complete
    if answered and _has_begun(connection) and not connection.transport.is_closing():
        connection.transport.write(TOO_LARGE)
    connection.transport.close()


def _keep(connection: Any) -> None:
    """Restart the keep-alive timer, which uvicorn stops if a body comes after its answer."""
    if (
        connection.cycle
        and connection.cycle.response_complete
        and not connection.timeout_keep_alive_task
        and not _has_begun(connection)
        # If it is not there, it has become a WebSocket.
        and connection in connection.connections
    ):
        connection.timeout_keep_alive_task = connection.loop.call_later(
            connection.timeout_keep_alive, connection.timeout_keep_alive_handler
        )


def quiet_seconds(connection: Any, now: float) -> float:
    """How long it has waited for what it waits for now; 0 for a WebSocket."""
    if not hasattr(connection, "arrived"):
        return 0.0
    if kept := connection.timeout_keep_alive_task:
        return float(now - kept.when() + connection.timeout_keep_alive)
    same = connection.mark[:2] == (_waits_for(connection), connection.cycle)
    return float(now - connection.since) if same else 0.0


def _waits_for(connection: Any) -> str:
    cycle = connection.cycle
    if connection.transport.is_closing() or connection.flow.write_paused:
        return READER
    if connection.timeout_keep_alive_task:
        return NOTHING
    if cycle is None or cycle.response_complete:
        return HEADERS
    # The client may wait for "100 Continue", or for an application that does not read.
    held_up = cycle.waiting_for_100_continue or connection.flow.read_paused
    return BODY if cycle.more_body and not held_up else APPLICATION


def _is_slow(connection: Any, now: float) -> bool:
    waits = _waits_for(connection)
    unread = _unread(connection.transport) if waits == READER else 0
    mark = (waits, connection.cycle, unread)
    if mark != connection.mark:
        connection.mark, connection.since, connection.arrived = mark, now, 0
    age = now - connection.since
    if waits == BODY and age >= BODY_SECONDS:
        connection.since = now
        arrived, connection.arrived = connection.arrived, 0
        return bool(arrived < BODY_RATE * BODY_SECONDS)
    return bool(age >= SECONDS.get(waits, math.inf))


def _unread(transport: asyncio.Transport) -> int:
    """Bytes that the client has not taken: this process's, and on Linux the kernel's too.

    The kernel takes more only once a third of its own is gone: a slow reader may need minutes.
    """
    held = bytes(4)
    with contextlib.suppress(OSError, ValueError):
        # SIOCOUTQ by another name: see tcp(7).
        held = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, held)
    return transport.get_write_buffer_size() + int(struct.unpack("i", held)[0])
