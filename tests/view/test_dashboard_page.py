"""The operator's page in a real browser, with a real supervisord and a real Redis behind it."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from ..layout import ROOT, Layout
from ..package import package
from ..server import Server, free_port
from .dashboard import TOKEN, Asking

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


class Shown(Layout, Asking):
    """Everything under supervisord, with the drop-in for the page."""

    def __init__(self, folder: Path, redis: Server) -> None:
        super().__init__(folder, redis)
        self.page_port = free_port()
        files = package(folder / "code", tasks=TASKS, schedule=SCHEDULE)
        self.environ |= {"DASHBOARD_PORT": str(self.page_port), "PYTHONPATH": files}
        (folder / "var" / "dashboard.token").write_text(f"{TOKEN}\n")
        self.override("dashboard", (ROOT / "supervisord.d/dashboard.conf.example").read_text())


@pytest.fixture
def shown(launch: Callable[..., Any], redis: Server) -> Shown:
    shown: Shown = launch(Shown, redis, PAYLOAD=PAYLOAD.replace("\x1b", ""))
    shown.override("loud", LOUD)
    shown.start()
    shown.ready()
    shown.eventually(shown.page_answers)
    return shown


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("chromium is not here")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program)


@pytest.fixture
def look(browser: Browser, shown: Shown) -> Iterator[Callable[..., Page]]:
    """Opens the page in a browser of its own: look(width=360). At the end nothing was wrong."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def opened(width: int = 1100, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: wrong.extend(faults(said)))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"{shown.url}?token={TOKEN}")
        assert page.url == shown.url
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def faults(said: ConsoleMessage) -> list[str]:
    """Errors in the browser, also of the page's policy; but not that the page is closed."""
    return [said.text] if said.type == "error" and " 401 " not in said.text else []


def dead(shown: Shown) -> int:
    return int(shown.redis.client.xlen("{TESTING}:dead"))


def bury(shown: Shown, *items: str) -> None:
    for item in items:
        shown.push(item.encode())
    shown.eventually(lambda: dead(shown) == len(items))


def see(page: Page, selector: str, *words: str) -> None:
    for each in words:
        expect(page.locator(selector)).to_contain_text(each, timeout=WAIT_MS)


def test_it_shows_what_runs_and_what_comes(shown: Shown, look: Callable[..., Page]) -> None:
    """Also in the dark, and to a screen reader: everything has its name there."""
    page = look()
    expect(page.get_by_role("heading", level=1)).to_have_text("All is well")
    for name in ("app_00", "app_01", "beat_00", "beat_01", "worker_00", "redis", "dashboard"):
        row = page.get_by_role("row", name=re.compile(rf"^{name} ready"))
        expect(row).to_contain_text("MiB")
    see(page, "#queue", "TESTING", "Workers", "Run time")
    see(page, "#schedule", "every 1 s", "0 3 * * * Europe/Berlin", "in ", "ago")
    see(page, "#dead", "No dead items.")
    expect(page.get_by_role("img", name=re.compile("^Done: now [0-9.]+ a second"))).to_be_visible()
    depth = page.get_by_role("img", name=re.compile("^Waiting: now [0-9]+ items"))
    expect(depth.locator("rect title").last).to_contain_text(
        re.compile("[0-9]+ waiting, [0-9]+ in hand"), timeout=WAIT_MS
    )
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input:not([type=hidden]), table, section')]"
        ".filter(each => !each.ariaLabel && !each.textContent.trim()).length"
    )
    assert unnamed == 0
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_what_happens_is_seen_without_a_reload(shown: Shown, look: Callable[..., Page]) -> None:
    """Updates keep the focus and what was typed; and the page fits on a phone."""
    page = look()
    page.evaluate("window.same = true")
    number = page.get_by_label("Processes of worker")
    number.fill("3")
    bury(shown, "bad one")
    see(page, "#dead", "bad one", "of no use")
    expect(page.get_by_role("heading", level=1)).to_have_text("It works, but have a look")
    shown.signal("beat", "KILL")
    see(page, '[id="program-beat:beat_00"]', "terminated by SIGKILL")
    shown.redis.kill()
    see(page, "#verdict", "Not well", "Redis has not answered since")
    see(page, "#queue", "The numbers below are from")
    shown.redis.start()
    see(page, "#verdict", "The dead list is not empty")
    expect(number).to_be_focused()
    expect(number).to_have_value("3")
    number.press("Enter")
    see(page, '[id="program-worker:worker_02"]', "ready")
    assert page.evaluate("window.same")
    for width in (360, 640, 800, 940, 1100):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_dead_items_are_requeued_and_dropped_by_click(
    shown: Shown, look: Callable[..., Page]
) -> None:
    """The page asks before it drops something."""
    bury(shown, "bad a", "bad b", "bad c")
    page = look()
    page.get_by_role("button", name="Drop bad a").click()
    expect(page.get_by_role("dialog")).to_contain_text("This cannot be undone: bad a")
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Drop bad a").click()
    page.get_by_role("button", name="Drop", exact=True).click()
    see(page, "#operations", "Drop a dead item done", "1 item is gone")
    expect(page.locator("#dead")).not_to_contain_text("bad a")
    # It dies again, and is the newest then.
    page.get_by_role("button", name="Requeue bad b").click()
    see(page, "#operations", "1 item is on the list again")
    expect(page.locator("#dead tbody tr").first).to_contain_text("bad b")
    page.get_by_role("button", name="Drop all dead items").click()
    page.get_by_role("button", name="Drop all", exact=True).click()
    see(page, "#dead", "No dead items.")
    assert dead(shown) == 0


def test_programs_are_restarted_and_rolled_by_keyboard(
    shown: Shown, look: Callable[..., Page]
) -> None:
    page = look()
    before = shown.pid("worker"), shown.pid("app")
    restart = page.get_by_role("button", name="Restart worker:worker_00")
    restart.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(restart).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Cancel")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    see(page, "#operations", "Restart worker:worker_00 done")
    page.get_by_role("button", name="Roll app").focus()
    page.keyboard.press("Enter")
    see(page, "#operations", "Roll app done")
    assert shown.pid("worker") != before[0]
    assert shown.pid("app") != before[1]


def test_without_javascript_it_does_the_same(shown: Shown, look: Callable[..., Page]) -> None:
    bury(shown, "bad a")
    page = look(java_script_enabled=False)
    page.get_by_role("button", name="Drop bad a").click()
    page.get_by_role("button", name="Drop", exact=True).click()
    assert page.url == shown.url
    see(page, "#dead", "No dead items.")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("This page is closed")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Open").click()
    see(page, "#dead", "No dead items.")


def test_what_others_say_is_text(shown: Shown, look: Callable[..., Page]) -> None:
    """In an item, its reason, a program's status and a schedule entry's name."""
    bury(shown, f"bad {PAYLOAD}")
    page = look()
    see(page, "#dead tbody th", "<img src=x onerror=alert(1)>", "{{7*7}}", "\\u202e")
    see(page, "#dead [data-label=Why]", "of no use: bad <img", "\\u202e")
    see(page, "#program-loud", "<script>alert(2)</script>")
    see(page, "#schedule", "<b>nightly</b>")
    # Once more as an update brings it, and in the dialog.
    page.get_by_role("button", name=re.compile("^Drop bad")).click()
    expect(page.get_by_role("dialog")).to_contain_text("<script>alert(2)</script>")
    for selector in ("img", "main script", "dialog script", "#schedule b"):
        expect(page.locator(selector)).to_have_count(0)
    assert "\u202e" not in page.content()
