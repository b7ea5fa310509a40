"""The operator's page, as browsers and other clients request it."""

import http.client
import re
from pathlib import Path
from typing import NamedTuple

from ..launchers import Launcher
from ..server import Server, free_port

TOKEN = "correct-horse-battery-staple"  # noqa: S105 of the tests alone


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
