"""More workers while work piles up, fewer when it is done: an event listener of supervisord.

A process of its own, since asking Redis must not hold up supervisord. Protocol: supervisor's
event listeners, https://supervisord.org/events.html, at each TICK_5.
"""

import logging
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO
from xmlrpc.client import Error

from supervisor.childutils import EventListenerProtocol, getRPCInterface

TICK_SECONDS = 5

logger = logging.getLogger(__name__)


@dataclass
class Policy:
    """How many workers there should be.

    Grows at once to one worker for each `share` of what waits. Shrinks by one, after as many
    quiet ticks in a row as `patience`: quiet is when even half of what the others could take is
    not waiting. What grows at one count is thus not shrunk at a slightly lower one.
    """

    least: int
    most: int
    share: int
    patience: int
    quiet: int = 0

    def want(self, workers: int, waiting: int) -> int:
        needed = math.ceil(waiting / self.share)
        wanted = workers
        self.quiet = self.quiet + 1 if waiting * 2 <= self.share * (workers - 1) else 0
        if needed > workers:
            wanted = needed
        elif self.quiet >= self.patience:
            self.quiet = 0
            wanted = workers - 1
        return max(self.least, min(self.most, wanted))


def run(policy: Policy, program: str, waiting: Callable[[], int | None], answers: TextIO) -> None:
    """Scale `program` by `policy` until supervisord goes.

    `waiting()` counts what waits, or returns None when that is not known now. `answers` is the
    process's stdout, which belongs to the protocol.
    """
    listener = EventListenerProtocol()
    supervisord = getRPCInterface(os.environ)
    while True:
        listener.wait(sys.stdin, answers)
        count = waiting()
        if count is not None:
            try:
                step(policy, program, count, supervisord)
            except (Error, OSError) as error:
                logger.warning("cannot scale %s: %s", program, error)
        listener.ok(answers)


def step(policy: Policy, program: str, waiting: int, supervisord: Any) -> None:
    """Look once and scale if need be."""
    processes = supervisord.supervisor.getAllProcessInfo()
    workers = sum(each["group"] == program for each in processes)
    wanted = policy.want(workers, waiting)
    if wanted != workers:
        logger.info("%s: %d -> %d for %d waiting", program, workers, wanted, waiting)
        supervisord.supervision.scale(program, wanted)
