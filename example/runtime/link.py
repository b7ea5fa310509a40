"""Connections to Redis: how to find the server in charge, and how to talk to it."""

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as NoConnectionError

from .redis_url import SENTINEL_OPTIONS

# What any request may raise while Redis is away, or refuses it.
ERRORS = (RedisError, OSError)
# Those of them by which a Redis that is there refuses a request.
REFUSALS = (ResponseError, AuthenticationError)

_TIMEOUT = 5.0  # seconds
# A server that is there, or a link that is slow, has that long to answer. A link that is cut is to
# be noticed sooner, so that a worker is back before others take it for dead: see queue.py.
_SILENCE = {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 9, "TCP_USER_TIMEOUT": 2500}
_WHEN_CUT = {getattr(socket, name): _SILENCE[name] for name in _SILENCE if hasattr(socket, name)}


def connect(url: str, timeout: float | None = _TIMEOUT) -> Redis:
    """A client for `url` that never retries by itself: its callers decide, and log that.

    `timeout`, in seconds, bounds the wait for a connection and for each answer. A server whose
    system does not even confirm what was sent is given up after some three seconds (Linux). So is
    one that is too busy to read, if more was sent than its system buffers: some megabytes.
    """
    tcp: Any = {} if url.startswith("unix:") else {"socket_keepalive_options": _WHEN_CUT}
    return Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        **tcp,
    )


async def locate(url: str, key: str) -> str:
    """The plain URL of the server that is in charge of `key` at present.

    redis+sentinel://[user:password@]host[:port],…/service[/db] asks the sentinels at these
    addresses for the service's master. redis+cluster://[user:password@]host[:port],… asks the
    nodes for the master of the key's slot. rediss+… does the same over TLS. Any other URL is plain
    already. User and password are for the servers. For sentinels that ask for a login, it is in the
    options sentinel_username and sentinel_password.
    """
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    if not kind:
        return url
    login, at, hosts = parts.netloc.rpartition("@")
    parts, sentinel_query, sentinel_login = _for_sentinels(parts)
    service, _, database = parts.path.removeprefix("/").partition("/")
    error: Exception = NoConnectionError(f"no {kind} node in the URL")
    for host in hosts.split(","):
        node = parts._replace(scheme=scheme, netloc=f"{login}{at}{host}", path="")
        if kind == "sentinel":
            node = node._replace(netloc=f"{sentinel_login}{host}", query=sentinel_query)
        try:
            found = await (_master(node, service) if kind == "sentinel" else _owner(node, key))
        except REFUSALS as refusal:
            hint = "; give it the option sentinel_password" if kind == "sentinel" else ""
            error = ResponseError(f"the {kind} node {host} says: {refusal}{hint}")
            continue
        except ERRORS as failure:
            error = failure
            continue
        master = parts._replace(scheme=scheme, netloc=f"{login}{at}{found}", path=f"/{database}")
        return urlunsplit(master)
    raise error


def _for_sentinels(parts: SplitResult) -> tuple[SplitResult, str, str]:
    """The URL without the sentinels' options; the query for them; their login before a host."""
    options = parse_qsl(parts.query, keep_blank_values=True)
    login = {name: quote(value, safe="") for name, value in options if name in SENTINEL_OPTIONS}
    rest = [each for each in options if each[0] not in SENTINEL_OPTIONS]
    query = urlencode([each for each in rest if each[0] not in ("username", "password", "db")])
    before_host = ":".join(login.get(name, "") for name in SENTINEL_OPTIONS) + "@"
    return parts._replace(query=urlencode(rest)), query, before_host if login else ""


async def _master(sentinel: SplitResult, service: str) -> str:
    default = sentinel if sentinel.port else sentinel._replace(netloc=f"{sentinel.netloc}:26379")
    async with connect(urlunsplit(default), timeout=1.0) as redis:
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        found = await redis.execute_command(*question)  # type: ignore[no-untyped-call]
    if not found:
        raise NoConnectionError(f"the sentinels know no service {service!r}")
    host, port = found
    return _address(host.decode(), int(port))


