"""The hand: what a worker has taken from the queue, as far as Redis has confirmed it.

An id is `unstarted` until a slot runs it. Then it is `done` or `failed` until Redis has confirmed
that; it may be `failed` and still run, when its time was up. Or it is `giving` until Redis has it
back.
tests/queue/model.py explores what may happen meanwhile.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from redis.exceptions import ResponseError

from .failure import Failure
from .link import Connection
from .queue import BACKOFF_MOST, FRESH, SOURCE, TEND, Consumer, GoneError, History, Request
from .rights import ensure
from .runs import Runs
from .task import Attempt

logger = logging.getLogger(__name__)

BACKOFF = 1.0  # seconds until the first retry, at most
STARTED_BYTES = 1 << 16  # a larger item is not started when a WAIT brings it: see `wait`
TEND_LEAST = 0.05  # seconds, at least, to wait for an item or an end before the next TEND


@dataclass(frozen=True, slots=True)
class Charge:
    """The failure of an item, as FAIL tells it to Redis: see `Consumer.fail`."""

    delay: float  # seconds until the next attempt
    attempts: int  # after so many failures the item is dead
    why: str
    is_exact: bool  # whether the task has asked for the delay


class Standing(Enum):
    """How a worker stands with Redis: which request may come next."""

    UNREGISTERED = auto()  # a JOIN comes first
    UNSETTLED = auto()  # after a JOIN or a WAIT: a STEP must come before the next WAIT
    SETTLED = auto()  # after a STEP: Redis and the worker agree on what is in hand
    EMPTYING = auto()  # as SETTLED, but take nothing new until the hand is empty


class Hand:
    """What a worker has in hand, by id, and the requests to Redis about it.

    A request that Redis refuses raises ResponseError. It raises GoneError if the hand was given to
    others; then `renew` must follow. If Redis does not answer, it raises another of link.ERRORS;
    then `part` must follow. In each case the hand is as it was before, but see `step`.
    """

    def __init__(self, url: str, key: str, dead_limit: int) -> None:
        self.unstarted: deque[tuple[int, bytes]] = deque()
        self.done: list[int] = []
        self.failed: dict[int, Charge] = {}
        self.giving: list[int] = []
        self.runs = Runs()
        self.standing = Standing.UNREGISTERED
        self.stepped_at = 0.0  # by time.monotonic()
        self._tended_at = 0.0
        self._key = key
        self._connection = Connection(url, key, ("SCRIPT", "LOAD", SOURCE))
        self._consumer = Consumer(key)
        self._histories: dict[int, History] = {}
        self._dead_limit = dead_limit
        self._has_told_of_losses = False

    # the consumer: one connection's name

    async def join(self, is_stopping: bool, running: Iterable[int]) -> bool:
        """Register in the place of the former consumer. Returns whether others have our hand now.

        Raises LackingError, before it registers, if the server or the user's rights lack what a
        worker needs. If `is_stopping`, no item is charged for this worker's end from now on.
        `running` are the ids that slots run.
        """
        await ensure(self._connection, self._key, "worker")
        is_kept = bool(await self._ask(self._consumer.join()))
        self._consumer.joined()
        self.standing, self._tended_at = Standing.UNSETTLED, 0.0
        lost = [] if is_kept else self._known(running)
        if not is_kept:
            self._forget()
        if is_stopping:
            await self._ask(self._consumer.stop())
        return bool(lost)

    async def part(self) -> None:
        """Close the connection, with all requests that are under way."""
        await self._connection.close()
        # While unregistered, a JOIN may be under way. It must be repeated by the same name.
        if self.standing is not Standing.UNREGISTERED:
            self.renew()

    def renew(self) -> None:
        """Become a new consumer, which has to join."""
        self._consumer = Consumer(self._key, self._consumer)
        self.standing = Standing.UNREGISTERED

    async def leave(self) -> None:
        """Give back all that is in hand, and be registered no more."""
        await self._tell_runs()
        await self._ask(self._consumer.leave())
        self.standing = Standing.UNREGISTERED

    async def close(self) -> None:
        await self._connection.close()

    def _forget(self) -> None:
        """Drop what has not started: others have it now. Redis ignores the ids of what runs on."""
        self.unstarted.clear()
        self.giving.clear()

    # what comes into the hand

    async def wait(self, seconds: float) -> bool:
        """Wait for an item. Returns whether one has come that may start at once: it is `unstarted`.

        The next STEP puts it into the hand at Redis. An item larger than STARTED_BYTES does not
        count: that STEP gives it back, and may take it again with regard to what is in hand.
        """
        self.standing = Standing.UNSETTLED
        item = await self._ask(self._consumer.wait(seconds))
        if item is None or len(item) > STARTED_BYTES:
            return False
        self.unstarted.append((self._consumer.start(item), item))
        return True

    async def step(self, want: int, size: int, meanwhile: Callable[[], None]) -> int:
        """Confirm what has ended, and take up to `want` items of `size` bytes altogether. The first
        may be larger.

        Returns how many were taken. Calls `meanwhile` while Redis works. If Redis refuses to note
        the failure of an item, or the end of one that has a key, that is raised last, when
        everything else has been done.
        """
        done = self.done.copy()
        self.done.clear()
        charges = self._charges()
        requests = [self._consumer.fail(item_id, *charge) for item_id, charge in charges]
        keyed = self._keyed(done)
        if keyed:
            requests.append(self._consumer.free(keyed))
        unkeyed = [item_id for item_id in done if item_id not in keyed] if keyed else done
        requests.append(self._consumer.step(want, size, unkeyed))
        try:
            await self._connection.send(*requests)
            meanwhile()
            *answers, reply = await self._connection.receive(len(requests))
            if isinstance(reply, ResponseError):
                raise _refusal(reply)
        except BaseException:
            self.done[:0] = done
            raise
        taken = self._take(reply)
        refusals = self._confirm(charges, answers)
        if keyed and isinstance(answers[-1], ResponseError):
            self.done += keyed
        if refusals:
            raise _refusal(refusals[0])
        return taken

    def _keyed(self, done: list[int]) -> set[int]:
        """Those of `done` that were pushed with a key, which Redis must free."""
        histories = self._histories
        if not histories:
            return set()
        return {item_id for item_id in done if item_id in histories and histories[item_id].mark}

    def _charges(self) -> list[tuple[int, tuple[float, int, str, int, bool]]]:
        # The item of a WAIT is not in the hand at Redis before the STEP that follows these FAILs.
        return [
            (
                item_id,
                (charge.delay, charge.attempts, charge.why, self._dead_limit, charge.is_exact),
            )
            for item_id, charge in self.failed.items()
            if item_id != self._consumer.started[0]
        ]

    def _take(self, reply: Any) -> int:
        """Take what a STEP has brought; returns how many items that is."""
        new = self._consumer.took(reply)
        self._histories.update(new.histories)
        self.unstarted.extend(enumerate(new.items, new.first))
        self.standing = Standing.EMPTYING if new.must_empty else Standing.SETTLED
        self.stepped_at = time.monotonic()
        return len(new.items)

    def _confirm(self, charges: list[Any], answers: list[Any]) -> list[ResponseError]:
        """Forget the failures of which Redis has taken note; returns all that it has refused."""
        for (item_id, _), answer in zip(charges, answers, strict=False):
            if not isinstance(answer, ResponseError):
                del self.failed[item_id]
                self._tell_losses(answer)
        return [answer for answer in answers if isinstance(answer, ResponseError)]

    async def skip_unreadable(self, size: int, attempts: int) -> None:
        """Fail the first item of a STEP whose reply did not come, if it has `size` bytes or more.

        The link is too slow for it, and it would keep all other items from their turn.
        """
        found, *history = await self._ask(self._consumer.weigh())
        if found >= size:
            item_id = self._consumer.skip()
            self._histories[item_id] = History(*history)
            self.fail(
                item_id, Failure(f"its {found / 1e6:.1f} MB cannot be read in time"), attempts
            )

    def _tell_losses(self, lost: int) -> None:
        """Warn once that the dead list loses items."""
        if lost and not self._has_told_of_losses:
            self._has_told_of_losses = True
            logger.warning("the dead list is full, and loses its oldest: see DEAD_LIMIT")

    def describe(self, item_id: int, deadline: float) -> Attempt:
        """The attempt that is under way, for the task itself."""
        history = self._histories.get(item_id, FRESH)
        return Attempt(self._name(item_id), history.failures + 1, history.deaths, deadline)

    # what goes out of it

    def fail(self, item_id: int, failure: Failure, attempts: int) -> None:
        """Note that an item has failed; the next `step` tells Redis.

        If that makes `attempts` failures, the item is dead. Otherwise it is tried again when the
        task has asked for it, or after a random time, which spreads retries, of up to 1, 2, 4, …
        BACKOFF_MOST seconds.
        """
        history = self._histories.get(item_id, FRESH)
        failures = history.failures + 1
        most = min(BACKOFF_MOST, BACKOFF * 2 ** min(failures - 1, 30))
        has_asked = failure.after is not None
        delay = random.uniform(0, most) if failure.after is None else failure.after  # noqa: S311 no secret
        is_dead = failures >= attempts
        level = logging.ERROR if is_dead else logging.INFO if has_asked else logging.WARNING
        then = "given up" if is_dead else f"again in {delay:.1f} s"
        self.failed[item_id] = Charge(delay, attempts, failure.why, has_asked)
        # Where the item waits it has the same name. The item itself may hold a secret.
        name = self._name(item_id)
        logger.log(
            level,
            *("item %s failed, %s (%d of %d): %s", name, then),
            *(failures, max(failures, attempts), failure.why),
            exc_info=failure.error,
            # As in lines of its task, which may have had no chance to run.
            extra={"item": name, "attempt": failures, "deaths": history.deaths},
        )

    def _name(self, item_id: int) -> str:
        return f"{self._consumer.name}#{item_id}"

    def give_unstarted(self) -> None:
        """Have the next `give` give back all that was not started."""
        self.giving += [item_id for item_id, _ in self.unstarted]
        self.unstarted.clear()

    async def give(self) -> None:
        """Give back what is `giving`, if anything."""
        if self.giving:
            await self._ask(self._consumer.give(self.giving))
            self.giving.clear()

    # looking after others, and after ourselves

    def until_tend(self) -> float:
        """Seconds until the next `tend`; 0 or less when it is due."""
        return self._tended_at + TEND - time.monotonic()

    def pause(self) -> float:
        """Seconds to wait, at most, before the next `tend`."""
        return max(TEND_LEAST, self.until_tend())

    async def tend(self, running: Iterable[int]) -> bool:
        """Take over from dead workers. Returns whether there were any: then their items wait.

        `running` are the ids that slots run. An item that Redis has in our hand, but that we do not
        know, is `unstarted` again: Redis was rolled back to an older state.
        """
        await self._tell_runs()
        known = self._known(running)
        if self._histories:  # a task may ask for its attempt until it ends, though that has failed
            kept = self._histories.keys() & known
            self._histories = {item_id: self._histories[item_id] for item_id in kept}
        # The first TEND lists all consumers. A second one reaps those whose process was on this
        # machine and is gone.
        if dead := await self._tend(known, []):
            await self._tend([*known, *(item_id for item_id, _ in self.unstarted)], dead)
            logger.info("took over from %d dead workers", len(dead))
        self._tended_at = time.monotonic()
        return bool(dead)

    def _known(self, running: Iterable[int]) -> list[int]:
        """The ids of all that is in hand as far as we know."""
        unstarted = [item_id for item_id, _ in self.unstarted]
        return [*running, *self.done, *self.failed, *self.giving, *unstarted]

    async def _tend(self, known: list[int], dead: list[bytes]) -> list[bytes]:
        reply = await self._ask(self._consumer.tend(known, dead, self._dead_limit))
        found = self._consumer.tended(reply)
        self._tell_losses(found.lost)
        if found.given_up:
            logger.error("%d items given up: each killed its worker four times", found.given_up)
        for item_id, item, history in found.forgotten:
            self._histories[item_id] = history
            self.unstarted.append((item_id, item))
        return found.dead

    async def _tell_runs(self) -> None:
        """Send the run times since the last time. They stay here until Redis has answered."""
        if self.runs:
            told = self.runs.copy()
            await self._ask(self._consumer.ran(told))
            self.runs.subtract(told)

    async def _ask(self, request: Request) -> Any:
        (reply,) = await self._connection.ask(request)
        if isinstance(reply, ResponseError):
            raise _refusal(reply)
        return reply


def _refusal(error: ResponseError) -> Exception:
    return GoneError() if str(error).startswith("GONE") else error
