"""README's pictures of the operator's page, from a running system under load: scripts/screenshots

It takes eleven minutes, since the page shows the last ten; and Debian's chromium and pngquant.
"""

import contextlib
import math
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from playwright.sync_api import sync_playwright

from tests.layout import ROOT, Layout
from tests.package import package
from tests.server import Server, free_port
from tests.waiting import eventually

SECONDS = float(os.environ.get("SCREENSHOTS_SECONDS", "620"))
TOKEN = "only-of-this-picture"  # noqa: S105

TASKS = """
import asyncio
import random

from .runtime.task import GiveUp


async def work(item: str) -> None:
    kind = item.partition(" ")[0]
    if kind == "refund":
        raise GiveUp("the bank knows no such account")
    if kind == "thumbnail" and random.random() < 0.01:
        raise ConnectionError("images.internal does not answer")
    await asyncio.sleep(random.lognormvariate({"mail": -3, "report": 0.5}.get(kind, -2), 0.6))
"""
SCHEDULE = """
from .runtime.schedule import Cron, Every

SCHEDULE = {
    "thumbnails": Every(5, "thumbnail all"),
    "reminders": Every(60, "mail reminders"),
    "nightly report": Cron("0 3 * * *", "Europe/Berlin", "report all"),
    "invoices": Cron("30 6 1 * *", "Europe/Berlin", "invoice all"),
}
"""
WORKER = """
[program:worker]
numprocs = 2
environment = CONCURRENCY="3"
"""


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="ex", dir="/tmp"))
    with Server(folder / "redis") as redis, started(folder, redis) as layout:
        done = threading.Event()
        load = threading.Thread(target=push, args=(redis, done))
        load.start()
        print(f"demo: {url(layout)} for {SECONDS:.0f} s", flush=True)
        end = time.monotonic() + SECONDS
        try:
            eventually(lambda: time.monotonic() > end - SECONDS / 3, SECONDS)
            # Something has died: the page tells of it.
            layout.signal("beat:beat_01", "KILL")
            eventually(lambda: time.monotonic() > end, SECONDS)
            take(url(layout))
        finally:
            done.set()
            load.join()
    shutil.rmtree(folder)


@contextlib.contextmanager
def started(folder: Path, redis: Server) -> Iterator[Layout]:
    home = folder / "l"
    home.mkdir()
    layout = Layout(home, redis)
    layout.environ["PYTHONPATH"] = package(folder / "code", tasks=TASKS, schedule=SCHEDULE)
    layout.environ |= {"DASHBOARD_PORT": str(free_port())}
    (home / "var" / "dashboard.token").write_text(TOKEN)
    layout.override("dashboard", (ROOT / "supervisord.d/dashboard.conf.example").read_text())
    layout.override("worker", WORKER)
    try:
        layout.start()
        layout.ready()
        yield layout
    finally:
        layout.close()


def url(layout: Layout) -> str:
    return f"http://127.0.0.1:{layout.environ['DASHBOARD_PORT']}/?token={TOKEN}"


def push(redis: Server, done: threading.Event) -> None:
    """Waves of work, as of a day in ten minutes, with a burst now and then."""
    chosen = random.Random(1)  # noqa: S311
    kinds = ["mail"] * 12 + ["thumbnail"] * 6 + ["invoice"] * 2 + ["report"]
    number = 7700
    while not done.wait(0.1):
        wave = 2.6 + 1.6 * math.sin(time.time() / 70) + chosen.random()
        count = 60 if chosen.random() < 0.006 else int(wave * chosen.random())
        for _ in range(count):
            number += 1
            if number % 3000 == 0:
                redis.client.lpush("TESTING", f"refund {number}")
            redis.client.lpush("TESTING", f"{chosen.choice(kinds)} {number}")


def take(address: str) -> None:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
        for scheme in schemes:
            page = browser.new_page(
                viewport={"width": 1100, "height": 1000},
                device_scale_factor=1.25,
                color_scheme=scheme,
            )
            page.goto(address)
            page.wait_for_selector("#live .pulse")
            picture = ROOT / "docs" / f"dashboard-{scheme}.png"
            page.screenshot(path=picture, full_page=True, animations="disabled")
            # A quarter of the size, since it has few colours.
            pngquant = ["pngquant", "--force", "--strip", "--output", str(picture), str(picture)]
            subprocess.run(pngquant, check=True)
            print(f"{picture.name}: {picture.stat().st_size} bytes")
        browser.close()


if __name__ == "__main__":
    main()
