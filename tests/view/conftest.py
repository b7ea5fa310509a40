import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from ..server import Server
from .dashboard import LOUD, PAYLOAD, TOKEN, WAIT_MS, Shown


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
