"""The link to Redis: how to open it, and how to bear with its absence."""

import logging
import time
from urllib.parse import urlsplit, urlunsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# What any call over the link may raise while Redis is away, or not itself.
ERRORS = (RedisError, OSError)

_BACKOFF = ExponentialWithJitterBackoff(base=0.1, cap=3.0)


class Link:
    """Tells, once each, that Redis went away and that it is back; says how long to wait."""

    def __init__(self, url: str) -> None:
        self.where = redacted(url)
        self._failures = 0
        self._since = 0.0

    def failed(self, error: Exception) -> float:
        """Take note of a failure. Returns the seconds to wait: capped exponential, with jitter."""
        if not self._failures:
            self._since = time.monotonic()
            logger.warning("Redis away at %s: %s; retrying", self.where, error)
        self._failures += 1
        return float(_BACKOFF.compute(self._failures))

    def worked(self) -> None:
        """Take note that Redis has answered as it should."""
        if self._failures:
            away = time.monotonic() - self._since
            logger.info("Redis back at %s after %.1f s", self.where, away)
        self._failures = 0


def connect(url: str, timeout: float = 5.0) -> Redis:
    """A client for `url` that never retries by itself: its callers decide, and tell.

    `timeout`, in seconds, bounds the wait for a connection and for each answer.
    """
    return Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
    )


def redacted(url: str) -> str:
    """`url` without user, password and query, fit for a log."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
