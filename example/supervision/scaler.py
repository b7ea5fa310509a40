"""More workers while work piles up, fewer when it is done: an event listener of supervisord.

It is a process of its own, since a slow Redis must not hold up supervisord. Protocol: supervisor's
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
FORGET = 600.0  # seconds of work after which the measurement so far counts half

logger = logging.getLogger(__name__)


class Load(NamedTuple):
    """How many items wait, and for each worker's process id: the ids in hand, and all it ever took.

    `at` is the time in seconds, by any clock that never goes back.
    """

    at: float
    waiting: int
    hands: Mapping[int, tuple[frozenset[bytes], int]]

    def held(self, worker: int) -> frozenset[bytes]:
        return self.hands[worker][0] if worker in self.hands else frozenset()

    def ended(self, worker: int) -> int:
        """How many items a worker has done; this may be wrong by one."""
        ids, taken = self.hands[worker]
        return taken - len(ids)


NOTHING = Load(0.0, 0, {})


@dataclass
class Policy:
    """How many workers there should be.

    A worker's part is the number of items that it ends in `seconds`, as measured while items wait,
    but at most `share`. The number grows at once: to one worker for each part of the items that
    wait or are in hand. It shrinks by one after `patience` quiet ticks in a row. A tick is quiet if
    half of the parts of the other workers would hold all items. So a slightly lower count does not
    undo a growth. The worker that goes must be idle, or have short items only.
    """

    least: int
    most: int
    share: int
    seconds: float
    patience: int
    quiet: int = 0
    before: Load = NOTHING
    items: int = 0  # that ended while others waited
    worked: float = 0.0  # seconds of all workers in which these ended

    def want(self, workers: Sequence[int], load: Load) -> int:
        """The number wanted. `workers` are the process ids; the last one is the next to go."""
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
            return  # idle workers do not show how fast they are
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

    `measure()` returns the load, or None if it is not known now. `answers` is the process's
    stdout, which belongs to the protocol.
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
    """Look once, and scale if necessary."""
    group = [row for row in supervisord.supervision.ready() if row["program"] == program]
    # `scale` removes the highest numbers first.
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
