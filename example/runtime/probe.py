"""example-health: the health of everything that this machine's supervisord runs.

For a container's HEALTHCHECK, or a monitor. It asks supervisord on its control socket, and app
by HTTP; Redis has no part in it, so that its absence restarts nothing.
"""

import http.client
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from xmlrpc.client import Fault, ProtocolError

from supervisor.options import ClientOptions

APP_SECONDS = 2.0
SUPERVISORD_SECONDS = 2.0
"""For each step of its answer: its loop takes up to a second for a turn."""
SILENT_SECONDS = 60.0
"""Twice the watchdog's patience: it has had its chance to replace what hangs."""


def faults(port: int, silent_seconds: float = SILENT_SECONDS) -> Iterator[str]:
    """A line for each thing that is wrong; none when all is well.

    The programs are those in the supervisord.conf that supervisorctl would find. Each must run,
    and those that beat for the watchdog must still do so; where app runs, it must answer /livez on
    the socket that supervisord holds for it, else on `port`. What was stopped by hand, or is
    starting, is not wrong.
    """
    try:
        rows = _rows()
    except Fault as error:
        yield f"supervisord does not tell: {error.faultString}; is the part `ready` off?"
        return
    except (OSError, http.client.HTTPException, ProtocolError) as error:
        yield f"supervisord does not answer: {str(error).strip()}"
        return
    for row in rows:
        ended = row["state"] == "EXITED" and not row["ready"]
        if ended or row["state"] in ("BACKOFF", "FATAL", "UNKNOWN"):
            yield f"{row['name']} is {row['state']}, last exit: {row.get('last_exit', 'unknown')}"
        elif row.get("silent_seconds", 0.0) > silent_seconds:
            yield f"{row['name']} has been silent for {row['silent_seconds']:.0f} s"
    apps = [row for row in rows if row["group"] == "app" and row["state"] == "RUNNING"]
    for where in {row.get("socket", f"tcp://127.0.0.1:{port}") for row in apps}:
        if not _app_lives(where):
            yield f"app does not answer /livez at {where}"


def _rows() -> list[dict[str, Any]]:
    options = ClientOptions()
    options.realize([])
    before = socket.getdefaulttimeout()
    # supervisor's client takes no other.
    socket.setdefaulttimeout(SUPERVISORD_SECONDS)
    try:
        rows: list[dict[str, Any]] = options.getServerProxy().supervision.ready()
    finally:
        socket.setdefaulttimeout(before)
    return rows


def _app_lives(where: str) -> bool:
    url = urlsplit(where)
    unix = url.scheme == "unix"
    connection = http.client.HTTPConnection("127.0.0.1")
    # supervisord listens on these two kinds only.
    connection.sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
    connection.sock.settimeout(APP_SECONDS)
    try:
        connection.sock.connect(url.path if unix else (url.hostname, url.port))
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
