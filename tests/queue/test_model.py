"""The protocol holds whatever befalls it, and none of its rules can be spared."""

import os

import pytest

from .model import MUTANTS, explore

HISTORIES = 50 * int(os.environ.get("QUEUE_HISTORIES", "40"))


@pytest.mark.parametrize("part", range(4))
def test_nothing_is_lost_stuck_or_done_twice_without_excuse(part: int) -> None:
    """Whatever is killed, stopped, reaped, lost, repeated, rolled back or poisoned."""
    for seed in range(part, HISTORIES, 4):
        assert explore(seed) is None, f"history {seed}"


@pytest.mark.parametrize("rule", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_protocol_without_this_rule_is_found_out(rule: str) -> None:
    assert any(explore(seed, broken=rule) for seed in range(3000, 11_000))
