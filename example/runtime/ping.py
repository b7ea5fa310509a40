"""Who listens at an address: nobody, a Redis, or something else. Needs no Redis client."""

import contextlib
import re
import socket

_SECONDS = 1.0


def ping(host: str, port: int) -> bytes | None:
    """Send PING to `host`:`port`, and return the first line that comes back.

    b"" if none comes within a second, None if nobody listens.
    """
    try:
        connection = socket.create_connection((host, port), timeout=_SECONDS)
    except TimeoutError:
        return b""
    except OSError:
        return None
    with connection, contextlib.suppress(OSError):
        # An inline command: a server of another protocol answers a line rather than an array.
        connection.sendall(b"PING\r\n")
        return connection.recv(100).partition(b"\n")[0].rstrip()
    return b""


def is_redis(answer: bytes) -> bool:
    """Whether Redis answers like that: with PONG, or with an error such as -NOAUTH or -LOADING."""
    return re.match(rb"\+PONG$|-[A-Z]+ ", answer) is not None
