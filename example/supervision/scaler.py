"""More workers while work piles up, fewer when it is done: an event listener of supervisord.

A process of its own, since asking Redis must not hold up supervisord. Protocol: supervisor's
event listeners, https://supervisord.org/events.html, at each TICK_5.
"""

import logging
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TextIO
from xmlrpc.client import Error

from supervisor.childutils import EventListenerProtocol, getRPCInterface

TICK_SECONDS = 5
FORGET = 600.0  # seconds of work after which what was measured counts half

logger = logging.getLogger(__name__)


class Load(NamedTuple):
    """What waits, and by process id what each worker has in hand: ids, and all it ever took.

    `at` is when, in seconds of any clock that never goes back.
    """

    at: float
    waiting: int
    hands: Mapping[int, tuple[frozenset[bytes], int]]

    def held(self, worker: int) -> frozenset[bytes]:
        return self.hands[worker][0] if worker in self.hands else frozenset()

    def ended(self, worker: int) -> int:
        """How many items it has done, one more or less."""
        ids, taken = self.hands[worker]
        return taken - len(ids)


NOTHING = Load(0.0, 0, {})


@dataclass
class Policy:
    """How many workers there should be.

    A worker's part is what it ends in `seconds`, as measured while items wait, and `share` items
    at most. Grows at once to one worker for each part of what waits and is in hand. Shrinks by
    one, after as many quiet ticks in a row as `patience`: quiet is when what there is fills even
    half of what the others could take. What grows at one count is thus not shrunk at a slightly
    lower one. The worker that would go must be idle, or have short items only.
    """

    least: int
    most: int
    share: int
    seconds: float
    patience: int
    quiet: int = 0
    before: Load = NOTHING
    items: int = 0  # ended while others waited
    worked: float = 0.0  # seconds of all workers in which they did

    def want(self, workers: Sequence[int], load: Load) -> int:
        """The number for `workers`, the process ids of those there are, the next to go last."""
        self._measure(workers, load)
        part, number = self._part(), len(workers)
        there = load.waiting + sum(min(part, len(load.held(each))) for each in workers)
        needed = math.ceil(there / part)
        self.quiet = self.quiet + 1 if there * 2 <= part * (number - 1) else 0
        wanted = number
        if needed > number:
            wanted = needed
        elif self.quiet >= self.patience and not self._busy(workers[-1], load):
            self.quiet = 0
            wanted = number - 1
        self.before = load
        return max(self.least, min(self.most, wanted))

    def _part(self) -> float:
        if not self.items:
            return self.share
        return min(self.share, self.seconds * self.items / self.worked)

    def _measure(self, workers: Sequence[int], load: Load) -> None:
        if not (load.waiting and self.before.waiting):
            return  # who has nothing to do shows nothing
        for each in workers:
            if each in load.hands and each in self.before.hands:
                self.items += max(0, load.ended(each) - self.before.ended(each))
                self.worked += load.at - self.before.at
        if self.worked > FORGET:
            self.items, self.worked = self.items // 2, self.worked / 2

    def _busy(self, worker: int, load: Load) -> bool:
        held, before = load.held(worker), self.before.held(worker)
        short = before and not held & before
        return bool(held and not short)


def run(policy: Policy, program: str, measure: Callable[[], Load | None], answers: TextIO) -> None:
    """Scale `program` by `policy` until supervisord goes.

    `measure()` tells what there is to do, or None when that is not known now. `answers` is the
    process's stdout, which belongs to the protocol.
    """
    listener = EventListenerProtocol()
    supervisord = getRPCInterface(os.environ)
    while True:
        listener.wait(sys.stdin, answers)
        load = measure()
        if load is not None:
            try:
                step(policy, program, load, supervisord)
            except (Error, OSError) as error:
                logger.warning("cannot scale %s: %s", program, error)
        listener.ok(answers)


def step(policy: Policy, program: str, load: Load, supervisord: Any) -> None:
    """Look once and scale if need be."""
    group = [row for row in supervisord.supervision.ready() if row["program"] == program]
    # supervision takes away the highest numbers first.
    group.sort(key=lambda each: (len(each["name"]), each["name"]))
    workers = [each["pid"] for each in group]
    wanted = policy.want(workers, load)
    held = sum(len(load.held(each)) for each in workers)
    logger.debug("%s: %d for %d waiting, %d in hand", program, len(workers), load.waiting, held)
    if wanted != len(workers):
        logger.info(
            "%s: %d -> %d for %d waiting, %d in hand",
            program, len(workers), wanted, load.waiting, held,
        )  # fmt: skip
        supervisord.supervision.scale(program, wanted)
