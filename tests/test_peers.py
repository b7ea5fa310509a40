"""scripts/bench peers, without the peers: its table, its pages, and the pins of its packages."""

import re
import shlex
import xml.etree.ElementTree as ET

import pytest

from instruments.bench.peers import page
from instruments.bench.peers.contenders import CONTENDERS, LEAST, ONCE, Contender
from instruments.bench.peers.queue import new_row
from instruments.bench.peers.side import THEIRS

from .layout import ROOT


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.title)
def test_a_contender_is_well_formed(contender: Contender) -> None:
    assert (THEIRS / f"{contender.module}.py").exists()
    assert contender.module in contender.command or contender.command.startswith("rq ")
    assert shlex.split(contender.command.format(url="redis://somewhere", number=0))
    assert contender.promise in (LEAST, ONCE)
    assert contender.noops >= 60


def test_titles_are_told_apart() -> None:
    assert len({each.title for each in CONTENDERS}) == len(CONTENDERS)


def test_each_contender_is_killed_once_and_starts_with_its_default() -> None:
    for name in {each.name for each in CONTENDERS}:
        killed = [each for each in CONTENDERS if each.name == name and each.again]
        assert killed == [next(each for each in CONTENDERS if each.name == name)]


def test_each_is_pinned_with_hashes() -> None:
    pins = "".join(
        (ROOT / f"requirements-{each}.txt").read_text() for each in ("peers", "peers-arq")
    )
    for name in {each.module.removeprefix("on_") for each in CONTENDERS} - {"ours", "article"}:
        assert re.search(rf"(?m)^{name}(\[.*\])?==\S+ \\\n    --hash=sha256:", pins), name


def test_the_page_has_a_row_for_each_and_charts_that_are_xml() -> None:
    rows = [
        new_row(each)
        | {"noop": [3.0, 100.0, 2.0], "nap": [1.0], "enqueue": [7.0], "late": [[0.5, 400.0]]}
        | {"load": [{"rate": 5.0, "p50": 1.0, "p99": 9.0}], "again": None}
        for each in CONTENDERS
    ]
    about = {"when": "2026-01-01", "machine": "a machine", "versions": {"dev": {"redis": "1"}}}
    asked = [{"rate": 9.0, "p50": 0.1, "p99": 2.0, "cpu": 30.0}]
    served = [{"name": "ours", "kept": asked, "fresh": asked}]
    found = page.documents(
        {
            "queue": {"rows": rows, "rounds": 3, "patience": 90} | about,
            "app": {"rows": served, "rounds": 3, "wrk": "wrk"} | about,
        }
    )
    text = found.pop("benchmarks.md")
    assert all(f"| {each.name} | {each.setting} |" in text for each in CONTENDERS)
    assert all(f"({name})" in text for name in found)
    for svg in found.values():
        ET.fromstring(svg)  # noqa: S314
