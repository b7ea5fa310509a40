"""The protocol holds whatever befalls it, and none of its rules can be spared."""

import itertools
import os

import pytest

from .model import MUTANTS, explore

# Between them these find out each mutant. The protocol must bear them, and many others.
TELLING = (0, 26, 52, 1296, 16, 702, 2, 5, 49, 88, 98, 144, 6222)
HISTORIES = 40 * int(os.environ.get("QUEUE_HISTORIES", "20"))


@pytest.mark.parametrize("part", range(2))
def test_nothing_is_lost_stuck_or_done_twice_without_excuse(part: int) -> None:
    """Whatever is killed, stopped, reaped, lost, repeated, rolled back or poisoned."""
    for seed in [*TELLING, *range(HISTORIES)][part::2]:
        assert explore(seed) is None, f"history {seed}"


@pytest.mark.parametrize("rule", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_protocol_without_this_rule_is_found_out(rule: str) -> None:
    seeds = itertools.chain(TELLING, range(11_000))
    assert any(explore(seed, broken=rule) for seed in seeds)
