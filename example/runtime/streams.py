"""Event streams and WebSockets have no end of their own: a server that stops has to end them.

Each is ended by its protocol's own word: the last chunk of the answer, after which an EventSource
connects again, or the close code 1012, "service restart" (RFC 6455, IANA's registry).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

GONE = ("ClientDisconnect", "WebSocketDisconnect")
"""What Starlette and FastAPI raise where the application does not expect that a client goes."""
END_SECONDS = 1.0
"""How long the last word may take to a client that does not read."""


class Streams:
    """The ASGI application `app`, whose open streams `end` ends."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.open: set[Stream] = set()
        self.ending = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        stream = Stream(self, send)
        try:
            return await self._app(scope, receive, stream.send)
        except (Exception, asyncio.CancelledError) as error:
            if not (stream.ended or self._is_no_fault(error)):
                raise
            logger.debug("%s: its client is gone", scope["path"], exc_info=True)
        finally:
            self.open.discard(stream)

    def _is_no_fault(self, error: BaseException) -> bool:
        """Whether it only says that the client has gone, or was cut off."""
        if isinstance(error, asyncio.CancelledError):
            return self.ending
        return type(error).__name__ in GONE

    async def end(self) -> None:
        """End all that are open, and from now on each that opens."""
        self.ending = True
        if endings := [asyncio.create_task(stream.end()) for stream in self.open]:
            await asyncio.wait(endings, timeout=END_SECONDS)


class EndedError(OSError):
    """The server has ended this stream; OSError is what ASGI has for a `send` after the end."""


class Stream:
    """One request's or WebSocket's way to its client."""

    __slots__ = ("_last", "_send", "_streams", "ended")

    def __init__(self, streams: Streams, send: Send) -> None:
        self._streams = streams
        self._send = send
        self._last: Message = {}
        self.ended = False

    def send(self, message: Message) -> Awaitable[None]:
        if self.ended:
            raise EndedError
        kind = message["type"]
        if kind == "http.response.start":
            headers = message.get("headers", ())
            if type(headers) not in (list, tuple):
                message = {**message, "headers": (headers := list(headers))}
            for name, value in headers:
                if name.lower() == b"content-type" and value.startswith(b"text/event-stream"):
                    return self._open(message, {"type": "http.response.body", "body": b""})
        elif kind == "websocket.accept":
            return self._open(message, {"type": "websocket.close", "code": 1012})
        return self._send(message)

    async def _open(self, message: Message, last: Message) -> None:
        await self._send(message)
        self._last = last
        self._streams.open.add(self)
        if self._streams.ending:
            await self.end()

    async def end(self) -> None:
        """Say the last word, unless it was said."""
        if not self.ended:
            self.ended = True
            with contextlib.suppress(Exception):
                await self._send(self._last)
