"""What clients of a process that stops see: WebSockets, event streams, downloads and uploads."""

import asyncio
import contextlib
import http.client
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from ..launchers import Launcher
from ..layout import Layout
from ..server import Server
from ..waiting import eventually

EVERYTHING = (Path(__file__).parent / "everything.py").read_text()
FASTAPI = """
from fastapi import FastAPI

inner, app = app, FastAPI()
app.mount("/", inner)
"""

Serve = Callable[..., Launcher]


@pytest.fixture
def everything(launch: Callable[..., Any], redis: Server, api: Callable[[str], str]) -> Layout:
    """Both processes of such an api, ready."""
    layout: Layout = launch(Layout, redis, PYTHONPATH=api(EVERYTHING))
    layout.only(app=2)
    layout.start()
    layout.ready()
    return layout


async def _close_codes(port: int, strike: Callable[[], object]) -> Counter[int]:
    """Open 100 sockets that wait, 10 that are sent to and 10 that send; `strike`, and see."""
    codes: Counter[int] = Counter()
    opened: list[str] = []

    async def live(path: str, sends: bool) -> None:
        async with connect(f"ws://127.0.0.1:{port}/{path}") as socket:
            opened.append(path)
            try:
                while True:
                    if sends:
                        await socket.send("x" * 1000)
                        await asyncio.sleep(0.005)  # its pace
                    await socket.recv()
            except websockets.ConnectionClosed as closed:
                codes[closed.rcvd.code if closed.rcvd else 0] += 1

    kinds = [("echo", False)] * 100 + [("flood", False)] * 10 + [("echo", True)] * 10
    async with asyncio.timeout(30), asyncio.TaskGroup() as clients:
        for path, sends in kinds:
            clients.create_task(live(path, sends))
        await asyncio.to_thread(eventually, lambda: len(opened) == len(kinds))
        await asyncio.to_thread(strike)
    return codes


@pytest.mark.parametrize("verb", ["roll app", "restart app:*", "stop app:*"])
def test_each_websocket_is_closed_with_a_code(verb: str, everything: Layout) -> None:
    """1012, "service restart", for each of 120, whatever it does at the time; no traceback."""
    codes = asyncio.run(
        _close_codes(everything.port, lambda: everything.ctl(*verb.split(), check=True))
    )
    assert codes == {1012: 120}
    assert "Traceback" not in everything.stdout()
    assert "SIGKILL" not in everything.stdout()


@pytest.mark.parametrize(
    ("text", "path"),
    [(EVERYTHING, "/events"), (EVERYTHING, "/sse-starlette"), (EVERYTHING + FASTAPI, "/events")],
    ids=["starlette", "sse-starlette", "fastapi"],
)
def test_an_event_stream_ends_at_once_and_cleanly(text: str, path: str, serve: Serve) -> None:
    """With its last chunk, so that an EventSource connects again, and long before the drain."""
    app = serve(text, DRAIN_SECONDS="600")
    url = f"http://127.0.0.1:{app.port}{path}"
    with httpx.Client(timeout=10) as client, client.stream("GET", url) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "data: tick"
        app.processes[0].terminate()
        # Raises if the last chunk is missing.
        assert all(line in ("", "data: tick") for line in lines)
    assert app.processes[0].wait(10) == 0
    assert "Traceback" not in app.stdout()


def test_an_event_stream_that_was_posted_for_is_finished(serve: Serve) -> None:
    """It ends by itself, and its client could not tell a part from the whole."""
    app = serve(EVERYTHING, DRAIN_SECONDS="30")
    url = f"http://127.0.0.1:{app.port}/completion"
    with httpx.Client(timeout=20) as client, client.stream("POST", url) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "data: token"
        app.processes[0].terminate()
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert app.processes[0].wait(10) == 0


def _download(port: int, seconds: float) -> bytes:
    url = f"http://127.0.0.1:{port}/download?seconds={seconds}"
    return httpx.get(url, timeout=30).content


def _upload(app: Launcher) -> bytes:
    """A body in two halves, the second when the first is being read and the process was told."""
    client = http.client.HTTPConnection("127.0.0.1", app.port, timeout=30)
    client.putrequest("POST", "/upload")
    client.putheader("content-length", "200000")
    client.endheaders(b"x" * 100_000)
    app.eventually(lambda: "stopping: " in app.stdout())
    client.send(b"x" * 100_000)
    with contextlib.closing(client):
        return client.getresponse().read()


def test_what_is_in_hand_is_finished(serve: Serve) -> None:
    """A download and an upload that last longer than the stop's beginning, within the drain."""
    app = serve(EVERYTHING, DRAIN_SECONDS="30")
    with ThreadPoolExecutor() as pool:
        download = pool.submit(_download, app.port, 3)
        upload = pool.submit(_upload, app)
        app.eventually(
            lambda: {"upload begins", "download begins"} <= set(app.stdout().splitlines())
        )
        app.processes[0].terminate()
        assert upload.result() == b"200000"
        assert download.result().endswith(b"END")
    assert app.processes[0].wait(10) == 0


@pytest.mark.parametrize("path", ["/download?seconds=600", "/blocked"])
def test_what_outlives_the_drain_is_cut_off(path: str, serve: Serve) -> None:
    """Told in one line, without a traceback; the exit status is 0, also where a thread hangs."""
    app = serve(EVERYTHING, DRAIN_SECONDS="1")
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(httpx.get, f"http://127.0.0.1:{app.port}{path}", timeout=30)
        app.eventually(lambda: " begins" in app.stdout())
        app.processes[0].terminate()
        with pytest.raises(httpx.RemoteProtocolError):
            asked.result()
    assert app.processes[0].wait(10) == 0
    assert "1 requests cut off: not done after 1 s" in app.stdout()
    assert "Traceback" not in app.stdout()


def test_connections_that_were_quiet_do_not_hold_up_the_stop(serve: Serve) -> None:
    """However long other connections may take."""
    patient = "from example.runtime import server\nserver.LINGER_MOST = 600\n"
    app = serve(EVERYTHING + patient)
    client = http.client.HTTPConnection("127.0.0.1", app.port, timeout=10)
    client.request("GET", "/")
    assert client.getresponse().read() == b"Hello, world!"
    quiet_since = time.monotonic()
    app.eventually(lambda: time.monotonic() - quiet_since > 1.5)
    app.processes[0].terminate()
    assert app.processes[0].wait(10) == 0
    client.close()
