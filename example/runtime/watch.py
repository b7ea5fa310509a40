"""Wait until this process may serve REDIS_URL: the address and the data folder are free."""

import errno
import logging
import signal
import socket
import sys
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from .data_folder import DataFolder, NoPlaceError
from .lifeline import STOP
from .notify import notify
from .ping import is_redis, ping
from .redis_url import redacted

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
STRANGER_SECONDS = 10.0
"""A server that is not Redis may log each check."""
FREE_SECONDS = 5.0
"""A server that ended has this long to come back: it may be restarting."""


class Hindrance(NamedTuple):
    """Why this process must wait."""

    why: str
    is_well: bool = False
    """Whether a Redis serves, so that nothing is wrong."""
    look_after: float = LOOK_SECONDS
    """Seconds until the next look."""


class Watch:
    """Looks at the address and at the folder until both are free."""

    def __init__(self, url: str, folder: DataFolder) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "localhost", parts.port or 6379
        self.where = redacted(url)
        self.folder = folder
        self._free_at = 0.0

    def is_served(self) -> bool:
        return ping(self.host, self.port) is not None

    def wait(self) -> bool:
        """Wait until nobody listens at the address, and lock the folder.

        Returns whether it had to wait. STOP must be blocked: these signals end the wait, and the
        process with status 0.
        """
        told = None
        while hindrance := self.hindrance(time.monotonic()):
            if hindrance != told:
                self._tell(hindrance)
            told = hindrance
            _pause(hindrance.look_after)
        return told is not None

    def hindrance(self, now: float) -> Hindrance | None:
        """Look once; `now` is time.monotonic(). None: the wait is over, the folder is locked."""
        answer = ping(self.host, self.port)
        if answer is not None:
            self._free_at = now + FREE_SECONDS
            return self._listener(answer)
        if now < self._free_at:
            wait = f"{FREE_SECONDS:g} s"
            return Hindrance(f"nobody serves {self.where} any more: takes over after {wait}")
        self._try_to_listen()
        claim = _claim(f"{self.host}:{self.port}")
        if claim is None:
            return Hindrance(f"another process starts or stops a server at {self.where}")
        if holder := self.folder.lock(self.where):
            claim.close()
            return Hindrance(f"another server, at {holder}, uses the data in {self.folder.path}")
        claim.detach()
        return None

    def _try_to_listen(self) -> None:
        host = "127.0.0.1" if self.host == "localhost" else self.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((host, self.port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise NoPlaceError(
                        f"wrong setting: REDIS_URL: cannot listen at {self.where}: {error.strerror}"
                    ) from error

    def _listener(self, answer: bytes) -> Hindrance:
        if is_redis(answer):
            return Hindrance(
                f"another server answers at {self.where}: takes over when it ends", True
            )
        if not answer:
            return Hindrance(f"the server at {self.where} does not answer PING")
        said = answer.decode(errors="backslashreplace")
        return Hindrance(
            f"the server at {self.where} is not Redis: it answers PING with {said!r};"
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
                "items may wait in %s: nobody serves them while another server answers at %s;"
                " stop that one, or set REDIS_URL to another port",
                *(self.folder.path, self.where),
            )


def _claim(address: str) -> socket.socket | None:
    """Claim the address: one process at a time can, and keeps the claim over exec.

    Returns None if another process has it. Without a claim, two processes that see the address
    fall free would both start a server, and one would fail. The claim is an abstract socket: as
    the address it belongs to the network namespace (Linux; elsewhere every claim succeeds).
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
