"""What balancers and orchestrators ask of app: is it alive, and can it do its work?

These requests are answered before they reach the application, which need not know of them.
"""

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

READY_SECONDS = 1.0
"""How long Redis may take to answer, and how long its answer is reused."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Probes:
    """The ASGI application `app`, with each of these two paths that it does not have itself.

    /livez: 200, this process serves. That does not depend on Redis, since a restart of app would
    not bring Redis back. /readyz: 200 if `redis` answers, else 503.
    """

    def __init__(self, app: App, redis: "Redis", root_path: str) -> None:
        self._app = app
        self._redis = redis
        own = set(_paths(app))
        probes = {"/livez": self._live, "/readyz": self._ready}
        # The server has put its root_path before each path.
        self._probes = {root_path + path: probes[path] for path in probes.keys() - own}

    def __call__(self, scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        probe = scope["type"] == "http" and self._probes.get(scope["path"])
        if probe and scope["method"] in ("GET", "HEAD"):
            return _answer(send, probe)
        return self._app(scope, receive, send)

    async def _live(self) -> str:
        return ""

    async def _ready(self) -> str:
        return "" if await self._redis.answers() else "Redis does not answer"


class Redis:
    """Asks the Redis in charge of the list `key` at `url`, at most once in READY_SECONDS.

    All requests in that time share one answer.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self._asked = 0.0
        self._link: Any = None
        self._asking: asyncio.Task[bool] | None = None

    async def answers(self) -> bool:
        """Whether it answered within READY_SECONDS, this moment or a moment ago."""
        now = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and now - self._asked >= READY_SECONDS):
            self._asked = now
            self._asking = asyncio.create_task(self._ask())
        # A request that is cancelled must not cancel the question of the others.
        return await asyncio.shield(self._asking)

    async def _ask(self) -> bool:
        # The client takes 10 MiB, so an app that nobody asks does not load it. In a thread, since
        # other requests should not wait so long.
        link = self._link = self._link or await asyncio.to_thread(
            importlib.import_module, ".link", __package__
        )
        try:
            async with asyncio.timeout(READY_SECONDS):
                async with link.connect(await link.locate(self._url, self._key)) as redis:
                    await redis.ping()
        except link.ERRORS:
            return False
        return True


async def _answer(send: Send, probe: Callable[[], Awaitable[str]]) -> None:
    trouble = await probe()
    body = (trouble or "ok").encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    status = 503 if trouble else 200
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _paths(app: object) -> Iterator[str]:
    """The paths that an application lists: Starlette's and FastAPI's do, also if wrapped."""
    for _ in range(100):
        routes = getattr(app, "routes", None)
        yield from (getattr(each, "path", "") for each in (routes if type(routes) is list else ()))
        app = getattr(app, "app", None)