async def _owner(node: SplitResult, key: str) -> str:
    async with connect(urlunsplit(node), timeout=1.0) as redis:
        shares = await redis.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]
    slot = key_slot(key.encode())
    for first, last, (host, port, *_), *_ in shares:
        if first <= slot <= last:
            # The host is empty if a node does not know its own address yet.
            return _address((host or b"").decode() or node.hostname or "localhost", port)
    raise NoConnectionError(f"no cluster node has slot {slot}")


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Connection:
    """One connection, for requests that must neither overtake each other nor be repeated.

    It opens when it is used, and sends `greeting` first. Any error closes it.
    """

    def __init__(self, url: str, key: str, greeting: Sequence[Any]) -> None:
        self._url = url
        self._key = key
        self._greeting = greeting
        self._redis: Redis | None = None
        self._connection: AbstractConnection | None = None

    async def ask(self, *requests: Sequence[Any]) -> list[Any]:
        """Send `requests` in one go, and return their replies.

        A request that Redis refused has its ResponseError for a reply. Raises one of ERRORS if
        some reply did not come: which requests were carried out is then unknown.
        """
        try:
            # One time-out for both halves: a second takes 3 of the 41 us that a push lasts.
            async with asyncio.timeout(_TIMEOUT):
                connection = await self._send(requests)
                return [await self._reply(connection) for _ in requests]
        except BaseException:
            await self.close()
            raise

    async def call(self, request: Sequence[Any]) -> Any:
        """Send one request, and return its reply. Raises also what Redis refused."""
        (reply,) = await self.ask(request)
        if isinstance(reply, ResponseError):
            await self.close()  # another server may be in charge by now: the next call finds it
            raise reply
        return reply

    async def send(self, *requests: Sequence[Any]) -> None:
        """The first half of `ask`; nothing but `receive` or `close` may follow."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                await self._send(requests)
        except BaseException:
            await self.close()
            raise

    async def receive(self, count: int) -> list[Any]:
        """The second half of `ask`."""
        try:
            if self._connection is None:
                raise NoConnectionError("the connection was closed")
            async with asyncio.timeout(_TIMEOUT):
                return [await self._reply(self._connection) for _ in range(count)]
        except BaseException:
            # A late reply would be taken for the answer to the next request.
            await self.close()
            raise

    async def close_if_ended(self) -> None:
        """Close the connection if its other end is known to be gone."""
        # Two turns of the event loop: it asks the system in the first, and acts in the second.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self._connection and await self._connection.can_read():
            await self.close()

    async def close(self) -> None:
        redis, connection = self._redis, self._connection
        self._redis = self._connection = None
        if connection:
            with contextlib.suppress(*ERRORS):
                await connection.disconnect(nowait=True)
        if redis:
            await redis.aclose()

    async def _send(self, requests: Iterable[Sequence[Any]]) -> AbstractConnection:
        connection = self._connection or await self._open()
        await connection.send_packed_command(_packed(requests))
        return connection

    async def _open(self) -> AbstractConnection:
        # `send` and `receive` have a time-out for all requests together: that costs less.
        self._redis = connect(await locate(self._url, self._key), timeout=None)
        pool: Any = self._redis.connection_pool
        connection: AbstractConnection = await pool.get_connection()
        await connection.send_packed_command(_packed([self._greeting]))
        await connection.read_response()
        self._connection = connection
        return connection

    async def _reply(self, connection: AbstractConnection) -> Any:
        try:
            return await connection.read_response()
        except ResponseError as error:
            return error


def _packed(requests: Iterable[Sequence[Any]]) -> bytes:
    # redis-py packs for asyncio in Python, which takes ten times as long.
    return b"".join(pack_command(tuple(request)) for request in requests)
