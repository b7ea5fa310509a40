"""The operator's page in a real browser, with a real supervisord and a real Redis behind it."""

import re
import shutil
import tempfile
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

from ..server import Server
from .dashboard import LOUD, PAYLOAD, TOKEN, WAIT_MS, Shown, see
from .everybody import can_be_used_by_keyboard, for_everybody

Look = Callable[..., Page]

NEWEST = "#operations > :first-child"


@pytest.fixture(scope="module")
def site() -> Iterator[Shown]:
    """Everything up and ready, with the page."""
    with (
        tempfile.TemporaryDirectory(prefix="ex", dir="/tmp") as folder,
        Server(Path(folder) / "redis") as redis,
    ):
        site = Shown(Path(folder), redis)
        site.environ["PAYLOAD"] = PAYLOAD.replace("\x1b", "")
        site.override("loud", LOUD)
        try:
            site.start()
            site.ready()
            site.eventually(site.page_answers)
            yield site
        finally:
            site.close()


@pytest.fixture
def shown(site: Shown) -> Shown:
    """All is well there, whatever has happened in the test before."""
    site.redis.client.delete("{TESTING}:dead", "{TESTING}:retry")
    site.shows("All is well")
    return site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # The first has no window of its own, and takes a third of the time.
    names = ("chromium-headless-shell", "chromium", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"needs {' or '.join(names)}")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program)


@pytest.fixture
def look(browser: Browser, shown: Shown) -> Iterator[Look]:
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


def test_it_shows_what_runs_and_what_comes(shown: Shown, look: Look) -> None:
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


def test_what_happens_is_seen_without_a_reload(shown: Shown, look: Look) -> None:
    """Updates keep the focus and what was typed."""
    page = look()
    page.evaluate("window.same = true")
    number = page.get_by_label("Processes of worker")
    number.fill("3")
    shown.bury("bad one")
    see(page, "#dead", "bad one", "of no use")
    expect(page.get_by_role("heading", level=1)).to_have_text("It works, but have a look")
    shown.signal("beat", "KILL")
    see(page, '[id="program-beat:beat_00"]', "terminated by SIGKILL")
    shown.redis.kill()
    see(page, "#verdict", "Not well", "Redis does not answer: ")
    see(page, "#queue", "The numbers below are from")
    shown.redis.start()
    see(page, "#verdict", "The dead list is not empty")
    expect(number).to_be_focused()
    expect(number).to_have_value("3")
    number.press("Enter")
    third = page.locator('[id="program-worker:worker_02"]')
    expect(third).to_contain_text("ready", timeout=WAIT_MS)
    number.fill("1")
    number.press("Enter")
    expect(third).to_have_count(0, timeout=WAIT_MS)
    assert page.evaluate("window.same")


def test_dead_items_are_requeued_and_dropped_by_click(shown: Shown, look: Look) -> None:
    """The page asks before it drops something."""
    shown.bury("bad a", "bad b", "bad c")
    page = look()
    page.get_by_role("button", name="Drop bad a").click()
    expect(page.get_by_role("dialog")).to_contain_text("This cannot be undone: bad a")
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Drop bad a").click()
    page.get_by_role("button", name="Drop", exact=True).click()
    see(page, NEWEST, "Drop dead item ", "done", "1 item is gone")
    expect(page.locator("#dead")).not_to_contain_text("bad a")
    # It dies again, and is the newest then.
    page.get_by_role("button", name="Requeue bad b").click()
    see(page, NEWEST, "1 item is on the list again")
    expect(page.locator("#dead tbody tr").first).to_contain_text("bad b")
    page.get_by_role("button", name="Drop all dead items").click()
    page.get_by_role("button", name="Drop all", exact=True).click()
    see(page, "#dead", "No dead items.")
    assert shown.dead() == 0


def test_the_dead_list_is_paged(shown: Shown, look: Look) -> None:
    """What is done on an older page leaves one there."""
    for number in range(45):
        shown.redis.client.xadd("{TESTING}:dead", {"item": f"bad {number:02}"})
    page = look()
    rows = page.locator("#dead tbody tr")
    for first, last in ((44, 25), (24, 5)):
        see(page, "#dead", f"bad {first:02}", f"bad {last:02}")
        expect(rows).to_have_count(20)
        page.get_by_role("link", name="Older").click()
    expect(rows).to_have_count(5)
    expect(page.get_by_role("link", name="Older")).to_be_hidden()
    plain = look(java_script_enabled=False)
    plain.goto(page.url)
    plain.get_by_role("button", name="Drop bad 03").click()
    plain.get_by_role("button", name="Drop", exact=True).click()
    expect(plain.locator("#dead tbody tr")).to_have_count(4)
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text("bad 04")
    page.get_by_role("link", name="Newest").click()
    expect(rows.first).to_contain_text("bad 44")
    assert page.url == shown.url


def test_what_waits_for_its_next_try_is_tried_now(shown: Shown, look: Look) -> None:
    page = look()
    retry = page.get_by_role("button", name="Retry now")
    expect(retry).to_be_hidden()
    shown.redis.client.zadd("{TESTING}:retry", {"x#1 0 1 good": 1e14})
    retry.click()
    see(page, NEWEST, "Retry now done", "1 item does not wait any longer")
    shown.eventually(lambda: shown.said("worker", "WORKING: good"))
    expect(retry).to_be_hidden()


def test_programs_are_restarted_and_rolled_by_keyboard(shown: Shown, look: Look) -> None:
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
    see(page, NEWEST, "Restart worker:worker_00 done")
    page.get_by_role("button", name="Roll app").focus()
    page.keyboard.press("Enter")
    see(page, NEWEST, "Roll app done")
    assert shown.pid("worker") != before[0]
    assert shown.pid("app") != before[1]


def test_without_javascript_it_does_the_same(shown: Shown, look: Look) -> None:
    shown.bury("bad a")
    shown.shows("bad a")
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


def test_what_others_say_is_text(shown: Shown, look: Look) -> None:
    """In an item, its reason, a program's status and a schedule entry's name."""
    shown.bury(f"bad {PAYLOAD}")
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


def test_the_page_and_its_dialogs_are_for_everybody(shown: Shown, look: Look) -> None:
    """Also where something is wrong, and what is shown is old."""
    page = look()
    expect(page.get_by_role("heading", level=1)).to_have_text("All is well")
    for_everybody(page)
    shown.bury("bad one", f"bad {'x' * 3000}")
    shown.redis.client.zadd("{TESTING}:retry", {"x#1 0 1 good": 1e14})
    shown.signal("beat", "KILL")
    see(page, "#dead", "bad one")
    see(page, '[id="program-beat:beat_00"]', "terminated by SIGKILL")
    page.get_by_role("button", name="Requeue bad one").click()
    see(page, NEWEST, "done")
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    for_everybody(page)
    page.get_by_role("button", name="Pause").click()
    can_be_used_by_keyboard(page)
    page.get_by_role("button", name="Drop all dead items").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    for_everybody(page)
    can_be_used_by_keyboard(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Pause").click()
    shown.redis.kill()
    see(page, "#queue", "The numbers below are from")
    for_everybody(page)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("This page is closed")
    page.get_by_label("Token").fill(f"no {TOKEN}")
    page.get_by_role("button", name="Open").click()
    see(page, "main", "That is not the token.")
    for_everybody(page)
    can_be_used_by_keyboard(page)
