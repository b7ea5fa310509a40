"""UVICORN_*: the server's options, read and checked at the start."""

import http.client
import json
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from example.runtime import options

from ..launchers import Launcher, only_app
from ..server import Server

Serve = Callable[..., Launcher]
EVERYTHING = (Path(__file__).parent / "everything.py").read_text()


def refused(launch: Callable[..., Any], redis: Server, **environ: str) -> str:
    """Start with these; returns what it says when it ends with 2."""
    app: Launcher = launch(only_app, redis, **environ)
    app.start()
    assert app.processes[0].wait(20) == 2
    assert "Traceback" not in app.stdout()
    return app.stdout()


def test_wrong_ones_are_told_all_at_once(launch: Callable[..., Any], redis: Server) -> None:
    """By name: what cannot be read, what is no option, and what is set elsewhere."""
    wrong = {
        "UVICORN_TIMEOUT_KEEP_ALIVE": "soon",
        "UVICORN_TIMEOUT_KEEPALIVE": "5",
        "UVICORN_PORT": "80",
        "UVICORN_WORKERS": "4",
        "UVICORN_LIMIT_CONCURRENCY": "0",
        "UVICORN_WS_PING_INTERVAL": "-1",
        "UVICORN_ROOT_PATH": "api/",
        "UVICORN_HEADERS": "X-Served-By",
        "UVICORN_HTTP": "spdy",
        "UVICORN_LIFESPAN": "maybe",
        "FORWARDED_ALLOW_IPS": "10.0.0.1/8",
    }
    said = refused(launch, redis, **wrong)
    assert said.count("wrong setting: ") == len(wrong)
    assert all(f"wrong setting: {name}: " in said for name in wrong)
    assert "UVICORN_PORT: set PORT, or `socket` in supervisord.conf" in said


@pytest.mark.parametrize(
    "wrong",
    [
        {"UVICORN_SSL_CERTFILE": "/nowhere.pem"},
        {"UVICORN_SSL_CERTFILE": "/etc/hostname"},
        {"UVICORN_SSL_KEYFILE": "/etc/hostname"},
        {"UVICORN_WS": "nowhere:Protocol"},
    ],
    ids=["missing", "no certificate", "key alone", "websockets"],
)
def test_what_cannot_be_loaded_is_told(
    wrong: dict[str, str], launch: Callable[..., Any], redis: Server
) -> None:
    said = refused(launch, redis, **wrong)
    assert "wrong setting: UVICORN_" in said
    assert "CERT" in said or "SSL" in said or next(iter(wrong)) in said


def test_they_are_read_as_by_uvicorn(serve: Serve) -> None:
    """Headers, root_path, a header less, access log."""
    app = serve(
        EVERYTHING,
        UVICORN_HEADERS="X-Served-By:me X-More:yes",
        UVICORN_SERVER_HEADER="false",
        UVICORN_ROOT_PATH="/api",
        UVICORN_ACCESS_LOG="1",
        UVICORN_FACTORY="",
    )
    with urlopen(f"http://127.0.0.1:{app.port}/who", timeout=5) as answer:
        assert (answer.headers["x-served-by"], answer.headers["x-more"]) == ("me", "yes")
        assert answer.headers["server"] is None
        assert json.load(answer)["root_path"] == "/api"
    app.eventually(lambda: '"GET /api/who HTTP/1.1" 200' in app.stdout())
    assert app.get("/livez") == "ok"


def test_idle_connections_are_kept_longer_than_balancers_keep_them(serve: Serve) -> None:
    """By default for 75 s, since the common balancers' 60 s must end first; or as long as asked."""
    assert options.read()["timeout_keep_alive"] == 75
    app = serve(EVERYTHING, UVICORN_TIMEOUT_KEEP_ALIVE="1")
    client = http.client.HTTPConnection("127.0.0.1", app.port, timeout=10)
    client.request("GET", "/")
    assert client.getresponse().read() == b"Hello, world!"
    assert client.sock.recv(1) == b""
    client.close()
    assert "GET" not in app.stdout()


def test_it_speaks_tls_itself(folder: Path, serve: Serve) -> None:
    key, certificate = folder / "key.pem", folder / "cert.pem"
    make = f"openssl req -x509 -nodes -newkey rsa:2048 -days 1 -keyout {key} -out {certificate}"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*make.split(), *names], check=True, capture_output=True)
    app = serve(EVERYTHING, UVICORN_SSL_KEYFILE=str(key), UVICORN_SSL_CERTFILE=str(certificate))
    assert f"serving on https://127.0.0.1:{app.port}" in app.stdout()
    context = ssl.create_default_context(cafile=certificate)
    with urlopen(f"https://localhost:{app.port}/", timeout=5, context=context) as answer:
        assert answer.read() == b"Hello, world!"
