"""UVICORN_*: the server's options, read and checked at the start."""

import http.client
import json
import re
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import uvicorn

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


def test_all_wrong_options_are_reported_at_once(launch: Callable[..., Any], redis: Server) -> None:
    """By name: wrong values, unknown options, and options that are set elsewhere."""
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


# Each option of uvicorn's command that is one here: values that are taken, and that are refused.
TAKEN: dict[str, tuple[list[str], list[str]]] = {
    "http": (["h11", "httptools", "auto"], ["zttp", "a.b:C"]),
    "ws": (["none", "auto", "websockets-sansio"], ["wsproto", "nowhere:Protocol", "nonsense"]),
    "ws_max_size": (["1000"], ["-1", "1e3", "big"]),
    "ws_max_queue": (["8"], ["-1", "1.5"]),
    "ws_ping_interval": (["0", "5.5"], ["-1", "nan", "inf", "often"]),
    "ws_ping_timeout": (["5.5"], ["-1", "nan", "soon"]),
    "ws_per_message_deflate": (["0", "true"], ["2", "perhaps"]),
    "lifespan": (["on", "off", "auto"], ["maybe"]),
    "interface": (["asgi3", "asgi2", "wsgi", "auto"], ["asgi4"]),
    "access_log": (["1", "no"], ["2", "some"]),
    "proxy_headers": (["1", "no"], ["2"]),
    "server_header": (["1", "no"], ["2"]),
    "date_header": (["1", "no"], ["2"]),
    "forwarded_allow_ips": (["*", "10.0.0.0/8, ::1"], ["10.0.0.1/8", "*,::1", "proxy", "::1,"]),
    "root_path": (["/api", "/a/b"], ["api", "/api/", "/"]),
    "limit_concurrency": (["100"], ["0", "-1", "many"]),
    "backlog": (["100"], ["-1", "many"]),
    "limit_max_requests": (["1000"], ["0", "-1"]),
    "limit_max_requests_jitter": (["0", "100"], ["-1"]),
    "timeout_keep_alive": (["0", "5"], ["-1", "1.5", "soon"]),
    "ssl_keyfile": (["{pem}"], ["/nowhere.pem"]),
    "ssl_certfile": (["{pem}"], ["/nowhere.pem"]),
    "ssl_keyfile_password": (["secret"], []),
    "ssl_version": ([str(int(ssl.PROTOCOL_TLS_SERVER))], ["99", str(int(ssl.PROTOCOL_TLS_CLIENT))]),
    "ssl_cert_reqs": (["0", "1", "2"], ["3", "required"]),
    "ssl_ca_certs": (["{pem}"], ["/nowhere.pem"]),
    "ssl_ciphers": (["ECDHE+AESGCM"], []),
    "headers": (["A:b", "A:b X-C:d:e F:"], ["A", ":b", "A(:b", "\N{SNOWMAN}:b", "A:\N{SNOWMAN}"]),
    "h11_max_incomplete_event_size": (["1000"], ["-1"]),
    "reset_contextvars": (["1", "no"], ["2"]),
    "factory": (["1", "no"], ["2"]),
}
BESIDE = {"UVICORN_SSL_CERTFILE": "{pem}", "UVICORN_LIMIT_MAX_REQUESTS": "1"}


def test_each_option_of_uvicorn_is_one_here_or_set_elsewhere() -> None:
    """Also options of a newer uvicorn."""
    names = {each.name for each in uvicorn.main.params}
    assert names == TAKEN.keys() | options.ELSEWHERE.keys()
    assert not TAKEN.keys() & options.ELSEWHERE.keys()


@pytest.mark.parametrize("name", TAKEN)
def test_an_option_is_taken_or_refused_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = tmp_path / "site.pem"
    pem.touch()
    good, bad = TAKEN[name]
    variable = f"UVICORN_{name.upper()}"
    for value in good:
        for each, text in {**BESIDE, variable: value}.items():
            monkeypatch.setenv(each, text.format(pem=pem))
        assert name in options.read()
    for value in bad:
        monkeypatch.setenv(variable, value)
        with pytest.raises(options.OptionsError, match=f"^wrong setting: {variable}: .+"):
            options.read()


@pytest.mark.parametrize("name", options.ELSEWHERE)
def test_an_option_that_is_set_elsewhere_is_reported(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its value; the message says where to set it."""
    monkeypatch.setenv(f"UVICORN_{name.upper()}", "1")
    where = re.escape(options.ELSEWHERE[name])
    with pytest.raises(options.OptionsError, match=f"UVICORN_{name.upper()}: {where}$"):
        options.read()


@pytest.mark.parametrize(
    "wrong",
    [
        {"UVICORN_SSL_CERTFILE": "/nowhere.pem"},
        {"UVICORN_SSL_CERTFILE": "/etc/hostname"},
        {"UVICORN_SSL_KEYFILE": "/etc/hostname"},
        {"UVICORN_SSL_CA_CERTS": "/etc/hostname"},
        {"UVICORN_LIMIT_MAX_REQUESTS_JITTER": "5"},
        {"UVICORN_WS": "nowhere:Protocol"},
    ],
    ids=["missing", "no certificate", "key alone", "authority alone", "jitter alone", "websockets"],
)
def test_an_option_that_cannot_be_loaded_is_reported(
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
