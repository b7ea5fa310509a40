"""Connections to Redis for plain functions: each thread that asks has one for itself meanwhile.

redis-py's client and pool do this too, but they lock, count and time so much that a push took a
third longer.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ResponseError
from redis.retry import Retry

from .link import ERRORS


class Links:
    """To the server at a plain `url`; `seconds` are for a connection, and again for an answer.

    They are closed when nobody refers to this object any more.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self._idle: list[AbstractConnection] = []
        pool = ConnectionPool.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
        )
        self._new: Callable[[], AbstractConnection] = partial(
            pool.connection_class, **pool.connection_kwargs
        )

    def ask(self, request: Sequence[Any]) -> Any:
        """Send one request, and return its answer.

        Raises the ResponseError by which Redis refuses it. Raises another of ERRORS if no answer
        came: whether the request was carried out is then unknown.
        """
        link = self._take()
        link.send_command(*request)  # type: ignore[no-untyped-call]
        try:
            answer = link.read_response()
        except ResponseError:
            self._idle.append(link)
            raise
        # After any other error it isn't kept: a late answer would be taken for the next one's.
        self._idle.append(link)
        return answer

    def __del__(self) -> None:
        # A connection is part of a cycle: by itself it would end much later.
        for link in self._idle:
            link.disconnect()  # type: ignore[no-untyped-call]

    def _take(self) -> AbstractConnection:
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return self._new()
            # A forked child must not share its parent's.
            if link.pid == os.getpid() and not _has_ended(link):
                return link
            link.disconnect()  # type: ignore[no-untyped-call]


def _has_ended(link: AbstractConnection) -> bool:
    try:
        return link.can_read()
    except ERRORS:
        return True
