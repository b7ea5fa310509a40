"""An api.py with all that real applications have: FastAPI with WebSockets, streams and more."""

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from sse_starlette import EventSourceResponse

app = FastAPI()


@app.get("/")
async def hello() -> PlainTextResponse:
    return PlainTextResponse("Hello, world!")


@app.get("/who")
async def who(request: Request) -> dict[str, str | None]:
    client = request.client.host if request.client else None
    return {"client": client, "url": str(request.url), "root_path": request.scope["root_path"]}


@app.get("/old")
async def old(request: Request) -> RedirectResponse:
    return RedirectResponse(request.url_for("who"))


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text(await socket.receive_text())


@app.websocket("/flood")
async def flood(socket: WebSocket) -> None:
    """Sends, and never looks whether anybody is there."""
    await socket.accept()
    while True:
        await socket.send_text("more")
        await asyncio.sleep(0.001)


async def _events() -> AsyncIterator[str]:
    while True:
        yield "data: tick\n\n"
        await asyncio.sleep(0.05)


@app.get("/events")
async def events() -> StreamingResponse:
    return StreamingResponse(_events(), media_type="text/event-stream")


async def _tokens() -> AsyncIterator[str]:
    for _ in range(40):
        yield "data: token\n\n"
        await asyncio.sleep(0.05)
    yield "data: [DONE]\n\n"


@app.post("/completion")
async def completion() -> StreamingResponse:
    """As a language model's answer is streamed."""
    return StreamingResponse(_tokens(), media_type="text/event-stream")


async def _sse_starlette() -> AsyncIterator[dict[str, str]]:
    while True:
        yield {"data": "tick"}
        await asyncio.sleep(0.05)


@app.get("/sse-starlette")
async def sse_starlette() -> EventSourceResponse:
    return EventSourceResponse(_sse_starlette())


async def _chunks(seconds: float) -> AsyncIterator[bytes]:
    print("download begins", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield b"." * 1000
        await asyncio.sleep(0.05)
    yield b"END"


@app.get("/download")
async def download(seconds: float) -> StreamingResponse:
    return StreamingResponse(_chunks(seconds), media_type="application/octet-stream")


@app.post("/upload")
async def upload(request: Request) -> int:
    print("upload begins", flush=True)
    return sum([len(chunk) async for chunk in request.stream()])


@app.get("/blocked")
def blocked() -> str:
    """A plain function, which runs in a thread."""
    print("blocked begins", flush=True)
    time.sleep(600)
    return "late"
