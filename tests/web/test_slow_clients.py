"""Slow clients, and clients that hold connections which others need."""

import contextlib
import resource
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from ..launchers import Launcher

Serve = Callable[..., Launcher]

READS_ALL = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while scope["path"] == "/" and (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = b"x" * 50_000_000 if scope["path"] == "/big" else b"Hello, world!"
    await send({"type": "http.response.body", "body": body, "more_body": scope["path"] == "/open"})
    while scope["path"] == "/open" and (await receive())["type"] != "http.disconnect":
        pass
"""
IMPATIENT = """
from example.runtime import limits
limits.SECONDS = dict.fromkeys(limits.SECONDS, 1.0)
limits.BODY_SECONDS = 1.0
"""
BEGUN = b"GET / HTTP/1.1\r\nHost: x\r\nX-More: "
POSTED = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"


@pytest.fixture
def connect() -> Iterator[Callable[[Launcher, bytes], socket.socket]]:
    """Opens a connection and says this on it."""
    with contextlib.ExitStack() as stack:

        def begin(app: Launcher, said: bytes) -> socket.socket:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", app.port), 20))
            client.sendall(said)
            return client

        yield begin


Connect = Callable[[Launcher, bytes], socket.socket]


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Enough of them for the attacker."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 4096:
        pytest.skip("needs a hard limit of 4096 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("descriptors")
@pytest.mark.parametrize("said", [b"", BEGUN, POSTED + b"x"], ids=["nothing", "headers", "body"])
def test_the_honest_are_served_beside_2500_half_requests(
    said: bytes, serve: Serve, connect: Connect
) -> None:
    """At the usual 1,024 descriptors; and one line tells of it."""
    app = serve(READS_ALL)
    resource.prlimit(app.processes[0].pid, resource.RLIMIT_NOFILE, (1024, 1024))
    crowd = [connect(app, said) for _ in range(2500)]
    # Nobody can tell a slow upload from a false one in its first second.
    app.eventually(app.answers)
    assert all(app.answers() for _ in range(10))
    assert "768 connections, the most for 1024 descriptors" in app.stdout()
    assert len(crowd) == 2500
    assert "Traceback" not in app.stdout()


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_slow_request_is_given_up(http: str, serve: Serve, connect: Connect) -> None:
    """Of which nothing has come, or a part of its headers or its body."""
    app = serve(READS_ALL + IMPATIENT, UVICORN_HTTP=http)
    for client in [connect(app, said) for said in (b"", BEGUN, POSTED + b"x")]:
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""
    app.eventually(lambda: "connections: too slow" in app.stdout())


ENDLESS = {
    "headers": b"GET / HTTP/1.1\r\nHost: x\r\n",
    "trailers": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
    "trailers after the answer": b"POST /early HTTP/1.1\r\nHost: x\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
    "headers behind an open answer": b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n"
    b"GET / HTTP/1.1\r\nHost: x\r\n",
}


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_headers_without_end_are_refused(http: str, serve: Serve, connect: Connect) -> None:
    """Before they fill the memory; and the next client is served."""
    app = serve(READS_ALL, UVICORN_HTTP=http)
    headers = (b"X-More: " + b"x" * 10_000 + b"\r\n") * 10_000
    for where, begun in ENDLESS.items():
        if http == "h11" and where == "headers behind an open answer":
            continue  # h11 reads nothing more there
        client = connect(app, begun)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            client.sendall(headers)
        assert app.answers()


EARLY = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"


def _answered_before_its_body(connect: Connect, app: Launcher) -> socket.socket:
    client = connect(app, EARLY)
    app.eventually(lambda: client.recv(1000).endswith(b"0\r\n\r\n"))
    client.sendall(b"x" * 300_000)
    return client


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_body_that_comes_after_its_answer_leaves_the_connection_as_it_was(
    http: str, serve: Serve, connect: Connect
) -> None:
    """Kept for the next request, for longer than headers may take."""
    app = serve(READS_ALL + IMPATIENT, UVICORN_HTTP=http)
    client = _answered_before_its_body(connect, app)
    connect(app, BEGUN)
    app.eventually(lambda: "too slow" in app.stdout())
    assert "closed 1 connections" in app.stdout()
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_connection_that_is_idle_after_a_late_body_is_closed_in_time(
    http: str, serve: Serve, connect: Connect
) -> None:
    app = serve(READS_ALL, UVICORN_HTTP=http, UVICORN_TIMEOUT_KEEP_ALIVE="1")
    assert _answered_before_its_body(connect, app).recv(1000) == b""


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_headers_that_never_end_after_a_late_body_are_given_up(
    http: str, serve: Serve, connect: Connect
) -> None:
    """However often some of them comes."""
    app = serve(READS_ALL + IMPATIENT, UVICORN_HTTP=http)
    client = _answered_before_its_body(connect, app)
    client.sendall(BEGUN)

    def more() -> bool:
        with contextlib.suppress(OSError):
            client.sendall(b"x")
        return "closed 1 connections: too slow" in app.stdout()

    app.eventually(more)


def test_an_answer_that_nobody_reads_is_given_up(serve: Serve, connect: Connect) -> None:
    app = serve(READS_ALL + IMPATIENT)
    client = connect(app, b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    app.eventually(lambda: "closed 1 connections: too slow" in app.stdout())
    got = 0
    with contextlib.suppress(ConnectionResetError):
        while chunk := client.recv(1_000_000):
            got += len(chunk)
    assert got < 50_000_000


def test_one_that_reads_slowly_but_steadily_is_left_alone(serve: Serve) -> None:
    """Even if it takes too little for the server to write more."""
    app = serve(READS_ALL + IMPATIENT)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        client.settimeout(20)
        client.connect(("127.0.0.1", app.port))
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(40):
            assert client.recv(4000)
            # Its pace, and no wait for anything.
            time.sleep(0.1)
    assert "too slow" not in app.stdout()


def test_slow_but_steady_and_idle_connections_are_left_alone(
    serve: Serve, connect: Connect
) -> None:
    """A body that goes on, and a connection that is kept, for longer than others may take."""
    app = serve(READS_ALL + IMPATIENT)
    kept = connect(app, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    app.eventually(lambda: b"Hello, world!" in kept.recv(1000))
    upload = connect(app, POSTED)
    for _ in range(40):
        upload.sendall(b"x" * 2500)
        # Its pace, and no wait for anything.
        time.sleep(0.1)
    assert upload.recv(1000).startswith(b"HTTP/1.1 200")
    kept.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"HTTP/1.1 200" in kept.recv(1000)
