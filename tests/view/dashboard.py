"""The operator's page, as browsers and other clients request it."""

import http.client
import re
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Page, expect

from ..launchers import Launcher
from ..layout import ROOT, Layout
from ..package import package
from ..server import Server, free_port

TOKEN = "correct-horse-battery-staple"  # noqa: S105 of the tests alone
PAYLOAD = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'{{7*7}}\u202e\x1b[31m"
TASKS = """
import logging

from .runtime.task import GiveUp


async def work(item: str) -> None:
    if item.startswith("bad"):
        raise GiveUp(f"of no use: {item}")
    logging.getLogger(__name__).info("WORKING: %s", item)
"""
SCHEDULE = """
from .runtime.schedule import Cron, Every

SCHEDULE = {
    "ok": Every(1, "ok"),
    "<b>nightly</b>": Cron("0 3 * * *", "Europe/Berlin", "nightly"),
}
"""
# Its status is what it likes.
LOUD = """
[program:loud]
command = python -c "import os, socket, time; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(('READY=1\\nSTATUS=' + os.environ['PAYLOAD']).encode(), os.environ['NOTIFY_SOCKET']); time.sleep(1000)"
"""  # noqa: E501
WAIT_MS = 10_000


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    text: str


class Asking:
    """Whoever asks for the page on a port of this machine."""

    page_port: int

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.page_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/"

    def ask(self, path: str = "/", form: str | None = None, **headers: str) -> Answer:
        """A GET, or a POST of `form`; a header is named as Python can: X_Forwarded_Proto="…"."""
        connection = http.client.HTTPConnection("127.0.0.1", self.page_port, timeout=10)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        method = "GET" if form is None else "POST"
        try:
            connection.request(method, path, form, named)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode())
        finally:
            connection.close()

    def log_in(self) -> str:
        """Log in with the token; returns the Cookie header for later requests."""
        answer = self.ask(f"/?token={TOKEN}")
        assert (answer.status, answer.headers["location"]) == (303, "/")
        return str(answer.headers["set-cookie"]).partition(";")[0]

    def word(self, cookie: str) -> str:
        """What the forms of this session's page bear."""
        found = re.search(r'name="word" value="(\w+)"', self.ask(Cookie=cookie).text)
        assert found
        return found[1]

    def page_answers(self) -> bool:
        try:
            return self.ask().status == 401
        except OSError:
            return False


class Dashboard(Launcher, Asking):
    """`example-dashboard` alone, with a token that is set."""

    def __init__(self, folder: Path, redis: Server) -> None:
        super().__init__(folder, redis, ["example-dashboard"])
        self.page_port = free_port()
        self.environ |= {"DASHBOARD_PORT": str(self.page_port), "DASHBOARD_TOKEN": TOKEN}


class Shown(Layout, Asking):
    """Everything under supervisord, with the drop-in for the page."""

    def __init__(self, folder: Path, redis: Server) -> None:
        super().__init__(folder, redis)
        self.page_port = free_port()
        files = package(folder / "code", tasks=TASKS, schedule=SCHEDULE)
        self.environ |= {"DASHBOARD_PORT": str(self.page_port), "PYTHONPATH": files}
        (folder / "var" / "dashboard.token").write_text(f"{TOKEN}\n")
        self.override("dashboard", (ROOT / "supervisord.d/dashboard.conf.example").read_text())

    def dead(self) -> int:
        return int(self.redis.client.xlen("{TESTING}:dead"))

    def bury(self, *items: str) -> None:
        for item in items:
            self.push(item.encode())
        self.eventually(lambda: self.dead() == len(items))

    def shows(self, text: str) -> None:
        """Wait until it is on the page, which looks once a second."""
        cookie = self.log_in()
        self.eventually(lambda: text in self.ask(Cookie=cookie).text)


def see(page: Page, selector: str, *words: str) -> None:
    """Wait until all of these are there."""
    for each in words:
        expect(page.locator(selector)).to_contain_text(each, timeout=WAIT_MS)
