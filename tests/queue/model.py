"""The queue's protocol without Redis: a server of plain lists, workers, and a hostile network.

`explore(seed)` plays one random history and returns what went wrong, or None. It kills and stops
workers, lets leases lapse, loses requests and replies, delivers requests when their sender has long
given them up, rolls the server back, flushes it, takes away the right to run some command, raises
in tasks, drains workers, and plants items that kill whoever starts them. Afterwards it lets the
survivors finish, and then nothing may be lost, stuck, done twice without an excuse, or blamed on an
innocent item.

Each name in MUTANTS takes one rule away; a protocol without it must be found out.
Requests and their fields are those of example/runtime/queue.lua.
"""

import copy
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_ATTEMPTS = 3
SUSPECT = 2  # deaths in company after which an item runs alone
DEATHS = 4  # deaths after which it is given up

MUTANTS = {
    "no fence: a consumer that is not registered takes items": "fence",
    "a repeated STEP takes again instead of repeating its answer": "replay",
    "what a BLMOVE whose reply was lost has left is not returned": "return",
    "a worker goes on under the same name over a new connection": "one connection",
    "a worker joins over a new connection without its hand": "former",
    "joining forgets what BLMOVE has moved for the former name": "settle former",
    "joining forgets that the former name had the turn to run alone": "keep turn",
    "joining gives the id of what was started to whatever BLMOVE has moved": "same item",
    "a JOIN that was not answered is sent under another name": "join again",
    "a late JOIN brings back a consumer that is no more": "join fence",
    "a late BLMOVE of a consumer that is no more finds a list": "grave",
    "a worker waits before a STEP has told what is in hand": "step before wait",
    "reaping forgets what BLMOVE has moved": "reap settles",
    "leaving forgets what BLMOVE has moved": "leave settles",
    "FAIL may come before the STEP that tells of its item": "step first",
    "FAIL trusts the worker instead of looking into its hand": "fail checks hand",
    "a worker waits before a repeated STEP has told all that it took": "all before wait",
    "giving back names a first id instead of ids": "give by id",
    "a worker starts items that it has asked to give back": "given stay given",
    "acknowledgements are forgotten when sent, not when confirmed": "confirm",
    "unknown items in one's own hand are taken for finished": "adopt",
    "nobody looks for unknown items in one's own hand": "audit",
    "a worker that was reaped counts from 1": "count on",
    "deaths are not counted": "count deaths",
    "suspects run in company": "alone",
    "the worker whose turn it is takes a suspect before its hand is empty": "empty hand first",
    "a worker waits for more while it runs a suspect": "hold",
    "a worker that is gone keeps the turn to run alone": "turn lives",
    "leaving forgets the hand": "leave gives back",
    "reaping forgets the hand": "reap gives back",
    "a worker joins without having tried its rights": "try rights",
    "items leave their place before they are recorded in the new one": "add first",
    "a script adds before it has tried whether it may remove": "try removal",
    "a worker that was told to stop does not say so": "say stop",
    "the end of a worker that was told to stop is charged": "stop uncharged",
    "what was pushed for later is never looked at": "promote",
    "what was put off runs in company though its workers died": "suspect later",
    "an item is pushed while one with its key waits or is in hand": "once",
    "what is done keeps its key": "free",
    "what is given up keeps its key": "bury frees",
    "what goes back to the queue loses its key": "key stays",
    "a worker asks for ever for an item that its link is too slow for": "skip unreadable",
}


class Item(NamedTuple):
    """One pushed item with the history that travels with it."""

    number: int
    deaths: int = 0
    failures: int = 0

    @property
    def key(self) -> int | None:
        """What it has in common with the others of which only one may be there at a time."""
        return self.number % 7 if self.number % 7 < 2 else None

    @property
    def put_off(self) -> bool:
        """Whether it is pushed for a later time, as all that have a key are."""
        return self.key is not None or self.number % 7 == 2


@dataclass
class Hand:
    items: dict[int, Item] = field(default_factory=dict)
    next: int | None = None  # the id that follows the last one ever taken
    stop: bool = False  # its worker was told to stop

    def copied(self) -> "Hand":
        return Hand(self.items.copy(), self.next, self.stop)


