"""The operator's page is closed to other web pages, and to everybody without the token."""

import os
import pty
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from example.view.dashboard.access import Access

from ..launchers import SCRIPTS
from ..server import Server
from .dashboard import TOKEN, Dashboard

Popen = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def page() -> Iterator[Dashboard]:
    """The page alone: Redis and supervisord are away."""
    folder = Path(tempfile.mkdtemp(prefix="ex", dir="/tmp"))
    page = Dashboard(folder, Server(folder / "redis"))
    page.environ["DASHBOARD_HOSTS"] = "page.example.com"
    # Something with forms on it is shown all the same.
    (folder / "supervisord.conf").write_text("[supervisorctl]\nserverurl = unix:///nowhere\n")
    try:
        page.start()
        page.eventually(page.page_answers)
        yield page
    finally:
        page.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cookie(page: Dashboard) -> str:
    return page.log_in()


def test_without_the_token_nothing_is_shown(page: Dashboard) -> None:
    for path in ("/", "/?before=1-1", "/?token="):
        answer = page.ask(path)
        assert answer.status == 401
        # Each part of the page has a heading of its own.
        assert "<h2" not in answer.text
    assert page.ask("/do/drop", "id=all", Origin=f"http://{page.host}").status == 401


def test_metrics_are_for_whoever_sends_the_token(page: Dashboard, cookie: str) -> None:
    """In its header, as Prometheus does; a browser's cookie is for the page."""
    for headers in ({}, {"Authorization": "Bearer nobody-knows-this-token"}, {"Cookie": cookie}):
        assert page.ask("/metrics", **headers).status == 401
    answer = page.ask("/metrics", Authorization=f"Bearer {TOKEN}")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "queue_up 0.0" in answer.text


def test_the_address_with_the_token_leads_to_the_page(page: Dashboard) -> None:
    """By way of an address without the token, which the browser remembers instead."""
    answer = page.ask(f"/?token={TOKEN}")
    assert (answer.status, answer.headers["location"], answer.text) == (303, "/", "")
    name, *flags = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(flags)
    assert TOKEN not in name
    assert "TESTING" in page.ask(Cookie=name).text


def test_behind_tls_the_cookie_is_for_tls_only(page: Dashboard) -> None:
    answer = page.ask(f"/?token={TOKEN}", X_Forwarded_Proto="https")
    assert "; Secure" in answer.headers["set-cookie"]
    assert "; Secure" not in page.ask(f"/?token={TOKEN}").headers["set-cookie"]


def test_the_token_may_be_given_in_a_form(page: Dashboard) -> None:
    """Of this page alone."""
    form = f"token={TOKEN}"
    assert page.ask("/login", form, Origin=f"http://{page.host}").status == 303
    assert page.ask("/login", form, Origin="http://evil.test").status == 403


@pytest.mark.parametrize(
    "guess",
    [
        *("", "x", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper(), f"{TOKEN}%00", "%ff", "%E2%82%AC" * 20),
        *(f"x&token={TOKEN[:-1]}", "x" * 30000),
    ],
)
def test_a_guess_opens_nothing(page: Dashboard, guess: str) -> None:
    answer = page.ask(f"/?token={guess}")
    assert (answer.status, answer.headers["set-cookie"]) == (401, None)


def test_a_cookie_that_was_made_up_or_changed_opens_nothing(page: Dashboard, cookie: str) -> None:
    name, _, value = cookie.partition("=")
    session, _, signature = value.partition(".")
    later = re.sub(r"^\d+", lambda time: str(int(time[0]) + 1), session)
    for other in (
        *("", ".", "x.y", f"{session}.", f".{signature}", f"{later}.{signature}"),
        *(f"{session}.{signature[:-1]}", f"{session}.{'0' * 64}", f"{value}.x", "é.é", TOKEN),
    ):
        assert page.ask(Cookie=f"{name}={other}".encode().decode("latin-1")).status == 401
    assert page.ask(Cookie=f"other-{name}={value}").status == 401


def test_after_a_week_the_token_is_asked_for_again(page: Dashboard, cookie: str) -> None:
    name, _, value = cookie.partition("=")
    random = value.partition(".")[0].partition("-")[2]
    for days, status in ((6, 200), (8, 401), (-1, 401)):
        session = f"{int(time.time()) - days * 86400}-{random}"
        signed = f"{session}.{Access(TOKEN)._sign('session', session)}"
        assert page.ask(Cookie=f"{name}={signed}").status == status


def test_another_web_page_can_make_the_browser_do_nothing(page: Dashboard, cookie: str) -> None:
    """The browser may add the cookie, but the CSRF token and the Origin are missing."""
    own, word = f"http://{page.host}", page.word(cookie)
    others = page.word(page.log_in())
    drop = "/do/drop"
    for origin in ("null", "http://evil.test", f"http://{page.host}.evil.test", "", own[:-1]):
        assert page.ask(drop, f"id=all&word={word}", Cookie=cookie, Origin=origin).status == 403
    assert page.ask(drop, f"id=all&word={word}", Cookie=cookie).status == 403
    for wrong in ("", word[:-1], others, "%ff"):
        form = f"id=all&word={wrong}"
        assert page.ask(drop, form, Cookie=cookie, Origin=own).status == 403
    assert page.ask(f"/do/drop?id=all&word={word}", Cookie=cookie, Origin=own).status == 405
    # With both it is asked whether it shall.
    asked = page.ask(drop, f"id=all&word={word}", Cookie=cookie, Origin=own)
    assert (asked.status, "Drop all dead items?" in asked.text) == (200, True)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.test", "127.0.0.1.evil.test", "localhost.evil.test", "evil.test:5001"),
        *("", "[::1", "127.0.0.1@evil.test", "xpage.example.com", "2130706433"),
    ],
)
def test_a_foreign_name_is_refused(page: Dashboard, cookie: str, host: str) -> None:
    """In DNS rebinding, the attacker's name leads to this machine, and stands in Host."""
    answer = page.ask(Host=host, Cookie=cookie)
    assert answer.status in (400, 421)
    assert "TESTING" not in answer.text
    assert page.ask(f"/?token={TOKEN}", Host=host).headers["set-cookie"] is None


