"""The embedded Redis: this process becomes a server as soon as no other serves REDIS_URL."""

import ipaddress
import logging
import os
import signal
import sys
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from . import redis_server
from .data_folder import DataFolder, NoPlaceError
from .lifeline import STOP, die_with_parent
from .notify import notify
from .redis_url import redacted
from .watch import Watch

logger = logging.getLogger(__name__)

NOT_NEEDED = 4
"""Exit status if there is nothing to do. It is not 0, the status of a server that was stopped."""


def become(url: str, directory: str) -> None:
    """Replace this process by a Redis server that listens where `url` points.

    Waits while another server listens there or uses the data in `directory`, which is made if it
    is missing. TERM or INT during the wait ends the process with status 0.

    Exits with NOT_NEEDED if `url` is not redis:// on a loopback address, or if another server
    serves it and this process could not take over. Exits with 2 if there is no server to run, or no
    place for the data.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {*STOP, signal.SIGALRM})
    die_with_parent()
    parts = urlsplit(url)
    if parts.scheme != "redis" or not _is_loopback(parts.hostname or "localhost"):
        logger.info("redis not started: REDIS_URL is elsewhere: %s", redacted(url))
        sys.exit(NOT_NEEDED)
    folder = DataFolder(Path(directory))
    watch = Watch(url, folder)
    try:
        folder.prepare()
        server = redis_server.find(folder.path)
        if watch.wait():
            # During the wait another server may have written the data, or been installed.
            server = redis_server.find(folder.path)
    except (NoPlaceError, redis_server.NoServerError) as error:
        if watch.is_served():
            logger.warning(
                "redis not started: another server answers at %s, and %s", redacted(url), error
            )
            sys.exit(NOT_NEEDED)
        logger.error("%s", error)
        sys.exit(2)
    _execute(server, parts, folder)


def _execute(server: str, url: SplitResult, folder: DataFolder) -> None:
    where = redacted(url.geturl())
    logger.info(
        "redis starting: %s at %s, data in %s (what to do if it cannot load them:"
        " docs/operations.md)",
        *(server, where, folder.path),
    )
    sys.stdout.flush()
    notify(f"READY=1\nSTATUS=serving {where}, data in {folder.path}")
    # On standard input: every user of the machine can read a process's arguments.
    read, write = os.pipe()
    os.write(write, redis_server.configuration(url, folder.path).encode())
    os.close(write)
    os.dup2(read, 0)
    for number in STOP:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*STOP, signal.SIGALRM})
    os.execv(server, [server, "-"])  # noqa: S606


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
