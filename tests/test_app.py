"""The Web API over real connections."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .launchers import SCRIPTS, Launcher, only_app
from .server import Server, free_port
from .waiting import eventually


@pytest.fixture
def app(launch: Callable[..., Any], redis: Server) -> Launcher:
    app: Launcher = launch(only_app, redis)
    app.start()
    app.eventually(app.answers)
    return app


@pytest.fixture
def client(app: Launcher) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=5)
    yield connection
    connection.close()


def ask(client: http.client.HTTPConnection, method: str, path: str) -> http.client.HTTPResponse:
    client.request(method, path)
    return client.getresponse()


def test_get_says_hello_and_head_has_the_same_headers_and_no_body(
    client: http.client.HTTPConnection,
) -> None:
    answer = ask(client, "GET", "/")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.read() == b"Hello, world!"
    answer = ask(client, "HEAD", "/")
    assert answer.status == 200
    assert answer.headers["content-length"] == "13"
    assert answer.read() == b""


def test_an_unknown_path_is_404_and_a_wrong_method_405_that_says_which_are_right(
    client: http.client.HTTPConnection,
) -> None:
    answer = ask(client, "GET", "/nowhere")
    assert (answer.status, answer.read()) == (404, b"Not Found")
    answer = ask(client, "POST", "/")
    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


BARE = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"bare"})
"""
DJANGO = """
import django
from django.conf import settings
from django.core.asgi import get_asgi_application

settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="x")
django.setup()
app = get_asgi_application()
"""
FACTORY = """
from fastapi import FastAPI

def app():
    return FastAPI()
"""
OWN_PROBE = """
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def mine(request):
    return PlainTextResponse("mine")

app = GZipMiddleware(Starlette(routes=[Route("/readyz", mine)]))
"""


@pytest.mark.parametrize(
    ("text", "live", "ready"),
    [
        (BARE, "ok", "ok"),
        (DJANGO, "ok", "ok"),
        (FACTORY, "ok", "ok"),
        (OWN_PROBE, "ok", "mine"),
    ],
    ids=["bare", "django", "factory", "own"],
)
def test_any_application_has_probes(
    text: str, live: str, ready: str, serve: Callable[..., Launcher]
) -> None:
    """/livez and /readyz are answered for it, unless it has a route of its own for them."""
    app = serve(text)
    assert app.get("/livez") == live
    assert app.get("/readyz") == ready


def test_probes_share_one_question_to_redis(app: Launcher, redis: Server) -> None:
    """However many ask: one connection to Redis in a second."""

    def connections() -> int:
        return int(redis.client.info("stats")["total_connections_received"])

    start, before = time.monotonic(), connections()
    with ThreadPoolExecutor(20) as crowd:
        answers = list(crowd.map(lambda _: app.get("/readyz"), range(400)))
    assert set(answers) == {"ok"}
    # What asks here has its own, which is open already.
    assert connections() - before <= 1 + (time.monotonic() - start)


def test_a_taken_port_is_reported_and_ends_it(
    app: Launcher, launch: Callable[..., Any], redis: Server
) -> None:
    """The message names the address and what to do; the exit status is 3, as uvicorn's."""
    second = launch(only_app, redis, PORT=str(app.port))
    second.start()
    assert second.processes[0].wait(10) == 3
    assert f"cannot listen on 127.0.0.1:{app.port}" in second.stdout()
    assert "set PORT" in second.stdout()


def test_requests_that_come_while_it_stops_are_answered(
    app: Launcher, client: http.client.HTTPConnection
) -> None:
    """On a connection made before TERM, until an answer says that it was the last."""

    def told_to_close() -> bool:
        answer = ask(client, "GET", "/")
        assert answer.read() == b"Hello, world!"
        return answer.headers["connection"] == "close"

    assert not told_to_close()
    client.auto_open = False
    app.processes[0].terminate()
    deadline = time.monotonic() + 5
    while not told_to_close():
        assert time.monotonic() < deadline
    assert app.processes[0].wait(5) == 0


INHERIT = """
import os, socket, sys
listener = socket.socket(socket.AF_{family})
listener.bind({address!r})
listener.listen()
os.dup2(listener.fileno(), 0)
os.execv(sys.argv[1], ["example-app"])
"""


@pytest.fixture
def serve_inherited() -> Iterator[Callable[[str, Any], int]]:
    """Starts app with a listening socket at descriptor 0. Returns its pid once it is ready."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(family: str, address: Any) -> int:
        code = INHERIT.format(family=family, address=address)
        command = [sys.executable, "-c", code, str(SCRIPTS / "example-app")]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        assert started[0].stdout
        assert b"app ready: serving on " in started[0].stdout.readline()
        return started[0].pid

    yield begin
    started[0].terminate()
    started[0].communicate(timeout=10)
    assert started[0].returncode == 0


@pytest.mark.parametrize("family", ["INET", "INET6", "UNIX"])
def test_it_serves_on_a_socket_that_it_inherits(
    family: str, folder: Path, serve_inherited: Callable[[str, Any], int]
) -> None:
    """A listening socket at descriptor 0, of any family, is served instead of HOST:PORT.

    What the application starts has nothing to read there.
    """
    addresses: dict[str, Any] = {
        "INET": ("127.0.0.1", free_port()),
        "INET6": ("::1", free_port()),
        "UNIX": str(folder / "s"),
    }
    pid = serve_inherited(family, addresses[family])
    assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull
    with socket.socket(getattr(socket, f"AF_{family}")) as client:
        client.connect(addresses[family])
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        eventually(lambda: b"Hello, world!" in client.recv(1000))


@pytest.mark.timeout(30)
def test_an_inherited_socket_keeps_nodelay(
    serve_inherited: Callable[[str, Any], int],
) -> None:
    """Without TCP_NODELAY each of these answers waits 40 ms, and the time limit comes first."""
    port = free_port()
    serve_inherited("INET", ("127.0.0.1", port))
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    for _ in range(1500):
        assert ask(client, "GET", "/").read() == b"Hello, world!"
    client.close()
