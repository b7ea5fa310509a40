"""Outages of Redis: logged once when they begin and once when they end, and how long to wait."""

import logging
import re
import time
from collections.abc import Callable

from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import MovedError

from .link import REFUSALS
from .redis_url import redacted

logger = logging.getLogger(__name__)

# Seconds. The cap is well below LEASE, see queue.py: after a longer pause others would take the
# worker for dead.
_BACKOFF = ExponentialWithJitterBackoff(base=0.1, cap=2.0)


class OutageLog:
    """Logs once that Redis is away or refuses, and once that it is back; says how long to wait.

    `show` is called with a line about a trouble when it begins, and with "" when it ends.
    """

    def __init__(self, url: str, show: Callable[[str], None] = lambda _: None) -> None:
        self.where = redacted(url)
        self._show = show
        self._failures = 0
        self._since = 0.0

    def failed(self, error: Exception) -> float:
        """Take note of a failure. Returns the seconds to wait: capped exponential, with jitter."""
        if not self._failures:
            self._since = time.monotonic()
            what = "refuses" if isinstance(error, REFUSALS) else "away"
            why = explained(error, self.where)
            logger.warning("Redis %s at %s: %s; retrying", what, self.where, why)
            self._show(f"Redis {what} since {time.strftime('%Y-%m-%d %H:%M:%S')}: {why}")
        self._failures += 1
        return float(_BACKOFF.compute(self._failures))

    def worked(self) -> None:
        """Take note that Redis has answered as it should."""
        if self._failures:
            away = time.monotonic() - self._since
            logger.info("Redis back at %s after %.1f s", self.where, away)
            self._show("")
        self._failures = 0


def explained(error: Exception, where: str) -> str:
    """What the error says, and what to do about it if that is known."""
    # Where in our scripts it came up helps no operator.
    why = re.sub(r" script: [0-9a-f]{40}, on @user_script:.*", "", str(error), flags=re.DOTALL)
    why = why or type(error).__name__
    if isinstance(error, MovedError) and "+cluster://" not in where:
        return "this node of a cluster does not have the queue: use redis+cluster:// in REDIS_URL"
    # The arguments of AUTH and HELLO are secrets.
    what, is_unknown, _ = why.partition(", with args beginning with")
    if is_unknown and "HELLO" in what:
        older = "it is older than Redis 6.2, which the queue needs"
        return f"{what}: {older}; or, if only its HELLO was renamed, add ?protocol=2 to REDIS_URL"
    asks = re.search("already authenticated|Authentication required|unauthenticated", what)
    # A sentinel has a password of its own, of which `what` tells.
    if asks and "sentinel_password" not in what:
        return "it asks for a password, and REDIS_URL has none"
    if "self-signed" in what or "issuer certificate" in what:
        return f"{what} Name the file of its CA: ?ssl_ca_certs=/path in REDIS_URL"
    if what.startswith("WRONGTYPE"):
        return f"{what}: if another program has the key, set REDIS_KEY to another name"
    if is_unknown and "SCRIPT" in what:
        return f"{what}: if it is a sentinel, use redis+sentinel:// in REDIS_URL"
    return what
