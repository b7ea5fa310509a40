"""Where app listens: on the socket that it inherits, else on HOST and PORT."""

import errno
import logging
import os
import socket
import stat
import sys
from typing import Any

from uvicorn.config import STARTUP_FAILURE

from .process import read_nothing

logger = logging.getLogger(__name__)

BACKLOG = 2048
"""uvicorn's own."""


def listeners(host: str, port: int, backlog: int, prefix: str = "") -> list[socket.socket]:
    """The listening socket at descriptor 0 where there is one, else those of `host`:`port`.

    Exits with status 3, uvicorn's own for this, if the address cannot be had. The settings that
    name the address are HOST and PORT, after `prefix`.
    """
    if inherited := inherited_socket():
        if not prefix:
            _tell_what_is_not_read(inherited, host, port)
        return [inherited]
    try:
        return _bind(host, port, backlog)
    except OSError as error:
        hint = (
            f"another program listens there: stop it, or set {prefix}PORT"
            if error.errno == errno.EADDRINUSE
            else f"set {prefix}HOST and {prefix}PORT to an address that this machine may use"
        )
        logger.error("cannot listen on %s:%s: %s; %s", host, port, error.strerror, hint)
        sys.exit(STARTUP_FAILURE)


def inherited_socket() -> socket.socket | None:
    """The listening socket at descriptor 0, as `[fcgi-program]` and inetd hand it down.

    A copy with its real family and protocol: uvicorn's own `--fd` takes any socket for a Unix
    one, so the event loop leaves out TCP_NODELAY and keep-alive answers wait 40 ms each.
    Descriptor 0 becomes /dev/null: what the application starts would read from the socket.
    """
    if not stat.S_ISSOCK(os.fstat(0).st_mode):
        return None
    listener = socket.socket(fileno=os.dup(0))
    listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not listening:
        listener.close()
        return None
    read_nothing()
    return listener


def backlog() -> int:
    """How many connections may wait: what supervisord's file says of the socket, or BACKLOG.

    Event loops listen again on a socket that they are given, so that it has to be known.
    """
    told = os.environ.get("LISTEN_BACKLOG", "")
    return int(told) if told.isdecimal() else BACKLOG


def _tell_what_is_not_read(given: socket.socket, host: str, port: int) -> None:
    where = given.getsockname()
    actual = where[:2] if isinstance(where, tuple) else (None, None)
    asked = {"HOST": (host, actual[0]), "PORT": (port, actual[1])}
    different = [name for name, (mine, its) in asked.items() if name in os.environ and mine != its]
    if different:
        logger.warning(
            "%s not read: app serves on the socket that it was given, %s; under supervisord the"
            " address is `socket` of [fcgi-program:app] in supervisord.conf",
            " and ".join(different),
            where,
        )


def _bind(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Every address that `host` stands for; `::` is all of the machine's, IPv4 too."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    missing = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, _, proto, _, where in dict.fromkeys(found):
        try:
            bound.append(_listener(family, proto, where, backlog))
        except OSError as error:
            # "localhost" may have an IPv6 address where the machine has none.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
            missing = error
    if not bound:
        raise missing
    return bound


def _listener(family: int, proto: int, where: Any, backlog: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, where[0] != "::")
        listener.bind(where)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def address(listener: socket.socket, scheme: str) -> str:
    """What a person would call it: http://127.0.0.1:5000, or unix:/run/app.sock."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{scheme}://{host}:{name[1]}"