@dataclass(eq=False)
class Request:
    kind: str
    sender: "Worker"
    name: str
    first: int = 0
    want: int = 0
    ids: tuple[int, ...] = ()
    item: Item | None = None
    started: int = 0
    former: str = ""
    few: bool = False  # there is room for the bytes of one item only
    leaving: bool = False  # asked by a worker that was told to stop
    exact: bool = False  # the item itself has said when to try it again


class Taken(list[tuple[int, Item]]):
    """A STEP's reply; `hold` says that the worker must end what it has before it gets more."""

    hold = False


class Refused(Exception):  # noqa: N818
    """The server does not run a command: the request ends in the middle of what it does."""


Reply = list[tuple[int, Item]] | bool | Refused | None  # None says that the consumer is GONE
RIGHTS = {"add", "remove", "wait"}  # to put an item somewhere, to take it away, to run BLMOVE


class Server:
    """Redis and the scripts. A request that names a consumer not registered is GONE."""

    def __init__(self, rules: frozenset[str]) -> None:
        self.rules = rules
        self.inbox: list[Item] = []  # the next one is at the end
        self.next: dict[str, list[Item]] = {}  # by consumer
        self.graves: set[str] = set()
        self.retry: list[Item] = []
        self.suspects: list[Item] = []
        self.later: list[Item] = []
        self.once: set[int] = set()
        self.dead: list[Item] = []
        self.workers: set[str] = set()
        self.hands: dict[str, Hand] = {}
        self.alone: str | None = None
        self.rights = set(RIGHTS)

    def __deepcopy__(self, _: object) -> "Server":
        """As by copy.deepcopy, in a tenth of the time: items do not change."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (list, set, dict)):
                setattr(other, name, value.copy())
        other.next = {name: items.copy() for name, items in self.next.items()}
        other.hands = {name: hand.copied() for name, hand in self.hands.items()}
        return other

    def forbid(self, right: str) -> None:
        self.rights.discard(right)

    def permit(self) -> None:
        self.rights = set(RIGHTS)

    def use(self, right: str) -> None:
        if right not in self.rights:
            raise Refused

    def handle(self, request: Request, reapable: Iterable[str]) -> Reply:
        try:
            return self.answer(request, reapable)
        except Refused as refused:
            return refused

    def push(self, item: Item) -> bool:
        """Whether it was pushed."""
        if item.key is not None:
            if item.key in self.once and "once" in self.rules:
                return False
            self.once.add(item.key)
        if item.put_off:
            self.later.append(item)
        else:
            self.inbox.insert(0, item)
        return True

    def free(self, item: Item) -> None:
        if item.key is not None:
            self.once.discard(item.key)

    def answer(self, request: Request, reapable: Iterable[str]) -> Reply:
        if request.kind == "wait":
            return self.wait(request.name)
        if "try removal" in self.rules:
            self.use("remove")
        if request.kind == "join":
            return self.join(request)
        if request.name not in self.workers and "fence" in self.rules:
            return None
        hand = self.hands.setdefault(request.name, Hand())
        match request.kind:
            case "step":
                return self.step(request, hand)
            case "fail":
                self.fail(request, hand)
            case "free":
                for each in request.ids:
                    if each in hand.items:
                        self.free(hand.items[each])
                        self.drop(hand, each)
            case "give":
                self.give(request, hand)
            case "stop":
                self.use("add")
                hand.stop = True
            case "leave":
                self.leave(request.name)
            case "tend":
                for name in reapable:
                    self.reap(name)
                unknown = [
                    (each, item)
                    for each, item in hand.items.items()
                    if each < request.first and each not in request.ids
                ]
                if "adopt" in self.rules:
                    return unknown
                for each, _ in unknown:
                    del hand.items[each]
        return []

    def join(self, request: Request) -> Reply:
        me, former = request.name, request.former
        if "try rights" in self.rules and self.rights != RIGHTS:
            raise Refused
        if me in self.graves and "join fence" in self.rules:
            return None
        self.workers.add(me)
        alive = former in self.workers
        if alive and "former" in self.rules:
            self.hands[me] = self.hands.pop(former, Hand())
            if self.alone == former and "keep turn" in self.rules:
                self.alone = me
        if former and "one connection" in self.rules:
            moved = self.next.get(former)
            same = moved and (moved[0] == request.item or "same item" not in self.rules)
            if "settle former" in self.rules:
                started = request.started if same else 0
                self.settle(former, self.hands.setdefault(me, Hand()), started)
            self.remove(former)
        return alive or self.hands.get(me, Hand()) != Hand()

    def wait(self, name: str) -> Reply:
        """BLMOVE, which knows of no workers, but not of a list where there is none."""
        if name in self.graves:
            return None
        self.use("wait")
        if not self.inbox:
            return []
        item = self.inbox.pop()
        self.next.setdefault(name, []).insert(0, item)
        return [(0, item)]

    def step(self, request: Request, hand: Hand) -> Reply:
        if request.started or "return" in self.rules:
            self.settle(request.name, hand, request.started)
        for each in request.ids:
            hand.items.pop(each, None)
        first = request.first
        if hand.next is not None and first < hand.next and "replay" in self.rules:
            again = [(each, item) for each, item in hand.items.items() if each >= first]
            taken = Taken(again[:1] if request.few else again)
            taken.hold = len(taken) < len(again) and "all before wait" in self.rules
        else:
            source, items = self.choose(request, hand)
            taken = Taken(enumerate(items, first))
            if "add first" not in self.rules:
                self.cut(source, items)
            if taken:
                self.use("add")
                hand.items.update(taken)
                hand.next = first + len(taken)
            if "add first" in self.rules:
                self.cut(source, items)
        taken.hold |= self.alone == request.name
        return taken

    def choose(self, request: Request, hand: Hand) -> tuple[list[list[Item]], list[Item]]:
        """What a STEP takes: from which lists, and which items. They are there still."""
        me, want = request.name, 1 if request.few and request.want else request.want
        self.promote(want)
        if "alone" not in self.rules:
            self.retry, self.suspects = self.retry + self.suspects, []
        if self.suspects and want:
            gone = self.alone not in self.workers
            if self.alone is None or (gone and "turn lives" in self.rules):
                self.alone = me
        if self.alone == me and want:
            if hand.items and "empty hand first" in self.rules:
                return [], []
            if self.suspects:
                return [self.suspects], self.suspects[-1:]
            self.alone = None
        waiting = [*self.inbox, *self.retry]
        return [self.retry, self.inbox], waiting[len(waiting) - want :][::-1] if want else []

    def promote(self, want: int) -> None:
        """The time has come for all that was put off."""
        if want and self.later and "promote" in self.rules:
            self.use("add")
            self.use("remove")
            due, self.later = self.later, []
            for item in due:
                self.park(item) if "suspect later" in self.rules else self.retry.append(item)

    def cut(self, sources: list[list[Item]], items: list[Item]) -> None:
        """Remove `items` from the lists that they come from."""
        for item in items:
            self.use("remove")
            next(source for source in sources if item in source).remove(item)

    def settle(self, name: str, hand: Hand, started: int) -> None:
        """What BLMOVE has moved becomes the id `started`, or the next item again if that is 0."""
        if there := self.next.get(name):
            if started:
                self.use("add")
                hand.items[started], hand.next = there[-1], started + 1
            else:
                self.put_back(there[-1])
            self.use("remove")
            there.pop()

    def fail(self, request: Request, hand: Hand) -> None:
        (each,) = request.ids
        item = hand.items.get(each)
        if item is None and "fail checks hand" not in self.rules:
            item = request.item
        if item:
            self.use("add")
            charged = Item(item.number, item.deaths, item.failures + 1)
            if charged.failures >= MAX_ATTEMPTS:
                self.bury(charged)
            else:
                self.later.append(charged) if request.exact else self.park(charged)
            self.drop(hand, each)

    def bury(self, item: Item) -> None:
        self.dead.append(item)
        if "bury frees" in self.rules:
            self.free(item)

    def drop(self, hand: Hand, each: int) -> None:
        self.use("remove")
        hand.items.pop(each, None)

    def give(self, request: Request, hand: Hand) -> None:
        ids = set(request.ids)
        if "give by id" not in self.rules:
            ids = {each for each in hand.items if each >= min(ids)}
        self.give_back(hand, ids & hand.items.keys())

    def give_back(self, hand: Hand, ids: Iterable[int]) -> None:
        for each in sorted(ids, reverse=True):
            self.put_back(hand.items[each])
            self.drop(hand, each)

    def reap(self, name: str) -> None:
        if name not in self.workers:
            return
        hand = self.hands.get(name, Hand())
        if hand.stop and "stop uncharged" in self.rules:
            self.give_back(hand, hand.items.keys())
            self.settle(name, Hand(), 0)
        for each in list(hand.items):
            self.charge(hand.items[each])
            self.drop(hand, each)
        if "reap settles" in self.rules:
            for item in self.next.get(name, []):
                self.charge(item)
        self.remove(name)

    def charge(self, item: Item) -> None:
        self.use("add")
        deaths = item.deaths + ("count deaths" in self.rules)
        noted = Item(item.number, deaths, item.failures)
        if "reap gives back" in self.rules:
            self.bury(noted) if deaths >= DEATHS else self.park(noted)

    def leave(self, name: str) -> None:
        hand = self.hands.get(name, Hand())
        if "leave gives back" in self.rules:
            self.give_back(hand, hand.items.keys())
        if "leave settles" in self.rules:
            self.settle(name, Hand(), 0)
        self.remove(name)

    def remove(self, name: str) -> None:
        self.use("remove")
        self.workers.discard(name)
        self.hands.pop(name, None)
        self.next.pop(name, None)
        if "grave" in self.rules:
            self.graves.add(name)

    def park(self, item: Item) -> None:
        (self.suspects if item.deaths >= SUSPECT else self.retry).append(item)

    def put_back(self, item: Item) -> None:
        self.use("add")
        fresh = item == Item(item.number) and item.key is None
        if item.key is not None and "key stays" not in self.rules:
            self.free(item)
        self.inbox.append(item) if fresh else self.park(item)

    def everything(self) -> list[Item]:
        held = [item for hand in self.hands.values() for item in hand.items.values()]
        handed = [item for items in self.next.values() for item in items]
        return held + handed + self.inbox + self.retry + self.suspects + self.later


@dataclass
class Worker:
    """One worker process. It sends one request at a time, and knows its hand by id."""

    process: int
    state: str = "up"  # up, stopped, dead or left
    name: str = ""
    joined: bool = False
    former: str = ""
    started: int = 0
    orphans: set[int] = field(default_factory=set)  # ids of what runs, and others do too
    hold: bool = False
    sure: bool = False  # a STEP has told on both sides what is in hand
    generation: int = 0
    first: int = 1
    unread: int = 0  # STEPs in a row whose replies did not come
    skipped: int = 0  # the id of an item that the link is too slow for
    hand: dict[int, Item] = field(default_factory=dict)
    stage: dict[int, str] = field(default_factory=dict)  # ready, running, done, failed, giving
    leaving: bool = False
    told: bool = False  # it was told to stop, and has been answered since
    waiting: Request | None = None

    def at(self, stage: str) -> list[int]:
        return [each for each, now in self.stage.items() if now == stage]

    def names(self) -> set[str]:
        """Where a JOIN was not answered, either may be the one that is registered."""
        return {self.name} if self.joined else {self.name, self.former}

    def forget(self, each: int) -> None:
        self.hand.pop(each, None)
        self.stage.pop(each, None)

    def learn(self, items: list[tuple[int, Item]]) -> None:
        for each, item in items:
            if each not in self.hand:
                self.hand[each], self.stage[each] = item, "ready"


class Wrong(Exception):  # noqa: N818
    """The history broke a promise."""


class History:
    def __init__(self, seed: int, broken: str | None = None) -> None:
        self.dice = random.Random(seed)  # noqa: S311
        self.rules = frozenset(MUTANTS.values()) - {broken}
        self.server = Server(self.rules)
        self.past: list[Server] = []
        self.network: list[Request] = []
        self.workers: list[Worker] = []
        chance = self.dice.random
        self.kills = chance() < 0.5
        self.lapses = chance() < 0.5
        self.drains = chance() < 0.5
        self.raises = self.dice.choice((0, 0, 0.3, 0.9))
        self.waits = self.dice.choice((0.2, 0.8))
        self.rollbacks = chance() < 0.3
        self.flushes = chance() < 0.2
        self.forbids = chance() < 0.3
        self.lossy = chance() < 0.7
        self.impatience = self.dice.choice((0.05, 0.1, 0.4))
        self.delay = self.dice.choice((0, 0.5, 0.9))
        self.unpushed = [Item(number) for number in range(self.dice.choice((4, 10, 25)))]
        self.pushed: set[int] = set()
        self.poison = {2} if chance() < 0.4 else set()
        self.huge = {1, 5} if chance() < 0.4 else set()
        self.unreadable = self.huge if chance() < 0.3 else set()
        self.done: Counter[int] = Counter()
        self.failed: Counter[int] = Counter()
        self.excused: Counter[int] = Counter()
        self.rolled_back = False
        for _ in range(self.dice.choice((1, 2, 3))):
            self.spawn()

    # what a worker does

    def spawn(self) -> None:
        self.workers.append(Worker(len(self.workers)))
        self.renew(self.workers[-1])

    def ask(self, worker: Worker, calm: bool) -> None:
        """Send the worker's next request, whichever its state calls for."""
        if worker.waiting:
            self.part(worker)
        request = self.choose(worker, calm)
        request.sender, request.leaving = worker, worker.leaving
        worker.waiting = request
        self.network.append(request)
        if "confirm" not in self.rules and request.kind == "step":
            for each in request.ids:
                worker.forget(each)

    def part(self, worker: Worker) -> None:
        """Give up the connection, and what is under way on it."""
        worker.unread += worker.waiting is not None and worker.waiting.kind == "step"
        worker.waiting = None
        if worker.joined or "join again" not in self.rules:
            self.renew(worker)

    def renew(self, worker: Worker) -> None:
        worker.joined = False
        if worker.name and "one connection" not in self.rules:
            return
        worker.former = worker.name
        worker.generation += 1
        worker.name = f"{worker.process}/{worker.generation}"

    def choose(self, worker: Worker, calm: bool) -> Request:
        name, chance = worker.name, self.dice.random()
        if not worker.joined:
            started, former = worker.started, worker.former
            item = worker.hand.get(started)
            return Request("join", worker, name, started=started, item=item, former=former)
        if worker.leaving and not worker.told and "say stop" in self.rules:
            return Request("stop", worker, name)
        if worker.unread >= 2 and "skip unreadable" in self.rules:
            there = self.server.hands.get(name, Hand()).items.get(worker.first)
            worker.unread = 0
            if there and there.number in self.unreadable:
                worker.skipped = worker.first
                worker.first += 1
        if worker.skipped:
            return Request("fail", worker, name, ids=(worker.skipped,))
        known = tuple(worker.hand)
        if chance < 0.2 and "audit" in self.rules:
            return Request("tend", worker, name, worker.first, ids=known)
        untold = worker.started if "step first" in self.rules else 0
        if failed := [each for each in worker.at("failed") if each != untold]:
            fail = Request("fail", worker, name, ids=(failed[0],), item=worker.hand[failed[0]])
            fail.exact = chance > 0.5
            return fail
        ready = worker.at("giving") or (worker.at("ready") if chance < 0.3 and not calm else [])
        if ready:
            for each in ready:
                worker.stage[each] = "giving" if "given stay given" in self.rules else "ready"
            return Request("give", worker, name, ids=tuple(ready))
        with_key = tuple(each for each in worker.at("done") if worker.hand[each].key is not None)
        if with_key and "free" in self.rules:
            return Request("free", worker, name, ids=with_key)
        done = tuple(worker.at("done"))
        if worker.leaving and not done:
            for each in worker.at("running"):
                worker.stage[each] = "cancelled"
            return Request("leave", worker, name)
        room = 0 if worker.leaving else 3
        may_wait = worker.sure or "step before wait" not in self.rules
        may_wait &= not worker.hold or "hold" not in self.rules
        if may_wait and room and not done and self.dice.random() < self.waits:
            return Request("wait", worker, name)
        want = room if calm else self.dice.randint(0, room)
        step = Request("step", worker, name, worker.first, want, done, started=worker.started)
        step.few = chance > 0.8
        return step

    def hear(self, worker: Worker, request: Request, reply: Reply) -> None:
        worker.waiting = None
        if isinstance(reply, Refused):
            if worker.joined and request.kind != "wait":
                self.renew(worker)
            return
        worker.told |= request.leaving and request.kind != "join" and reply is not None
        if reply is None:
            self.excuse(worker.name)
            if worker.leaving:
                worker.state = "left"
                self.forgive(worker.name)
                return
            self.renew(worker)
            return
        if isinstance(reply, bool):
            if self.server.rights != RIGHTS:
                raise Wrong("a worker joins that may not do all of its work")
            worker.joined, worker.sure, worker.started = True, False, 0
            if not reply:
                self.start_afresh(worker)
            for each, item in self.server.hands.get(worker.name, Hand()).items.items():
                if each in worker.hand and worker.hand[each].number != item.number:
                    raise Wrong(f"id {each} is {item} here and {worker.hand[each]} there")
            return
        match request.kind:
            case "wait":
                for _, item in reply:
                    worker.sure = False
                    if item.number in self.huge:
                        break  # to be weighed before it is started
                    worker.started = worker.first
                    worker.learn([(worker.first, item)])
                    worker.first += 1
                    self.start(worker, worker.started)
            case "leave":
                worker.state = "left"
            case "fail" | "give" if request.ids == (worker.skipped,):
                worker.skipped = 0
            case "free":
                for each in request.ids:
                    worker.forget(each)
            case "fail" | "give":
                for each in request.ids:
                    if worker.hand[each] in self.server.next.get(worker.name, []):
                        raise Wrong(f"no failure is on record of {worker.hand[each]}")
                    worker.forget(each)
            case "step":
                for each in request.ids:
                    worker.forget(each)
                worker.learn(reply)
                worker.started, worker.sure, worker.unread = 0, True, 0
                worker.hold = isinstance(reply, Taken) and reply.hold
                worker.first = max([worker.first, *(each + 1 for each, _ in reply)])
            case "tend":
                worker.learn(reply)

    def start_afresh(self, worker: Worker) -> None:
        """Go on without the hand; what runs ends under an id that means nothing to Redis."""
        for each in worker.hand.keys() - worker.at("running"):
            worker.forget(each)
        worker.orphans.update(worker.hand)
        worker.hold = worker.told = False
        worker.skipped = 0
        if "count on" not in self.rules:
            worker.first = 1

    def start(self, worker: Worker, each: int) -> None:
        item = worker.hand[each]
        worker.stage[each] = "running"
        beside = self.server.hands.get(worker.name, Hand()).items.keys() - {each}
        # An older server may remember items that this worker ended long ago.
        running = set(worker.at("running")) - worker.orphans - {each}
        mates = [worker.hand[other] for other in running]
        alone = not any(mate.deaths >= SUSPECT for mate in mates)
        if not self.rolled_back and not (alone and (item.deaths < SUSPECT or not beside)):
            raise Wrong(f"{item} runs beside {mates}")
        if item.number in self.poison:
            self.kill(worker)

    def end(self, worker: Worker, calm: bool) -> None:
        each = self.dice.choice(worker.at("running"))
        number = worker.hand[each].number
        if not calm and self.dice.random() < self.raises:
            worker.stage[each] = "failed"
            self.failed[number] += 1
        else:
            worker.stage[each] = "done"
            self.done[number] += 1
        if self.done[number] > 1 + self.excused[number]:
            raise Wrong(f"{number} done {self.done[number]} times without excuse")

    # what befalls them

    def kill(self, worker: Worker) -> None:
        worker.state = "dead"
        self.excuse(worker.name, worker.former)
        for name in (worker.name, worker.former):
            self.forgive(name)

    def forgive(self, name: str) -> None:
        """What FLUSHALL made it have without being registered: only itself could return that."""
        if name not in self.server.workers:
            for item in self.server.next.pop(name, []):
                self.pushed.discard(item.number)

    def excuse(self, *names: str) -> None:
        for name in names:
            held = self.server.hands.get(name, Hand()).items.values()
            for item in [*held, *self.server.next.get(name, [])]:
                self.excused[item.number] += 1

    def reapable(self, by: Worker, calm: bool) -> list[str]:
        """Whom `by` may reap now: the dead, and the living whose lease may have lapsed."""
        living = set()
        for worker in self.workers:
            if worker.state in ("up", "stopped"):
                living |= worker.names()
        names = []
        for name in sorted(self.server.workers - {by.name}):
            if name not in living:
                names.append(name)
            elif self.lapses and not calm and self.dice.random() < 0.4:
                self.excuse(name)
                names.append(name)
        return names

    def deliver(self, request: Request, calm: bool) -> None:
        fate = 1.0 if calm or not self.lossy else self.dice.random()
        if fate < 0.1:
            return  # the request is lost
        if self.rollbacks:
            self.past = [*self.past[-5:], copy.deepcopy(self.server)]
        reapable = self.reapable(request.sender, calm) if request.kind == "tend" else []
        before = self.uncharged(reapable)
        self.note_skipped(request)
        reply = self.server.handle(request, reapable)
        self.judge_ordered_ends(before)
        worker = request.sender
        if worker.state == "dead":
            self.forgive(request.name)
        arrives = fate >= 0.2 and self.can_read(request, reply)
        if arrives and worker.waiting is request and worker.state == "up":
            self.hear(worker, request, reply)

    def note_skipped(self, request: Request) -> None:
        if request.kind == "fail" and request.item is None:
            hand = self.server.hands.get(request.name, Hand()).items
            self.failed.update(hand[each].number for each in request.ids if each in hand)

    def can_read(self, request: Request, reply: Reply) -> bool:
        if request.kind not in ("step", "wait") or not isinstance(reply, list):
            return True
        return not any(item.number in self.unreadable for _, item in reply)

    def uncharged(self, reapable: Iterable[str]) -> dict[int, int]:
        """The deaths so far of what workers have in hand who have said that they stop."""
        told = {name for worker in self.workers if worker.told for name in worker.names()}
        names = told.intersection(reapable) if not self.rolled_back else ()
        held = (self.server.hands.get(name, Hand()).items.values() for name in names)
        return {item.number: item.deaths for items in held for item in items}

    def judge_ordered_ends(self, before: dict[int, int]) -> None:
        if before:
            for item in [*self.server.everything(), *self.server.dead]:
                if item.deaths > before.get(item.number, item.deaths):
                    raise Wrong(f"{item} charged for an ordered end")

    def roll_back(self) -> None:
        """Redis comes back with an older state; connections and what they carried are gone."""
        self.server = self.restored(self.dice.choice(self.past))
        for name in self.server.next.keys() - self.server.workers:
            self.forgive(name)
        self.rolled_back = True
        self.past = []
        self.network = []
        for number in self.pushed:
            self.excused[number] += 1
        for worker in self.workers:
            self.part(worker)

    def flush(self) -> None:
        """FLUSHALL: what Redis had is lost, and nobody is told.

        The graves are, too: what is still under way on broken connections goes with them here.
        """
        self.server = self.flushed()
        self.past = []
        self.pushed.clear()
        self.network = [each for each in self.network if each is each.sender.waiting]

    def restored(self, past: Server) -> Server:
        return past

    def flushed(self) -> Server:
        return Server(self.rules)

    # time

    def turn(self, calm: bool) -> None:
        dice = self.dice
        if self.unpushed and (calm or dice.random() < 0.2):
            item = self.unpushed.pop()
            if self.server.push(item):
                self.pushed.add(item.number)
                self.past = []  # a server that lost pushes has promised nothing about them
            else:
                self.unpushed.insert(0, item)
        if calm or dice.random() < 0.02:
            self.server.permit()
        up = [worker for worker in self.workers if worker.state == "up"]
        chance = dice.random()
        if chance < 0.35 and up:
            worker = dice.choice(up)
            given_up = not calm and dice.random() < self.impatience
            if worker.waiting is None or worker.waiting not in self.network or given_up:
                self.ask(worker, calm)
        elif chance < 0.65 and self.network:
            request = self.network[0 if calm else dice.randrange(len(self.network))]
            late = request is not request.sender.waiting
            if calm or not late or dice.random() >= self.delay:
                self.network.remove(request)
                self.deliver(request, calm)
        elif chance < 0.85 and up:
            worker = dice.choice(up)
            if worker.at("ready") and dice.random() < 0.6 and not worker.leaving:
                self.start(worker, dice.choice(worker.at("ready")))
            elif worker.at("running"):
                self.end(worker, calm)
        elif chance < 0.9 and not calm:
            self.strike(up)
        if dice.random() < (0.3 if calm else 0.05):
            for worker in self.workers:
                worker.state = "up" if worker.state == "stopped" else worker.state
        living = [worker for worker in self.workers if worker.state in ("up", "stopped")]
        if len(living) < 2 and dice.random() < 0.3:
            self.spawn()

    def strike(self, up: list[Worker]) -> None:
        chance = self.dice.random()
        if chance < 0.25 and self.kills and up:
            self.kill(self.dice.choice(up))
        elif chance < 0.5 and self.lapses and up:
            self.dice.choice(up).state = "stopped"
        elif chance < 0.75 and self.drains and up:
            self.dice.choice(up).leaving = True
        elif self.flushes and chance < 0.8:
            self.flush()
        elif self.forbids and chance < 0.9:
            self.server.forbid(self.dice.choice(sorted(RIGHTS)))
        elif self.past:
            self.roll_back()

    def judge(self) -> None:
        """Check the promises that must hold at every moment."""
        there = self.server.everything()
        innocent = {item for item in self.server.dead if item.number not in self.poison}
        for item in innocent:
            if item.failures < MAX_ATTEMPTS and item.deaths < DEATHS:
                raise Wrong(f"{item} dead-lettered without a reason")
            if item.failures > self.failed[item.number] + self.excused[item.number]:
                raise Wrong(f"{item} charged for what it did not do")
        if not (self.kills or self.lapses or self.rollbacks):
            for item in [*there, *innocent]:
                if item.number not in self.poison and item.deaths > SUSPECT:
                    raise Wrong(f"{item} suffers for its mate's deaths")
        if any(item.deaths > DEATHS for item in there):
            raise Wrong("poison kills more than its due")
        keys = [item.key for item in set(there) if item.key is not None]
        if sorted(keys) != sorted(self.server.once):
            raise Wrong(f"the keys {self.server.once} are taken, those of the items are {keys}")
        if len(self.workers) > 60:
            raise Wrong("workers die without end")

    def play(self, turns: int) -> None:
        for _ in range(turns):
            self.turn(calm=False)
            self.judge()
        for _ in range(20_000):
            self.turn(calm=True)
            self.judge()
            known = any(worker.stage for worker in self.workers if worker.state == "up")
            if not known and not self.unpushed and not self.server.everything():
                break
        else:
            raise Wrong(f"stuck: {self.server.everything()}")
        if lost := self.pushed - {item.number for item in self.server.dead} - set(self.done):
            raise Wrong(f"lost: {sorted(lost)}")


def explore(seed: int, broken: str | None = None, turns: int = 200) -> str | None:
    """Play one history; `broken` is the rule to do without. Returns what went wrong, or None."""
    try:
        History(seed, broken).play(turns)
    except Wrong as wrong:
        return str(wrong)
    return None
