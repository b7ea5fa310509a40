"""docs/worked.md: the application that it builds, as it stands there, under supervisord."""

import importlib
import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from zoneinfo import ZoneInfo

import pytest
from websockets.sync.client import connect

from example.runtime import schedule

from .layout import ROOT, Layout
from .package import package
from .server import Server

PAGE = (ROOT / "docs" / "worked.md").read_text()
FILES = dict(
    re.findall(r"^## [^\n]*`(?:\w+|[\w.]+)/(\S+)`\n.*?^```\w+\n(.*?)^```", PAGE, re.M | re.S)
)


@pytest.fixture
def orders(launch: Callable[..., Any], redis: Server) -> Layout:
    """The whole application, up and ready."""
    layout: Layout = launch(Layout, redis)
    code = {name[:-3]: text for name, text in FILES.items() if name.endswith(".py")}
    assert code.keys() == {"orders", "api", "tasks", "schedule"}
    layout.environ["PYTHONPATH"] = package(layout.folder, **code)
    layout.only(app=1, beat=1, worker=1)
    layout.override("renders", FILES["renders.conf"])
    layout.start()
    layout.all_ready()
    return layout


def post(layout: Layout, text: str) -> int:
    body = json.dumps({"text": text}).encode()
    url = f"http://127.0.0.1:{layout.port}/orders"
    asked = Request(url, body, {"Content-Type": "application/json"})
    with urlopen(asked, timeout=10) as answer:  # noqa: S310
        return int(answer.read())


def test_an_order_goes_all_the_way(orders: Layout) -> None:
    """Through SQLite and both queues to a process, and its state to stream and WebSocket."""
    with urlopen(f"http://127.0.0.1:{orders.port}/events", timeout=30) as events:
        assert events.readline() == b"data: {}\n"
        number = post(orders, "a book")
        with connect(f"ws://127.0.0.1:{orders.port}/live") as socket:

            def state() -> str:
                socket.send(str(number))
                return str(socket.recv(5))

            orders.eventually(lambda: state().startswith("done: "), within=30)
            done = state()
        told = (json.loads(line[5:]) for line in iter(events.readline, b"") if line.strip())
        assert {str(number): done} in told
    orders.push(b"nightly")
    orders.eventually(lambda: "NIGHTLY: 1 orders forgotten" in orders.stdout())
    assert json.loads(orders.get("/orders")) == {}


def test_the_nightly_job_comes_at_three(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In summer and in winter."""
    text = FILES["schedule.py"].replace(".runtime.schedule", schedule.__name__)
    (folder / "nightly.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    entry = importlib.import_module("nightly").SCHEDULE["nightly"]
    for month in (1, 6):
        night = datetime(2026, month, 1, 3, tzinfo=ZoneInfo("Europe/Berlin")).timestamp() * 1000
        assert entry.after(night - 1) == night


def test_it_rolls_and_stops_with_all_that_it_started(orders: Layout) -> None:
    number = post(orders, "a book")
    orders.eventually(lambda: "done" in json.loads(orders.get("/orders"))[str(number)], within=30)
    for group in ("app", "worker", "renders", "beat"):
        orders.ctl("roll", group, check=True)
    number = post(orders, "another")
    orders.eventually(lambda: "done" in json.loads(orders.get("/orders"))[str(number)], within=30)
    assert orders.shutdown() == 0
    assert not orders.living()
