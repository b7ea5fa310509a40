"""Event streams and WebSockets have no end of their own: a server that stops has to end them.

An event stream is the answer to a GET, which an EventSource sends. The answer to another method,
such as a language model's to a POST, ends by itself, and is a request like any other.

Each is ended in the way of its protocol. An event stream gets the last chunk of its answer, after
which an EventSource connects again. A WebSocket gets the close code 1012, "service restart" (RFC
6455, IANA's registry).
"""

import asyncio
import contextlib
import logging
import weakref
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

EVENTS = b"text/event-stream"
GONE = ("ClientDisconnect", "WebSocketDisconnect")
"""What Starlette and FastAPI raise in an application whose client has gone."""
END_SECONDS = 1.0
"""How long the last message may take if the client does not read."""


class Streams:
    """The ASGI application `app`, whose open streams `end` ends."""

    def __init__(self, app: App) -> None:
        self._app = app
        # A stream disappears when the application is done with it.
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._ending = False

    def __call__(self, scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        kind = scope["type"]
        if kind == "websocket" or (kind == "http" and scope["method"] == "GET"):
            send = self._watched(send)
        return self._app(scope, receive, send)

    def _watched(self, send: Send) -> Send:
        """`send`, which notices when a stream begins. Each GET pays for that, so it does little."""
        stream: Stream | None = None

        def watched(message: Message) -> Awaitable[None]:
            nonlocal stream
            if stream:
                return stream.send(message)
            kind = message["type"]
            if kind == "http.response.start":
                headers = message.get("headers", ())
                if type(headers) is not list:
                    message = {**message, "headers": (headers := list(headers))}
                for name, value in headers:
                    if value.startswith(EVENTS) and name.lower() == b"content-type":
                        stream = Stream(send, {"type": "http.response.body", "body": b""})
            elif kind == "websocket.accept":
                stream = Stream(send, {"type": "websocket.close", "code": 1012})
            return self._open(stream, message) if stream else send(message)

        return watched

    async def _open(self, stream: "Stream", message: Message) -> None:
        await stream.send(message)
        self._streams.add(stream)
        if self._ending:
            await stream.end()

    async def end(self) -> None:
        """End all that are open, and from now on each that opens."""
        self._ending = True
        if endings := [asyncio.create_task(stream.end()) for stream in self._streams]:
            await asyncio.wait(endings, timeout=END_SECONDS)

    def is_a_fault(self, record: logging.LogRecord) -> bool:
        """Whether a line of uvicorn's log says more than that a client has gone, or was cut off."""
        if self._ending and record.getMessage().rstrip().endswith("CancelledError"):
            return False  # Starlette's lifespan logs its end as a traceback in text
        return not self._is_an_end(record.exc_info[1] if record.exc_info else None)

    def _is_an_end(self, error: BaseException | None) -> bool:
        if isinstance(error, BaseExceptionGroup):
            return all(map(self._is_an_end, error.exceptions))
        if isinstance(error, asyncio.CancelledError):
            return self._ending
        return isinstance(error, EndedError) or type(error).__name__ in GONE


class EndedError(OSError):
    """The server has ended this stream. ASGI wants an OSError for a `send` after the end."""


class Stream:
    """An open event stream's or WebSocket's way to its client, and what is the last word on it."""

    def __init__(self, send: Send, last: Message) -> None:
        self._send = send
        self._last = last
        self._ended = False

    def send(self, message: Message) -> Awaitable[None]:
        if self._ended:
            raise EndedError
        return self._send(message)

    async def end(self) -> None:
        """Send the last message, unless it was sent."""
        if not self._ended:
            self._ended = True
            with contextlib.suppress(Exception):
                await self._send(self._last)
