"""app behind a real nginx, Caddy and haproxy, as shipped in deploy/."""

import asyncio
import contextlib
import os
import pwd
import shutil
import ssl
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from ..layout import Layout
from ..server import Server, free_port
from ..waiting import eventually
from .proxies import PATH, PROXIES, Place, certify, proxy_user

EVERYTHING = (Path(__file__).parent / "everything.py").read_text()


@dataclass
class Site:
    """What clients see, and what is behind it."""

    url: str
    layout: Layout
    context: ssl.SSLContext

    def client(self, **options: Any) -> httpx.Client:
        # Another address of this machine than those that app and proxy have.
        transport = httpx.HTTPTransport(verify=self.context, local_address="127.0.0.5")
        return httpx.Client(base_url=self.url, transport=transport, timeout=20, **options)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return client.get("/").text == "Hello, world!"
        except httpx.HTTPError:
            return False


Behind = Callable[..., Site]


@pytest.fixture
def behind(
    folder: Path, launch: Callable[..., Any], redis: Server, api: Callable[[str], str]
) -> Iterator[Behind]:
    """Puts the layout behind a proxy: behind("nginx", UVICORN_ROOT_PATH="/api")."""
    home = folder / "proxy"
    with contextlib.ExitStack() as stack:

        def start(kind: str, **environ: str) -> Site:
            program = shutil.which(kind, path=PATH)
            if not program:
                pytest.skip(f"needs {kind}")
            home.mkdir()
            for each in (folder, home):
                each.chmod(0o755)
            certify(home)
            layout: Layout = launch(Layout, redis, PYTHONPATH=api(EVERYTHING), **environ)
            layout.only(app=2)
            app = str(layout.port) if kind == "haproxy" else listen_for_proxy(layout, home)
            place = Place(home, free_port(), app, environ.get("UVICORN_ROOT_PATH", ""))
            command = PROXIES[kind](place)
            layout.start()
            layout.ready()
            out = stack.enter_context(open(home / "out", "wb"))
            process = subprocess.Popen(
                command, executable=program, env={"HOME": str(home)}, stdout=out, stderr=out
            )
            stack.callback(process.wait, 20)
            stack.callback(process.terminate)
            context = ssl.create_default_context(cafile=home / "c.pem")
            site = Site(f"https://localhost:{place.port}{place.path}", layout, context)
            eventually(site.answers, 15, (home / "out").read_text)
            return site

        yield start


def listen_for_proxy(layout: Layout, home: Path) -> str:
    """On a socket file that proxies may open and others may not; returns its path."""
    owner = f"socket_owner = root:{proxy_user()}\n" if os.geteuid() == 0 else ""
    keys = f"socket = unix://{home}/app.sock\n{owner}socket_mode = 0660\n"
    layout.override("port", f"[fcgi-program:app]\n{keys}")
    return f"{home}/app.sock"


@pytest.fixture(params=PROXIES)
def site(request: pytest.FixtureRequest, behind: Behind) -> Site:
    """Each proxy in turn, in front of the layout."""
    return behind(request.param, DRAIN_SECONDS="8", UVICORN_ACCESS_LOG="1")


def test_it_is_as_if_nobody_were_between(site: Site) -> None:
    """The client's address, https and the port arrive; what the client claims does not. WebSockets
    and event streams pass as they come. Roll and restart cut nothing."""
    _all_passes(site)
    _roll_and_restart_cut_nothing(site)


def _all_passes(site: Site) -> None:
    claims = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "ftp"}
    with site.client() as client:
        who = client.get("/who", headers=claims).json()
        assert who == {"client": "127.0.0.5", "url": f"{site.url}/who", "root_path": ""}
        assert client.get("/old").headers["location"] == f"{site.url}/who"
        with client.stream("GET", "/events") as events:
            assert next(events.iter_lines()) == "data: tick"
        assert client.post("/upload", content=b"x" * 5_000_000).text == "5000000"
    assert asyncio.run(_echo(site)) == "hello"
    log = site.layout.log("app:app_00") + site.layout.log("app:app_01")
    assert '127.0.0.5:0 - "GET /who HTTP/1.1" 200' in log


async def _echo(site: Site) -> str | bytes:
    url = site.url.replace("https", "wss")
    async with connect(f"{url}/echo", ssl=site.context) as socket:
        await socket.send("hello")
        return await socket.recv()


def _roll_and_restart_cut_nothing(site: Site) -> None:
    """A download and an upload that go on meanwhile are whole, and requests are answered."""
    done = Event()

    def ask() -> set[int]:
        seen = set()
        with site.client() as client:
            while not done.wait(0.02):
                seen.add(client.get("/").status_code)
        return seen

    with ThreadPoolExecutor() as pool, site.client() as client:
        asked = pool.submit(ask)
        download = pool.submit(client.get, "/download?seconds=4")
        upload = pool.submit(client.post, "/upload", content=_paced(80))
        site.layout.eventually(lambda: "download begins" in site.layout.stdout())
        try:
            for verb in (["roll", "app"], ["restart", "app:*"]):
                site.layout.ctl(*verb, check=True)
            site.layout.eventually(site.answers)
        finally:
            done.set()
        assert download.result().content.endswith(b"END")
        assert upload.result().text == "80000"
        assert asked.result() == {200}


def _paced(chunks: int) -> Iterator[bytes]:
    for _ in range(chunks):
        yield b"x" * 1000
        # Its pace, and no wait for anything.
        time.sleep(0.05)


def test_it_can_be_below_a_path(behind: Behind) -> None:
    """nginx takes the path off, and UVICORN_ROOT_PATH has the application know of it."""
    site = behind("nginx", UVICORN_ROOT_PATH="/api")
    with site.client() as client:
        assert client.get("/who").json()["root_path"] == "/api"
        assert client.get("/old").headers["location"] == f"{site.url}/who"
        assert client.get("/livez").text == "ok"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_socket_file_keeps_owner_and_mode(
    folder: Path, launch: Callable[..., Any], redis: Server
) -> None:
    """Over restart, roll and scale; and it serves all the time."""
    layout: Layout = launch(Layout, redis)
    layout.only(app=2)
    path = Path(listen_for_proxy(layout, folder))
    layout.start()
    layout.ready()
    for verb in (["restart", "app:*"], ["roll", "app"], ["scale", "app", "3"]):
        layout.ctl(*verb, check=True)
        layout.all_ready("app")
        status = path.stat()
        group = pwd.getpwnam(proxy_user()).pw_gid
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o660, 0, group)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://app/").text == "Hello, world!"
