"""Real faults: the quick cells. scripts/faults runs all, also under other launchers."""

import signal
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from instruments.faults import report
from instruments.faults.columns import COLUMNS, Column
from instruments.faults.scene import Seen
from instruments.faults.table import FAULTS, Fault, Promise, play

from .launchers import Launcher
from .layout import Layout
from .server import Server

BY_NAME = {fault.name: fault for fault in FAULTS}
BY_COLUMN = {column.name: column for column in COLUMNS}


def few(name: str) -> Column:
    """The column with one process of each program, where the fault does not ask for more."""

    def make(folder: Path, redis: Server) -> Launcher:
        layout = BY_COLUMN[name].make(folder, redis)
        assert isinstance(layout, Layout)
        layout.only(app=1, beat=1, worker=1)
        return layout

    return replace(BY_COLUMN[name], make=make)


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """Also where the tests run in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.brief], ids=lambda fault: fault.name)
def test_our_supervisord_conf_keeps_its_promise(fault: Fault) -> None:
    """What a user sees of the fault is no more than the table says."""
    # Of two beats, one goes on.
    seen = play(fault, BY_COLUMN["ours"] if fault.name.startswith("beat") else few("ours"))
    assert not fault.promise.broken(seen), seen


class TestTheMeasureSees:
    """The same faults where they do harm: a measure that always says "fine" would fail here."""

    def test_lost_items_and_a_program_gone_for_good(self) -> None:
        """The article's worker, killed with an item in hand."""
        seen = play(BY_NAME["worker: kill -9"], BY_COLUMN["article"])
        assert (seen.lost, seen.seconds, seen.status) == (1, None, None)
        assert "worker" in seen.away

    def test_orphans_and_doubled_ticks(self) -> None:
        """The article's parent, killed and started again: two of each, and one app too many."""
        seen = play(BY_NAME["parent: kill -9, started again"], BY_COLUMN["article"])
        assert seen.orphans == 3
        assert seen.ticks_doubled >= 2

    def test_failed_requests(self) -> None:
        """To restart one program is to restart all, where the parent cannot do otherwise."""
        seen = play(BY_NAME["restart of app"], BY_COLUMN["parent"])
        assert seen.failed

    def test_what_runs_on_half_dead(self) -> None:
        """Stock supervisord with a wrong setting has nothing to run, and runs."""
        seen = play(replace(BY_NAME["bad configuration"], patience=4.0), few("stock"))
        assert seen.status is None


GOOD = Seen(
    failed=0,
    lost=0,
    doubled=0,
    missed=0,
    ticks_doubled=0,
    seconds=0.5,
    fewer=0,
    orphans=0,
    status=None,
)


def test_a_promise_tells_what_is_beyond_it() -> None:
    seen = Seen(**(vars(GOOD) | {"lost": 1, "seconds": None, "status": 70}))
    assert Promise().broken(GOOD) == []
    assert Promise().broken(seen) == [
        "lost is 1, promised 0",
        "seconds is None, promised 10.0",
        "status is 70, promised None",
    ]


def test_the_report_names_what_is_not_zero() -> None:
    """Each fault and launcher is in the text, the chart is well-formed, and a skip has a name."""
    cells: dict[tuple[str, str], report.Cell] = {
        (fault.name, column.name): GOOD for fault in FAULTS for column in COLUMNS
    }
    cells["app: kill -9", "stock"] = Seen(**(vars(GOOD) | {"failed": 7}))
    cells["log disk full for 4 s", "ours"] = "no tmpfs here"
    text = report.markdown(FAULTS, cells, datetime(2026, 1, 2, tzinfo=UTC), 6)
    assert "| app: kill -9 | 🟢 0.5 s | 🟢 0.5 s | 🟡 0.5 s, 7 failed | 🟢 0.5 s |" in text
    assert "⚪ skipped: no tmpfs here |" in text
    assert "2026-01-02" in text
    chart = ET.fromstring(report.svg(FAULTS, cells, datetime(2026, 1, 2, tzinfo=UTC)))  # noqa: S314 it is our own
    words = {each.text for each in chart.iter("{http://www.w3.org/2000/svg}text")}
    assert {fault.name for fault in FAULTS} <= words
    assert {column.title for column in COLUMNS} <= words
