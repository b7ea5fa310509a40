"""scripts/bench peers, without the peers: its table, its pages, and the pins of its packages."""

import re
import shlex
import xml.etree.ElementTree as ET

import pytest

from instruments.bench.peers import page, stack
from instruments.bench.peers.contenders import CONTENDERS, LEAST, ONCE, Contender
from instruments.bench.peers.queue import new_row
from instruments.bench.peers.running import Running
from instruments.bench.peers.side import THEIRS
from instruments.bench.peers.stacks import STACKS, Stack

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
    names = {each.module.removeprefix("on_") for each in CONTENDERS} - {"ours", "article"}
    for name in names | {"circus", "honcho"}:
        assert re.search(rf"(?m)^{name}(\[.*\])?==\S+ \\\n    --hash=sha256:", pins), name


@pytest.mark.parametrize("each", STACKS, ids=lambda each: each.name)
def test_the_files_of_a_stack_name_only_what_there_is(each: Stack) -> None:
    place = dict.fromkeys(Running.PLACE, "here")
    for text in [*each.files.values(), each.command, each.restart]:
        assert text.format(**place) or not text
    for name in re.findall(r"\bstack_\w+", f"{each.files} {each.push}"):
        assert (THEIRS / f"{name}.py").exists()


def test_stacks_are_told_apart() -> None:
    assert len({each.name for each in STACKS}) == len(STACKS)


def test_the_page_has_a_row_for_each_and_charts_that_are_xml() -> None:
    rows = [
        new_row(each)
        | {"noop": [3.0, 100.0, 2.0], "nap": [1.0], "enqueue": [7.0], "late": [[0.5, 400.0]]}
        | {"load": [{"rate": 5.0, "p50": 1.0, "p99": 9.0}], "again": None}
        for each in CONTENDERS
    ]
    about = {"when": "2026-01-01", "machine": "a machine", "versions": {"dev": {"redis": "1"}}}
    stacks = [
        stack.new_row(each) | {what: [1.0, 3.0] for what in stack.MEASURED} | {"orphans": None}
        for each in STACKS
    ]
    asked = [{"rate": 9.0, "p50": 0.1, "p99": 2.0, "cpu": 30.0}]
    served = [{"name": "ours", "kept": asked, "fresh": asked}]
    found = page.documents(
        {
            "queue": {"rows": rows, "rounds": 3, "patience": 90} | about,
            "app": {"rows": served, "rounds": 3, "wrk": "wrk"} | about,
            "stack": {"rows": stacks, "rounds": 3, "after": 5.0} | about,
            "growth": grown() | about,
        }
    )
    text = found.pop("benchmarks.md")
    assert all(f"| {each.name} | {each.setting} |" in text for each in CONTENDERS)
    assert all(f"| {each.name} | {each.runs} |" in text for each in STACKS)
    assert "One program more costs 10 KiB" in text
    assert "| over 10 |" in text
    assert all(f"({name})" in text for name in found)
    for svg in found.values():
        ET.fromstring(svg)  # noqa: S314


def grown() -> dict[str, object]:
    """What the measures of growth find, made up."""
    cost = {"rate": 9.0, "workers": 7.0, "redis": 1.5}
    idle = {"memory": 20.0, "worker": 0.001, "redis": 0.0001}
    programs = [
        {
            "count": count,
            "plugin": plugin,
            "end": 10.2,
            "found": [{"memory": memory, "cpu": 1.0, "start": 1.0, "status": 1.0}],
        }
        for plugin in (True, False)
        for count, memory in ((1, 30.0), (1025, 40.0))
    ]
    return {
        "queued": [{"count": each, "bytes": 40.0, "costs": [cost]} for each in (1, 10_000_000)],
        "workers": [{"count": each, "costs": [cost], "idle": [idle]} for each in (1, 64)],
        "programs": programs,
        "rounds": 3,
        "items": 300_000,
        "size": 36,
        "cores": 2,
    }
