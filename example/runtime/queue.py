"""The worker's side of the queue's protocol: requests to queue.lua, and what their replies say.

The promises are in docs/guarantees.md; tests/queue/model.py explores the protocol.
"""

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from . import names
from .runs import Runs

Request = tuple[str | bytes | int, ...]


def _assembled(*parts: str) -> tuple[bytes, str]:
    """The script of these parts, and its name in Redis."""
    files = (f"queue{part}.lua" for part in ("", "_count", *parts, "_answer"))
    source = b"".join(Path(__file__).with_name(name).read_bytes() for name in files)
    return source, hashlib.sha1(source, usedforsecurity=False).hexdigest()


SOURCE, SHA = _assembled("_step", "_tend", "_try")
# Apart, since Redis goes through all of a script at each request.
VIEW_SOURCE, VIEW_SHA = _assembled("_look", "_dead")

LEASE = 5.0  # seconds without a sign of life until a consumer's hand is given to others
TEND = 1.0  # seconds between two looks at the other consumers
GAP = 2.5  # seconds; if no worker could reach Redis for longer, silence proves nothing
SUSPECT_DELAY = 1.0  # seconds that a suspect waits for each of its deaths
BACKOFF_MOST = 600.0  # seconds until a retry, at most
_RANGE = 1000  # ids in one range at most: Lua's stack holds some 8,000


class GoneError(Exception):
    """This consumer is not registered any more: what it had in hand was given to others."""


def keys(key: str) -> list[str]:
    """All keys of the queue `key`, in the order that queue.lua wants them; all in one slot.

    Raises ValueError for a key that Redis Cluster could not keep together with the others, or
    that would share them with another list.
    """
    tag, closing, _ = key.partition("{")[2].partition("}")
    if key == f"{{{tag}}}":
        raise ValueError(f"{key!r} would share its keys with the list {tag!r}: drop the braces")
    if tag and closing:
        prefix = key
    elif "}" in key:
        raise ValueError(f"{key!r} has braces, but no hash tag: use a name without braces")
    else:
        prefix = f"{{{key}}}"
    others = (
        *("workers", "retry", "suspects", "alone", "dead", "ticks", "totals", "samples"),
        *("later", "once"),
    )
    return [key, *(f"{prefix}:{name}" for name in others)]


def prefixes(key: str) -> tuple[str, str]:
    """What the keys `next` and `hand` of each consumer begin with; its name follows."""
    mine = keys(key)[1].removesuffix("workers")
    return f"{mine}next:", f"{mine}hand:"


def script(key: str, name: str, sha: str | None = None) -> Request:
    """What every request of the consumer or schedule entry `name` begins with; its kind follows.

    `sha` is VIEW_SHA for those who look, else SHA.

    The last key never exists. While Redis Cluster moves a slot to another node, key by key, it
    refuses a script that names a missing key. So no script runs on half a queue.
    """
    mine = keys(key)
    absent = mine[1].removesuffix("workers") + "absent"
    return ("EVALSHA", sha or SHA, len(mine) + 1, *mine, absent, *prefixes(key), name)


def ranges(ids: Iterable[int]) -> list[int]:
    """`ids` as lo, hi, lo, hi, …: the first and the last of each range, of _RANGE ids at most."""
    pairs: list[int] = []
    for item_id in sorted(ids):
        if pairs and pairs[-1] == item_id - 1 and item_id - pairs[-2] < _RANGE:
            pairs[-1] = item_id
        else:
            pairs += (item_id, item_id)
    return pairs


@dataclass(frozen=True, slots=True)
class History:
    """What has happened to an item so far."""

    deaths: int
    """How many workers have died with it in hand."""
    failures: int
    mark: bytes = b""
    """b":" and a digest of the key with which it was pushed, if any: to be freed in the end."""


FRESH = History(0, 0)


def parsed(value: bytes) -> tuple[bytes, History]:
    """An item and its history, from what a hand holds of it: see queue.lua."""
    deaths, failures, item = value.split(b" ", 2)
    failures, colon, mark = failures.partition(b":")
    return item, History(int(deaths), int(failures), colon + mark)


class Taken(NamedTuple):
    """What a STEP has brought."""

    first: int
    """The id of the first item; the others follow."""
    items: list[bytes]
    histories: dict[int, History]
    """By id, of the items that are not fresh."""
    must_empty: bool
    """Whether all in hand must end before the next STEP may bring more: one runs alone."""


class Tended(NamedTuple):
    """What a TEND has found."""

    dead: list[bytes]
    """Names of consumers that are dead for sure, for the next TEND to reap."""
    forgotten: list[tuple[int, bytes, History]]
    """Ids and items that are in our hand, but that we did not know: to be done again."""
    given_up: int
    """How many items were put on the dead list because their workers died."""
    lost: int
    """How many items the dead list has lost for these."""


NOTHING = (0, b"")


