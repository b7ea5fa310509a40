"""Whether all is well, as the page says it first."""

from dataclasses import replace

from example.view.dashboard.source import Seen
from example.view.dashboard.verdict import judge
from example.view.programs import Program

from .test_metrics import SNAPSHOT, WORKER

WELL = replace(SNAPSHOT, waiting=0, oldest_seconds=None, dead=0)
REFUSED = "Redis refuses since 2026-01-01 12:00:00: it is full."


def reasons(*rows: Program, trouble: str = "") -> tuple[str, list[str]]:
    programs = Seen([*rows], 1.0, "", 0.0)
    verdict = judge(Seen(WELL, 1.0, trouble, 0.0), 10, programs)
    return verdict.level, verdict.reasons


def test_a_program_that_is_ready_and_cannot_reach_redis_is_told() -> None:
    """Unless the page itself cannot reach it: once is enough."""
    assert reasons(WORKER) == ("good", [])
    refused = replace(WORKER, status=REFUSED)
    assert reasons(refused) == ("bad", ["Redis refuses (it is full): worker:worker_00"])
    level, (only,) = reasons(refused, trouble="Redis refuses: it is full")
    assert (level, only.startswith("Redis refuses: it is full (since ")) == ("bad", True)


def test_many_programs_with_one_trouble_are_one_line() -> None:
    rows = [replace(WORKER, name=f"p{n}", ready=False, state="FATAL") for n in range(200)]
    assert reasons(WORKER, *rows) == (
        "bad",
        ["Does not run (FATAL): p0, p1, p2, p3, p4 and 195 more"],
    )