@pytest.mark.parametrize("host", ["LOCALHOST:1", "[::1]:5001", "10.0.0.7", "page.example.com"])
def test_an_address_and_a_name_of_ours_are_taken(page: Dashboard, host: str) -> None:
    assert page.ask(f"/?token={TOKEN}", Host=host).status == 303


def test_every_answer_tells_the_browser_to_keep_it_to_itself(page: Dashboard, cookie: str) -> None:
    for answer in (
        *(page.ask(Cookie=cookie), page.ask(), page.ask("/nothing"), page.ask("/login")),
        *(page.ask(Host="evil.test"), page.ask("/static/page.js"), page.ask("/do/x", "")),
    ):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["server"] is None


@pytest.mark.parametrize(
    "path",
    [
        *("/static/", "/static/../access.py", "/static/%2e%2e/access.py", "/static/..%2faccess.py"),
        *(
            "/static//etc/passwd",
            "/static/%2fetc%2fpasswd",
            "/../../etc/passwd",
            "/templates/page.html",
        ),
    ],
)
def test_no_other_file_is_served(page: Dashboard, cookie: str, path: str) -> None:
    assert page.ask(path, Cookie=cookie).status == 404


def test_a_request_that_is_too_large_is_refused(page: Dashboard, cookie: str) -> None:
    own = f"http://{page.host}"
    assert page.ask("/login", "token=" + "x" * 20000, Origin=own).status == 413
    assert page.ask("/login", "&".join("a=b" for _ in range(100)), Origin=own).status == 400
    with socket.create_connection(("127.0.0.1", page.page_port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        client.sendall(b"X-A: " + b"x" * 100_000)
        assert client.recv(100).startswith(b"HTTP/1.1 431")


def test_a_slow_client_is_cut_off_and_holds_up_nobody(page: Dashboard) -> None:
    with socket.create_connection(("127.0.0.1", page.page_port)) as slow:
        head = f"POST /login HTTP/1.1\r\nHost: {page.host}\r\nOrigin: http://{page.host}\r\n"
        slow.sendall(f"{head}Content-Length: 100\r\n\r\ntoken=".encode())
        assert page.log_in()
        slow.settimeout(10)
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


def test_the_token_is_in_no_log(page: Dashboard, cookie: str) -> None:
    assert page.ask("/?token=a-wrong-token-of-somebody").status == 401
    page.eventually(lambda: "wrong token" in page.stdout())
    session = cookie.partition("=")[2]
    for secret in (TOKEN, session, "a-wrong-token-of-somebody", "token="):
        assert secret not in page.stdout()


def test_an_operator_cannot_forge_a_log_line(page: Dashboard, cookie: str) -> None:
    form = f"word={page.word(cookie)}&sure=yes&name=a%0Aforged%1B[2J"
    answer = page.ask("/do/restart", form, Cookie=cookie, Origin=f"http://{page.host}")
    assert answer.status == 303
    page.eventually(lambda: r"asked for on the page: Restart a forged\x1b[2J" in page.stdout())


def test_a_page_without_redis_and_supervisord_says_since_when(page: Dashboard, cookie: str) -> None:
    text = page.ask(Cookie=cookie).text
    assert "Not well" in text
    assert re.search(r"Redis does not answer: .* \(since \d\d:\d\d:\d\d\)", text)
    assert re.search(r"supervisord does not answer: .* \(since \d\d:\d\d:\d\d\)", text)


@pytest.mark.parametrize("token", [None, "", "too-short"])
def test_without_a_token_and_a_terminal_it_does_not_start(popen: Popen, token: str | None) -> None:
    """Otherwise the generated token would be in a log."""
    env = {} if token is None else {"DASHBOARD_TOKEN": token}
    program = popen([SCRIPTS / "example-dashboard"], env)
    said = program.communicate(timeout=20)[0]
    assert (program.returncode, said.count("wrong setting: DASHBOARD_TOKEN: ")) == (2, 1)
    assert "too-short" not in said


def test_on_a_terminal_it_shows_the_address_that_opens_it(folder: Path) -> None:
    page = Dashboard(folder, Server(folder / "redis"))
    del page.environ["DASHBOARD_TOKEN"]
    ours, its = pty.openpty()
    try:
        page.start(its)
        said, end = "", time.monotonic() + 15
        while not (found := re.search(r"(/\?token=\S+)\r\n", said)):
            assert select.select([ours], [], [], end - time.monotonic())[0], said
            said += os.read(ours, 4096).decode()
        assert page.ask(found[1]).status == 303
        assert page.stop() == [0]
    finally:
        page.close()
        os.close(ours)
        os.close(its)
