"""The sender's side of sd_notify: tell the service manager how this process does.

Protocol: sd_notify(3). Messages go to the datagram socket that NOTIFY_SOCKET names. Without a
manager, HEALTH_FILE may name a file: each sign of life touches it, for a health check to see.
Without either all of this does nothing.
"""

import contextlib
import os
import socket

HEALTH_SECONDS = 30.0
"""HEALTH_FILE is touched at least this often, and in fact three times as often."""


def notify(message: str) -> None:
    """Send `message`, newline-separated assignments such as READY=1 or STATUS=text.

    Never blocks and never raises: a manager that does not listen must not hurt the program.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        if "WATCHDOG=1" in message and (file := os.environ.get("HEALTH_FILE")):
            with contextlib.suppress(OSError):
                # Whoever looks at it has made it: beside supervisord nobody does.
                os.utime(file)
        return
    if not message:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        out.sendto(message.encode(), address)


def watchdog_seconds() -> float | None:
    """How often the manager wants a WATCHDOG=1 at the least, or None if it does not watch us."""
    if not os.environ.get("NOTIFY_SOCKET") and os.environ.get("HEALTH_FILE"):
        return HEALTH_SECONDS
    pid = os.environ.get("WATCHDOG_PID")
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if (
        not microseconds.isdecimal()
        or int(microseconds) == 0
        or pid not in (None, str(os.getpid()))
    ):
        return None
    return int(microseconds) / 1e6
