"""What the queue needs of a Redis server and of the user's rights: tried before it is relied on."""

import functools
import logging
from collections.abc import Iterable
from typing import Any, Literal

from redis.exceptions import NoPermissionError, ResponseError

from .link import Connection
from .queue import prefixes, script

logger = logging.getLogger(__name__)

_NOBODY = "absent"  # never joins


class LackingError(ResponseError):
    """The server or the user's rights lack what the queue needs; the message names all of it."""


async def ensure(connection: Connection, key: str, role: Literal["worker", "beat"]) -> None:
    """Try every command that `role` needs for the queue `key`, on keys that never exist.

    Raises LackingError, ResponseError where Redis refuses for another cause, such as being a
    replica, or one of ERRORS where it does not answer.
    """
    requests = {"EVALSHA": (*script(key, _NOBODY), "try", role)}
    if role == "worker":
        # Tells of its negative time-out only those who may run it. Others would block.
        requests["BLMOVE"] = ("BLMOVE", _absent(key), _absent(key, "next:"), "RIGHT", "LEFT", "-1")
    *answers, memory = await connection.ask(*requests.values(), ("INFO", "memory"))
    replies = dict(zip(requests, answers, strict=True))
    lacks = [each for name, reply in replies.items() for each in _lack(name, reply)]
    tried = replies["EVALSHA"]
    if not isinstance(tried, ResponseError):
        lacks += [each.decode() for each in tried]
    if lacks:
        raise LackingError(_said(key, lacks))
    if isinstance(tried, ResponseError):
        raise tried
    _see_eviction(memory)


def _see_eviction(memory: Any) -> None:
    """Warn of a server that may throw away the queue. A user who may not ask is not told."""
    told = memory.splitlines() if isinstance(memory, bytes) else []
    policy = next((line for line in told if line.startswith(b"maxmemory_policy:allkeys")), b"")
    if policy and b"maxmemory:0" not in told:
        _warn_of_eviction(policy.decode().partition(":")[2])


@functools.cache  # once
def _warn_of_eviction(policy: str) -> None:
    why = "Redis throws away items when it is full"
    logger.warning("%s: set maxmemory-policy noeviction, not %s", why, policy)


def _absent(key: str, kind: str = "") -> str:
    return prefixes(key)[0].removesuffix("next:") + kind + _NOBODY


def _lack(name: str, reply: Any) -> list[str]:
    """What the reply to the command `name` says that is lacking, in the words of queue.lua."""
    if isinstance(reply, NoPermissionError):
        return ["keys" if "access" in str(reply) else f"refused {name}"]
    unknown = isinstance(reply, ResponseError) and "unknown command" in str(reply)
    return [f"unknown {name}"] if unknown else []


def _said(key: str, lacks: Iterable[str]) -> str:
    named: dict[str, list[str]] = {}
    for each in dict.fromkeys(lacks):
        why, _, what = each.partition(" ")
        named.setdefault(why, []).extend([what] if what else [])
    every = prefixes(key)[0].removesuffix("next:") + "*"
    said = {
        "unknown": "the server is older than Redis 6.2, or has another name for",
        "refused": "the user has no right to run",
        "type": "something else than the queue is stored at",
        "keys": f"the user has no right to all of the keys {key} and {every}",
    }
    parts = (said[why] + (f" {', '.join(what)}" if what else "") for why, what in named.items())
    return "; ".join(parts)
