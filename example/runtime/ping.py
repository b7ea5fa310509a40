"""Who listens at an address: nobody, a Redis, or something else. Without a Redis client: light."""

import contextlib
import re
import socket

_SECONDS = 1.0


def ping(host: str, port: int) -> bytes | None:
    """The first line that comes back for PING; b"" where none comes; None where nobody listens."""
    try:
        connection = socket.create_connection((host, port), timeout=_SECONDS)
    except TimeoutError:
        return b""
    except OSError:
        return None
    with connection, contextlib.suppress(OSError):
        # As words rather than as an array, so that what is no Redis understands a line, too.
        connection.sendall(b"PING\r\n")
        return connection.recv(100).partition(b"\n")[0].rstrip()
    return b""


def is_redis(answer: bytes) -> bool:
    """Whether `answer` is one of Redis's to PING: PONG, or why not, such as -NOAUTH or -LOADING."""
    return re.match(rb"\+PONG$|-[A-Z]+ ", answer) is not None
