"""The model's random histories, with queue.lua on a real server in the place of its server."""

import asyncio
import os
import random
from collections import UserDict
from collections.abc import Iterable
from typing import Any, cast

from redis import Redis
from redis.exceptions import ResponseError

from example.runtime import producer, snapshot
from example.runtime.link import Connection
from example.runtime.producer import DuplicateError, Requests
from example.runtime.queue import (
    SOURCE,
    VIEW_SHA,
    VIEW_SOURCE,
    keys,
    parsed,
    prefixes,
    ranges,
    script,
)
from example.runtime.rights import ensure

from ..server import Server as RealServer
from .model import MAX_ATTEMPTS, RIGHTS, Hand, History, Item, Refused, Reply, Request, Taken, Wrong

KEY = "TESTING"
HISTORIES = int(os.environ.get("QUEUE_HISTORIES", "20"))
# These have found out scripts without graves, that forget on joining who has the turn to run alone,
# or on leaving what BLMOVE has moved; and a TRY that leaves its consumer behind.
TELLING = (26, 314, 278, 170)
KINDS = (
    *("inbox", "workers", "retry", "suspects", "alone", "dead", "ticks", "totals", "samples"),
    *("later", "once"),
)
NEXTS, HANDS = prefixes(KEY)
NAME = dict(zip(KINDS, keys(KEY), strict=True))
# What a model's right may be in Redis; all that a worker asks is of one of the three kinds.
COMMANDS = {
    "add": ["hset", "rpush", "xadd", "zadd"],
    "remove": ["hdel", "ltrim", "zrem"],
    "wait": ["blmove"],
}
OTHERS = [
    *("del", "exists", "get", "hexists", "hget", "hincrby", "hkeys", "hlen", "llen"),
    *("lrange", "rename", "set", "time", "type", "xlen", "zcount", "zrange", "zrangebyscore"),
    "zscore",
]


def packed(number: int) -> bytes:
    return b"%d \0\xff\n" % number


def unpacked(value: bytes) -> int:
    assert value.endswith(b" \0\xff\n")
    return int(value.split()[0])


def as_item(value: bytes) -> Item:
    packed, history = parsed(value)
    item = Item(unpacked(packed), history.deaths, history.failures)
    assert bool(history.mark) == (item.key is not None)
    return item


class Scripts:
    """`model.Server`, done by queue.lua."""

    def __init__(self, client: Any, dice: random.Random) -> None:
        self.client = client
        self.dice = dice
        self.rights = set(RIGHTS)
        self._set_user("reset", "on", "nopass", "~*", "+@all")
        port = client.connection_pool.connection_kwargs["port"]
        self.user: Any = Redis(port=port, username="worker", password="any")  # noqa: S106

    def permit(self) -> None:
        if self.rights != RIGHTS:
            self.rights = set(RIGHTS)
            self._set_user("+@all")

    def forbid(self, right: str) -> None:
        """Take away the right to run one command of the kind `right`, or of no kind."""
        self.rights.discard(right)
        command = self.dice.choice(COMMANDS[right] + OTHERS)
        # What is BLMOVE for a worker is LMOVE here.
        self._set_user(f"-{command}", *(["-lmove"] if command == "blmove" else []))

    def _set_user(self, *rules: str) -> None:
        self.client.execute_command("ACL", "SETUSER", "worker", *rules)

    def push(self, item: Item) -> bool:
        """With a key or for later, as a Producer does."""
        requests = Requests(KEY, 10**6)
        once = None if item.key is None else str(item.key)
        after = 0 if item.put_off else None
        request = requests.push([packed(item.number)], after, None, once)
        try:
            requests.judge(self.client.execute_command(*request))
        except DuplicateError:
            return False
        return True

    def handle(self, request: Request, reapable: Iterable[str]) -> Reply:
        try:
            return self._handle(request, list(reapable))
        except ResponseError as error:
            if str(error).startswith(("GONE", "WRONGTYPE")):
                return None
            if self.rights != RIGHTS:
                return Refused()
            raise

    def _handle(self, request: Request, reapable: list[str]) -> Reply:
        def call(*arguments: Any) -> Any:
            prefix = script(KEY, request.name)
            return self.user.execute_command(*prefix, request.kind, *arguments)

        match request.kind:
            case "join":
                asyncio.run(ensure(cast(Connection, self), KEY, "worker"))
                started = (request.started, packed(request.item.number) if request.item else b"")
                return bool(call(request.former, *started))
            case "wait":
                # As BLMOVE does when something is there, or comes.
                moved = self.user.lmove(KEY, NEXTS + request.name, "RIGHT", "LEFT")
                return [(0, Item(unpacked(moved)))] if moved else []
            case "step":
                size = 1 if request.few else 1 << 20
                first = request.first
                more = (size, request.started, *ranges(request.ids))
                items, notes, hold = call(first, request.want, *more)
                histories = {notes[i]: notes[i + 1 : i + 3] for i in range(0, len(notes), 4)}
                taken = Taken(
                    (first + i, Item(unpacked(item), *histories.get(i + 1, (0, 0))))
                    for i, item in enumerate(items)
                )
                taken.hold = bool(hold)
                return taken
            case "fail":
                call(*request.ids, 0, MAX_ATTEMPTS, "because", 10_000, int(request.exact))
            case "give" | "free":
                call(*ranges(request.ids))
            case "tend":
                # Half of them known to be dead, half not heard of for too long.
                dead, lapsed = reapable[::2], reapable[1::2]
                for name in lapsed:
                    self.client.zadd(NAME["workers"], {name: 1}, xx=True)
                seconds, _ = self.client.time()
                times = (seconds * 1000, 1, 60_000, 10_000, 0, 600_000, 10_000)
                known = ranges(request.ids)
                *_, values, _, _ = call(request.first, *times, len(dead), *dead, *known)
                return list(zip(values[::2], map(as_item, values[1::2]), strict=True))
            case _:
                call()
        return []

    async def ask(self, *requests: Any) -> list[Any]:
        """As a Connection does."""
        replies: list[Any] = []
        for request in requests:
            try:
                replies.append(self.user.execute_command(*request))
            except ResponseError as error:
                replies.append(error)
        return replies

    # what the model looks at

    @property
    def workers(self) -> set[str]:
        return {name.decode() for name in self.client.zrange(NAME["workers"], 0, -1)}

    @property
    def hands(self) -> "UserDict[str, Hand]":
        found = UserDict[str, Hand]()
        keys = self.client.keys(f"{{{KEY}}}:hand:*")
        for key, values in zip(keys, self._each("HGETALL", keys), strict=True):
            held = {int(each): as_item(value) for each, value in values.items() if each.isdigit()}
            found[key.decode().removeprefix(HANDS)] = Hand(held)
        return found

    @property
    def once(self) -> set[int]:
        return {int(key) for key in self.client.hvals(NAME["once"])}

    @property
    def next(self) -> "Next":
        found = Next(self.client)
        keys = self.client.scan_iter(f"{{{KEY}}}:next:*", count=10_000, _type="list")
        for key in keys:
            (item,) = self.client.lrange(key, 0, -1)
            found.data[key.decode().removeprefix(NEXTS)] = [Item(unpacked(item))]
        return found

    @property
    def dead(self) -> list[Item]:
        return [
            Item(unpacked(entry[b"item"]), int(entry[b"deaths"]), int(entry[b"failures"]))
            for _, entry in self.client.xrange(NAME["dead"])
        ]

    def everything(self) -> list[Item]:
        held = [item for hand in self.hands.values() for item in hand.items.values()]
        kinds = ("retry", "suspects", "later")
        members = self._each("ZRANGE", (NAME[kind] for kind in kinds), 0, -1)
        waiting = [as_item(each.split(b" ", 1)[1]) for some in members for each in some]
        inbox = (Item(unpacked(each)) for each in self.client.lrange(KEY, 0, -1))
        moved = [item for items in self.next.values() for item in items]
        return [*held, *waiting, *inbox, *moved]

    def __deepcopy__(self, _: object) -> "Snapshot":
        keys = self.client.keys()
        return Snapshot(dict(zip(keys, self._each("DUMP", keys), strict=True)))

    def _each(self, command: str, keys: Iterable[Any], *arguments: Any) -> list[Any]:
        """The replies to a command for each key, in one round trip."""
        pipe = self.client.pipeline(transaction=False)
        for key in keys:
            pipe.execute_command(command, key, *arguments)
        replies: list[Any] = pipe.execute()
        return replies