class Consumer:
    """A worker on one connection: its name, and the ids that it gives to the items that it takes.

    Each method returns the request of that name (see queue.lua), or says what a reply holds. Once a
    request was not answered, the worker goes on as a new consumer on a new connection, which names
    this one as its `former`. Only JOIN is sent again by the same consumer.
    """

    def __init__(self, key: str, former: "Consumer | None" = None) -> None:
        self.name = names.new()
        self.first: int = former.first if former else 1
        """The id of the next item."""
        self.started: tuple[int, bytes] = former.started if former else NOTHING
        """The id and the item that a WAIT has brought, until a STEP or JOIN has told Redis."""
        self._former = former.name if former else ""
        self._script = script(key, self.name)
        self._wait = ("BLMOVE", key, prefixes(key)[0] + self.name, "RIGHT", "LEFT")
        self._heard: tuple[int, int] = (
            former._heard if former else (0, 0)
        )  # Redis's times: see TEND

    def _request(self, *arguments: str | bytes | int) -> Request:
        return (*self._script, *arguments)

    def join(self) -> Request:
        """Register; the reply is 1 if the hand of the former consumer is ours now, else 0."""
        return self._request("join", self._former, *self.started)

    def joined(self) -> None:
        """To be called when JOIN was answered."""
        self.started = NOTHING

    def wait(self, seconds: float) -> Request:
        """Wait so many seconds for an item; the reply is the item, or None.

        If one comes, a STEP must follow before the next WAIT. The STEP gives the item back to the
        queue, unless `start` was called for it.
        """
        return (*self._wait, f"{seconds:.3f}")

    def start(self, item: bytes) -> int:
        """The id of the item that has come; from now on it is in hand."""
        self.started = (self.first, item)
        self.first += 1
        return self.started[0]

    def step(self, want: int, size: int, done: Iterable[int]) -> Request:
        """Confirm `done`, and take up to `want` items of `size` bytes altogether. The first may be
        larger."""
        return self._request("step", self.first, want, size, self.started[0], *ranges(done))

    def took(self, reply: tuple[list[bytes], list[Any], int]) -> Taken:
        """What the reply to STEP holds. To be called once."""
        items, notes, must_empty = reply
        self.started = NOTHING
        first = self.first
        self.first += len(items)
        histories = {
            first + notes[i] - 1: History(*notes[i + 1 : i + 4]) for i in range(0, len(notes), 4)
        }
        return Taken(first, items, histories, bool(must_empty))

    def weigh(self) -> Request:
        """Ask for the next item without its bytes, if a STEP took one whose reply was lost.

        The reply is how many bytes it has, and then the fields of its History. It is 0 bytes if
        there is none.
        """
        return self._request("weigh", self.first)

    def skip(self) -> int:
        """The id of that item, which cannot be read here. A FAIL of it must follow."""
        self.first += 1
        return self.first - 1

    def fail(
        self,
        item_id: int,
        delay: float,
        attempts: int,
        why: str,
        dead_limit: int,
        is_exact: bool,
    ) -> Request:
        """Charge a failure to an item, to be tried again in `delay` seconds.

        If that makes `attempts` failures, it goes to the dead list, which keeps the last
        `dead_limit` items; the reply is how many it has lost for this one. `is_exact` if the task
        itself has asked for the delay.
        """
        times = (round(delay * 1000), attempts)
        return self._request("fail", item_id, *times, why, dead_limit, int(is_exact))

    def free(self, ids: Iterable[int]) -> Request:
        """Confirm what is done and was pushed with a key."""
        return self._request("free", *ranges(ids))

    def give(self, ids: Iterable[int]) -> Request:
        """Give back items that were not started."""
        return self._request("give", *ranges(ids))

    def ran(self, runs: Runs) -> Request:
        """Add to the run times."""
        counted = ((number, count) for number, count in enumerate(runs.counts) if count)
        return self._request("ran", round(runs.seconds * 1000), *itertools.chain(*counted))

    def stop(self) -> Request:
        """Say that this worker was told to stop: no item is charged for its end from now on."""
        return self._request("stop")

    def leave(self) -> Request:
        """Give back all that is in hand, and be registered no more."""
        return self._request("leave")

    def tend(self, known: Iterable[int], dead: list[bytes], dead_limit: int) -> Request:
        """Reap the consumers `dead`, and those whose lease is over; `known` are all ids in hand."""
        times = [round(seconds * 1000) for seconds in (LEASE, GAP, SUSPECT_DELAY, BACKOFF_MOST)]
        return self._request(
            "tend", self.first, *self._heard, *times, dead_limit, len(dead), *dead, *ranges(known)
        )

    def tended(self, reply: tuple[int, int, list[bytes], list[int | bytes], int, int]) -> Tended:
        """What the reply to TEND holds. To be called once."""
        *times, consumers, values, given_up, lost = reply
        self._heard = (times[0], times[1])
        forgotten = []
        for item_id, value in zip(values[::2], values[1::2], strict=True):
            assert isinstance(item_id, int)
            assert isinstance(value, bytes)
            forgotten.append((item_id, *parsed(value)))
        dead = [name for name in consumers if names.is_dead(name)]
        return Tended(dead, forgotten, given_up, lost)
