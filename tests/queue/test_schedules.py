"""Schedules: daylight saving, and every fault named at the start."""

import itertools
import sys
import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from example.runtime.schedule import Cron, Every, check

from ..conftest import Popen
from ..server import Server
from .test_beat import BEAT, echo


@pytest.mark.parametrize(
    ("expression", "day", "expected"),
    [
        ("30 2 * * *", "2026-03-29", ["2026-03-29T03:00:00+02:00"]),  # 2:30 is skipped
        ("30 2 * * *", "2026-10-25", ["2026-10-25T02:30:00+02:00"]),  # 2:30 comes twice
        (
            "30 2-3 * * *",
            "2026-10-25",
            ["2026-10-25T02:30:00+02:00", "2026-10-25T03:30:00+01:00"],
        ),
        ("0 12 * * *", "2026-10-25", ["2026-10-25T12:00:00+01:00"]),
    ],
)
def test_cron_over_a_daylight_saving_change(expression: str, day: str, expected: list[str]) -> None:
    zone = ZoneInfo("Europe/Berlin")
    entry = Cron(expression, "Europe/Berlin", "")
    at = round(datetime.fromisoformat(day).replace(tzinfo=zone).timestamp() * 1000) - 1
    end = at + 24 * 3600_000
    found = []
    while (at := entry.after(at)) <= end:
        found.append(datetime.fromtimestamp(at / 1000, zone).isoformat())
    assert found == expected


def test_an_hourly_job_runs_in_both_of_the_hours_that_have_the_same_name() -> None:
    entry = Cron("30 * * * *", "Europe/Berlin", "")
    at = round(datetime(2026, 10, 24, 23, tzinfo=ZoneInfo("UTC")).timestamp() * 1000)
    slots = []
    for _ in range(4):
        at = entry.after(at)
        slots.append(at)
    assert {b - a for a, b in itertools.pairwise(slots)} == {3600_000}


@pytest.mark.parametrize(
    "expression", ["30 2 * * *", "*/7 * * * *", "0 2,3 * * *", "30 * * * *", "15 1-4 * * SUN"]
)
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-06-01"])
def test_the_latest_tick_is_one_that_counting_forward_finds_too(expression: str, day: str) -> None:
    """All beats agree on the ticks, whenever they look."""
    zone = ZoneInfo("Europe/Berlin")
    entry = Cron(expression, "Europe/Berlin", "")
    midnight = datetime.fromisoformat(day).replace(tzinfo=zone)
    start = round(midnight.timestamp() * 1000)
    slots = []
    at = start - 8 * 86400_000
    while at < start + 86400_000:
        at = entry.after(at)
        slots.append(at)
    for now in range(start, start + 6 * 3600_000, 600_000):
        assert entry.latest(now) == max(slot for slot in slots if slot <= now)


WRONG = {
    "zone": (Cron("0 3 * * *", "Mars/Base", "x"), "time zone 'Mars/Base' is not known"),
    "folder": (Cron("0 3 * * *", "Europe", "x"), "time zone 'Europe' is not known"),
    "words": (Cron("every day", "UTC", "x"), "'every day' is not a cron expression"),
    "never": (Cron("0 0 30 2 *", "UTC", "x"), "'0 0 30 2 *' is not a cron expression"),
    "no text": (Cron(5, "UTC", "x"), "5 is not a cron expression"),  # type: ignore[arg-type]
    "zero": (Every(0, "x"), "use seconds from 0.001"),
    "nan": (Every(float("nan"), "x"), "use seconds from 0.001"),
    "minute": (Every("1m", "x"), "use seconds from 0.001"),  # type: ignore[arg-type]
    "nothing": (Every(1, None), "None is neither bytes nor a str"),  # type: ignore[arg-type]
    "surrogate": (Every(1, "\udc80"), "is neither bytes nor a str that UTF-8 can hold"),
    "empty-handed": (Every(1, lambda: "x"), "must take one argument"),  # type: ignore[misc,arg-type]
    "string": ("0 3 * * *", "is neither Every"),
    "": (Every(1, "x"), "its name is not printable text"),
}


def test_every_fault_of_a_schedule_is_named() -> None:
    faults = check({name: entry for name, (entry, _) in WRONG.items()})
    assert len(faults) == len(WRONG)
    for fault, (name, (_, words)) in zip(faults, WRONG.items(), strict=True):
        assert fault.startswith(f"{name!r}: ")
        assert words in fault
    assert check([]) == ["SCHEDULE is not a dict of names and entries"]


def test_a_right_schedule_has_no_faults() -> None:
    async def push(now: float) -> bytes:
        return b""

    pushes = ["x", b"x", bytearray(b"x"), push, echo, lambda now, more=1: "x", str, time.ctime]
    every = {f"every {i}": Every(0.001, push) for i, push in enumerate(pushes)}  # type: ignore[arg-type]
    cron = {each: Cron(each, "Europe/Berlin", "x") for each in ("0 0 29 2 *", "0 12 * * MON#5")}
    assert check(every | cron) == []


def test_beat_with_a_wrong_schedule_ends_with_2_and_names_every_fault(
    redis: Server, popen: Popen
) -> None:
    wrong = """{"a": beat.Every(0, "x"), "b": beat.Cron("0 0 30 2 *", "UTC", "x")}"""
    entry = """{"x": beat.Every(0.1, lambda now: f"{now:.3f}")}"""
    program = popen([sys.executable, "-c", BEAT.replace(entry, wrong), redis.url])
    out, _ = program.communicate(timeout=30)
    assert program.returncode == 2
    assert "wrong schedule: 'a': " in out
    assert "wrong schedule: 'b': " in out
    assert "Traceback" not in out