class Next(UserDict[str, list[Item]]):
    """The lists to which BLMOVE has moved an item, by consumer."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        self.client = client

    def pop(self, name: str, default: Any = None) -> Any:
        self.client.delete(NEXTS + name)
        return super().pop(name, default)


class Snapshot:
    """An older state of the server."""

    def __init__(self, keys: dict[bytes, bytes]) -> None:
        self.keys = keys


class RealHistory(History):
    def __init__(self, seed: int, client: Any) -> None:
        super().__init__(seed)
        client.flushall()
        self.server: Any = Scripts(client, random.Random(seed))  # noqa: S311

    def restored(self, past: Any) -> Any:
        client = self.flushed().client
        for key, value in past.keys.items():
            client.restore(key, 0, value)
        return self.server

    def flushed(self) -> Any:
        self.server.client.flushall()
        return self.server

    def judge(self) -> None:
        if self.dice.random() < 0.1:
            super().judge()
            if not (self.forbids or self.flushes or self.rollbacks):
                self.judge_counts()

    def judge_counts(self) -> None:
        """What came is done, dead, or there."""
        found = snapshot.parsed(
            self.server.client.execute_command(*script(KEY, "", VIEW_SHA), "look"), KEY
        )
        there, totals = self.server.everything(), found.totals
        to_come = sum(
            as_item(member.split(b" ", 1)[1]).failures == 0
            for member in self.server.client.zrange(NAME["later"], 0, -1)
        )
        counted = found.waiting + found.in_hand + found.retrying + found.later
        if counted != len(there) or found.dead != totals["dead"]:
            raise Wrong(f"{found} counts what is not there: {there}")
        if totals["pushed"] != len(self.pushed) - to_come:
            raise Wrong(f"{totals}: {len(self.pushed)} were pushed, {to_come} are to come")
        if totals["pushed"] != totals["done"] + totals["dead"] + len(there) - to_come:
            raise Wrong(f"{totals} do not add up: {len(there)} there, {to_come} to come")


def test_the_real_scripts_keep_the_promise(each_redis: RealServer) -> None:
    """As in test_model.py: nothing is lost, stuck, or done twice without excuse."""
    client = each_redis.client
    client.script_load(SOURCE)
    client.script_load(VIEW_SOURCE)
    client.script_load(producer.SOURCE)
    for seed in [*TELLING, *range(HISTORIES)]:
        history = RealHistory(seed, client)
        try:
            history.play(200)
        except Wrong as wrong:
            raise AssertionError(f"history {seed}: {wrong}") from wrong
