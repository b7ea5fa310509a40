"""Waiting for the turn to serve REDIS_URL: until nobody listens there, nor has the data."""

import errno
import logging
import signal
import socket
import sys
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from .data_folder import DataFolder
from .lifeline import STOP
from .notify import notify
from .ping import is_redis, ping
from .redis_url import redacted

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
STRANGER_SECONDS = 10.0
"""Between two looks at what is no Redis: it may log each."""
FREE_SECONDS = 5.0
"""Who served so far may be restarting, and has this long to come back."""


class Hindrance(NamedTuple):
    """Why it is not our turn."""

    why: str
    is_well: bool = False
    """Whether Redis is there all the same."""
    look_after: float = LOOK_SECONDS
    """Seconds until the next look."""


class Watch:
    """Looks at an address, and waits until it is ours to serve."""

    def __init__(self, url: str, folder: DataFolder) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "localhost", parts.port or 6379
        self.where = redacted(url)
        self.folder = folder
        self._free_at = 0.0

    def is_served(self) -> bool:
        return ping(self.host, self.port) is not None

    def wait(self) -> bool:
        """Wait until nobody listens there and the folder is locked for us. Whether that took time.

        STOP must be blocked: these signals end the wait, and the process with status 0.
        """
        told = None
        while hindrance := self.hindrance(time.monotonic()):
            if hindrance != told:
                self._tell(hindrance)
            told = hindrance
            _pause(hindrance.look_after)
        return told is not None

    def hindrance(self, now: float) -> Hindrance | None:
        """Look once, at `now` of time.monotonic(). None: it is our turn, and nobody else's."""
        answer = ping(self.host, self.port)
        if answer is not None:
            self._free_at = now + FREE_SECONDS
            return self._listener(answer)
        if now < self._free_at:
            wait = f"{FREE_SECONDS:g} s"
            return Hindrance(f"nobody serves {self.where} any more; taken over after {wait}")
        claim = _claim(f"{self.host}:{self.port}")
        if claim is None:
            return Hindrance(f"another process is about to serve {self.where}, or about to end")
        if holder := self.folder.lock(self.where):
            claim.close()
            return Hindrance(f"a server at {holder} has the data in {self.folder.path}")
        claim.detach()
        return None

    def _listener(self, answer: bytes) -> Hindrance:
        if is_redis(answer):
            return Hindrance(f"{self.where} is served already; taken over when that ends", True)
        if not answer:
            return Hindrance(f"what listens at {self.where} does not answer PING")
        said = answer.decode(errors="backslashreplace")
        return Hindrance(
            f"what listens at {self.where} is no Redis, it answers PING with {said!r}:"
            " stop it, or set REDIS_URL to another port",
            look_after=STRANGER_SECONDS,
        )

    def _tell(self, hindrance: Hindrance) -> None:
        level = logging.INFO if hindrance.is_well else logging.WARNING
        logger.log(level, "redis waits: %s", hindrance.why)
        ready = "READY=1\n" if hindrance.is_well else ""
        notify(f"{ready}STATUS=waits: {hindrance.why}")
        if hindrance.is_well and self.folder.is_idle():
            logger.warning(
                "items may wait in %s, which nobody serves while another server has %s:"
                " stop that one, or set REDIS_URL to another port",
                *(self.folder.path, self.where),
            )


def _claim(address: str) -> socket.socket | None:
    """A mark that one process at a time can have, also after an exec; None if another has it.

    Two that see the address fall free at once do not both start a server. The name is in the
    network namespace, as the address is (Linux; elsewhere there is no such mark).
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0redis at {address}")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            claim.close()
            return None
    claim.set_inheritable(True)
    return claim


def _pause(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    number = signal.sigwait({*STOP, signal.SIGALRM})
    if number != signal.SIGALRM:
        logger.info("redis stopping: %s", signal.Signals(number).name)
        notify("STOPPING=1")
        sys.exit(0)
