"""An api.py with all that real applications have: WebSockets, streams, uploads and more."""

import asyncio
import time
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Hello, world!")


async def who(request: Request) -> JSONResponse:
    client = request.client.host if request.client else None
    root_path = request.scope["root_path"]
    return JSONResponse({"client": client, "url": str(request.url), "root_path": root_path})


async def old(request: Request) -> RedirectResponse:
    return RedirectResponse(request.url_for("who"))


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text(await socket.receive_text())


async def flood(socket: WebSocket) -> None:
    """Sends, and never looks whether anybody is there."""
    await socket.accept()
    while True:
        await socket.send_text("more")
        await asyncio.sleep(0.005)


async def _events() -> AsyncIterator[str]:
    while True:
        yield "data: tick\n\n"
        await asyncio.sleep(0.05)


async def events(request: Request) -> StreamingResponse:
    return StreamingResponse(_events(), media_type="text/event-stream")


async def _tokens() -> AsyncIterator[str]:
    for _ in range(40):
        yield "data: token\n\n"
        await asyncio.sleep(0.05)
    yield "data: [DONE]\n\n"


async def completion(request: Request) -> StreamingResponse:
    """As a language model's answer is streamed."""
    return StreamingResponse(_tokens(), media_type="text/event-stream")


async def _sse_starlette() -> AsyncIterator[dict[str, str]]:
    while True:
        yield {"data": "tick"}
        await asyncio.sleep(0.05)


async def sse_starlette(request: Request) -> EventSourceResponse:
    return EventSourceResponse(_sse_starlette())


async def _chunks(seconds: float) -> AsyncIterator[bytes]:
    print("download begins", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield b"." * 1000
        await asyncio.sleep(0.05)
    yield b"END"


async def download(request: Request) -> StreamingResponse:
    seconds = float(request.query_params["seconds"])
    return StreamingResponse(_chunks(seconds), media_type="application/octet-stream")


async def upload(request: Request) -> JSONResponse:
    print("upload begins", flush=True)
    return JSONResponse(sum([len(chunk) async for chunk in request.stream()]))


def blocked(request: Request) -> PlainTextResponse:
    """A plain function, which runs in a thread."""
    print("blocked begins", flush=True)
    time.sleep(600)
    return PlainTextResponse("late")


app = Starlette(
    routes=[
        Route("/", hello),
        Route("/who", who),
        Route("/old", old),
        WebSocketRoute("/echo", echo),
        WebSocketRoute("/flood", flood),
        Route("/events", events),
        Route("/completion", completion, methods=["POST"]),
        Route("/sse-starlette", sse_starlette),
        Route("/download", download),
        Route("/upload", upload, methods=["POST"]),
        Route("/blocked", blocked),
    ]
)
