"""The worker's side of the queue's protocol: requests to queue.lua, and what their replies say.

The promises are in docs/guarantees.md; tests/queue/model.py explores the protocol.
"""

import hashlib
import os
import secrets
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Request = tuple[str | bytes | int, ...]

_PARTS = ("queue.lua", "queue_step.lua", "queue_tend.lua", "queue_try.lua")
SOURCE = b"".join(Path(__file__).with_name(name).read_bytes() for name in _PARTS)
SOURCE += b"return answer()\n"
SHA = hashlib.sha1(SOURCE, usedforsecurity=False).hexdigest()

LEASE = 5.0  # seconds without a sign of life until a consumer's hand is given to others
TEND = 1.0  # seconds between two looks at the other consumers
GAP = 2.5  # a longer silence of Redis than this is Redis's own, and no consumer's fault
REST = 1.0  # seconds a death that an item which may have killed its workers rests
MOST_DEAD = 10_000  # items on the dead list
BACKOFF_MOST = 600.0  # seconds until a retry, at most
_RANGE = 1000  # ids in one range at most: Lua's stack holds some 8,000


class GoneError(Exception):
    """This consumer is not registered: what it had in hand was given to others."""


def keys(key: str) -> list[str]:
    """All keys of the queue `key`, in the order that queue.lua wants them; all in one slot.

    Raises ValueError for a key that Redis Cluster could not keep together with the others, or
    that would share them with another list.
    """
    tag = key.partition("{")[2].partition("}")
    if key == f"{{{tag[0]}}}":
        raise ValueError(f"{key!r} would share its keys with the list {tag[0]!r}: drop the braces")
    if tag[0] and tag[1]:
        prefix = key
    elif "}" in key:
        raise ValueError(f"{key!r} has braces, but no hash tag: use a name without braces")
    else:
        prefix = f"{{{key}}}"
    others = ("workers", "retry", "suspects", "alone", "dead", "ticks", "later", "once")
    return [key, *(f"{prefix}:{name}" for name in others)]


def prefixes(key: str) -> tuple[str, str]:
    """What the keys begin with that each consumer has of its own; the rest is its name."""
    mine = keys(key)[1].removesuffix("workers")
    return f"{mine}next:", f"{mine}hand:"


def script(key: str, name: str) -> Request:
    """What every request to queue.lua begins with: `name` asks it. Its kind and more follow.

    The last key never exists. While Redis Cluster moves the slot to another node, key by key, it
    refuses what names a key that is not there; and no script may run on half a queue.
    """
    mine = keys(key)
    absent = mine[1].removesuffix("workers") + "absent"
    return ("EVALSHA", SHA, len(mine) + 1, *mine, absent, *prefixes(key), name)


def ranges(ids: Iterable[int]) -> list[int]:
    """`ids` as lo, hi, lo, hi, …"""
    pairs: list[int] = []
    for each in sorted(ids):
        if pairs and pairs[-1] == each - 1 and each - pairs[-2] < _RANGE:
            pairs[-1] = each
        else:
            pairs += (each, each)
    return pairs


@dataclass(frozen=True, slots=True)
class History:
    """What has befallen an item so far."""

    deaths: int
    failures: int
    mark: bytes = b""
    """Of the key with which it was pushed: to be freed when it is done."""


FRESH = History(0, 0)


def parsed(value: bytes) -> tuple[bytes, History]:
    """An item and its history, of how they are kept in a hand."""
    deaths, failures, item = value.split(b" ", 2)
    failures, colon, mark = failures.partition(b":")
    return item, History(int(deaths), int(failures), colon + mark)


NOTHING = (0, b"")


class Consumer:
    """A worker on one connection: its name, and the ids that it gives to what it takes.

    Once a request was not answered, the worker goes on as a new consumer, on a new connection. Only
    JOIN is sent again by the same one.
    """

    def __init__(self, key: str, former: "Consumer | None" = None) -> None:
        self.name = f"{PLACE}/{_birth(os.getpid())}/{secrets.token_hex(4)}"
        self.first: int = former.first if former else 1
        self.lost = 0
        self.started: tuple[int, bytes] = former.started if former else NOTHING
        self._former = former.name if former else ""
        self._script = script(key, self.name)
        self._hand = prefixes(key)[1] + self.name
        self._wait = ("BLMOVE", key, prefixes(key)[0] + self.name, "RIGHT", "LEFT")
        self.heard: tuple[int, int] = former.heard if former else (0, 0)  # Redis's times

    def _request(self, *arguments: str | bytes | int) -> Request:
        return (*self._script, *arguments)

    def join(self) -> Request:
        return self._request("join", self._former, *self.started)

    def joined(self) -> None:
        """To be called when JOIN was answered."""
        self.started = NOTHING

    def wait(self, seconds: float) -> Request:
        """Wait for an item. If one comes, a STEP must follow before the next WAIT.

        That gives the item back to the queue, unless `start` was called for it.
        """
        return (*self._wait, f"{seconds:.3f}")

    def start(self, item: bytes) -> int:
        """The id of the item that came; from now on it is in hand."""
        self.started = (self.first, item)
        self.first += 1
        return self.started[0]

    def step(self, want: int, size: int, done: Iterable[int]) -> Request:
        return self._request("step", self.first, want, size, self.started[0], *ranges(done))

    def took(
        self, reply: tuple[list[bytes], list[Any], int]
    ) -> tuple[int, list[bytes], dict[int, History]]:
        """Of a STEP's reply: the first new id, its item and those of the ids that follow, and
        the history of those that have one."""
        items, notes, _ = reply
        self.started = NOTHING
        first = self.first
        self.first += len(items)
        histories = {
            first + notes[i] - 1: History(*notes[i + 1 : i + 4]) for i in range(0, len(notes), 4)
        }
        return first, items, histories

    def weigh(self) -> Request:
        """Ask how many bytes the next item has, if a STEP took one whose reply was lost; else 0."""
        return ("HSTRLEN", self._hand, self.first)

    def skip(self) -> int:
        """The id of that item, which is never to be read here; a FAIL must follow."""
        self.first += 1
        return self.first - 1

    def fail(
        self,
        each: int,
        delay: float,
        attempts: int,
        why: str,
        most_dead: int = MOST_DEAD,
        exact: bool = False,
    ) -> Request:
        """Charge a failure. `exact` if the item itself has asked for the delay, in seconds."""
        times = (round(delay * 1000), attempts)
        return self._request("fail", each, *times, why, most_dead, int(exact))

    def free(self, ids: Iterable[int]) -> Request:
        """Drop what is done, and was pushed with a key."""
        return self._request("free", *ranges(ids))

    def give(self, ids: Iterable[int]) -> Request:
        return self._request("give", *ranges(ids))

    def stop(self) -> Request:
        """Whatever ends this worker from now on: what it has in hand is not charged with it."""
        return self._request("stop")

    def leave(self) -> Request:
        return self._request("leave")

    def tend(self, known: Iterable[int], dead: list[bytes], most_dead: int = MOST_DEAD) -> Request:
        times = [round(seconds * 1000) for seconds in (LEASE, GAP, REST, BACKOFF_MOST)]
        return self._request(
            "tend", self.first, *self.heard, *times, most_dead, len(dead), *dead, *ranges(known)
        )

    def tended(
        self, reply: tuple[int, int, list[bytes], list[int | bytes], int, int]
    ) -> tuple[list[bytes], list[tuple[int, bytes, History]], int]:
        """Of a TEND's reply: consumers that are dead for sure, own items forgotten, and how many
        items were given up because their workers died. `lost` is what the dead list lost for them.
        """
        *times, names, values, given_up, self.lost = reply
        self.heard = (times[0], times[1])
        forgotten = []
        for each, value in zip(values[::2], values[1::2], strict=True):
            assert isinstance(each, int)
            assert isinstance(value, bytes)
            item, history = parsed(value)
            forgotten.append((each, item, history))
        return [name for name in names if is_dead(name)], forgotten, given_up


# Names are "host/boot-namespace/pid/birth/random". Who shares the first two can look at whether
# the process still lives.


UNKNOWN = "unknown"
"""The place where nobody can tell who else lives: leases alone do there."""


def _place() -> str:
    host = "".join(c for c in socket.gethostname() if c.isalnum() or c in "-._") or "host"
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        return f"{host}/{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # no Linux, or a sandbox that hides it
        return f"{host}/{UNKNOWN}"


PLACE = _place()


def _birth(pid: int) -> str:
    """`pid/start time`, which no other process of this boot has; "" for none that lives."""
    if sys.platform != "linux":
        return f"{pid}/0"
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in b"ZX" else f"{pid}/{int(fields[19])}"


def is_dead(name: bytes) -> bool:
    """Whether the consumer `name` is a process of this place that lives no more."""
    host, place, pid, start, *_ = [*name.decode(errors="replace").split("/"), "", "", ""]
    if f"{host}/{place}" != PLACE or place == UNKNOWN or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    # /proc may hide the processes of other users: then only the lease tells.
    hidden = not Path(f"/proc/{pid}").exists()
    return not hidden and _birth(int(pid)) != f"{pid}/{start}"
