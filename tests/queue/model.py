"""The queue's protocol without Redis: a server of plain lists, workers, and a hostile network.

`explore(seed)` plays one random history and returns what went wrong, or None. It kills and stops
workers, lets leases lapse, loses requests and replies, delivers requests again when their sender
has long given them up, rolls the server back, raises in tasks, drains workers, and plants items
that kill whoever starts them. Afterwards it lets the survivors finish, and then nothing may be
lost, stuck, done twice without an excuse, or blamed on an innocent item.

Each name in MUTANTS takes one rule away; a protocol without it must be found out.
Requests and their fields are those of example/runtime/queue.lua.
"""

import copy
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

MAX_ATTEMPTS = 3
SUSPECT = 2  # deaths in company after which an item runs alone
DEATHS = 4  # deaths after which it is given up

MUTANTS = {
    "no fence: a consumer that is not registered takes items": "fence",
    "a repeated STEP takes again instead of repeating its answer": "replay",
    "what BLMOVE has put aside is not taken": "next",
    "FAIL trusts the worker instead of looking into its hand": "fail checks hand",
    "giving back names a first id instead of ids": "give by id",
    "a worker starts items that it has asked to give back": "given stay given",
    "acknowledgements are forgotten when sent, not when confirmed": "confirm",
    "unknown items in one's own hand are taken for finished": "adopt",
    "nobody looks for unknown items in one's own hand": "audit",
    "a worker that was reaped goes on under its old name, counting from 1": "fresh name",
    "deaths are not counted": "count deaths",
    "suspects run in company": "alone",
    "the chosen worker takes a suspect before its hand is empty": "empty hand first",
    "a chosen worker that is gone stays chosen": "chosen lives",
    "leaving forgets the hand": "leave gives back",
    "reaping forgets the hand": "reap gives back",
}


@dataclass(frozen=True)
class Item:
    """One pushed item with the history that travels with it."""

    number: int
    deaths: int = 0
    failures: int = 0


@dataclass
class Hand:
    items: dict[int, Item] = field(default_factory=dict)
    next: int | None = None  # the id that follows the last one ever taken


@dataclass(eq=False)
class Request:
    kind: str
    sender: "Worker"
    name: str
    first: int = 0
    want: int = 0
    ids: tuple[int, ...] = ()
    item: Item | None = None
    fatal: bool = False


Reply = list[tuple[int, Item]] | None  # None says that the consumer is GONE


class Server:
    """Redis and the scripts. A request that names a consumer not registered is GONE."""

    def __init__(self, rules: frozenset[str]) -> None:
        self.rules = rules
        self.inbox: list[Item] = []  # the next one is at the end
        self.next: list[Item] = []
        self.retry: list[Item] = []
        self.suspects: list[Item] = []
        self.dead: list[Item] = []
        self.workers: set[str] = set()
        self.hands: dict[str, Hand] = {}
        self.chosen: str | None = None

    def handle(self, request: Request, reapable: Iterable[str]) -> Reply:
        if request.kind == "join":
            self.workers.add(request.name)
            return []
        if request.name not in self.workers and "fence" in self.rules:
            return None
        hand = self.hands.setdefault(request.name, Hand())
        match request.kind:
            case "step":
                return self.step(request, hand)
            case "fail":
                self.fail(request, hand)
            case "give":
                self.give(request, hand)
            case "leave":
                if "leave gives back" in self.rules:
                    for each in sorted(hand.items, reverse=True):
                        self.put_back(hand.items[each])
                del self.hands[request.name]
                self.workers.discard(request.name)
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

    def step(self, request: Request, hand: Hand) -> Reply:
        for each in request.ids:
            hand.items.pop(each, None)
        first = request.first
        if hand.next is not None and first < hand.next and "replay" in self.rules:
            return [(each, item) for each, item in hand.items.items() if each >= first]
        taken = self.take(request, hand)
        for each, item in enumerate(taken, first):
            hand.items[each] = item
        if taken:
            hand.next = first + len(taken)
        return list(enumerate(taken, first))

    def take(self, request: Request, hand: Hand) -> list[Item]:
        me, want = request.name, request.want
        if "alone" not in self.rules:
            self.retry, self.suspects = self.retry + self.suspects, []
        if self.suspects and want:
            gone = self.chosen not in self.workers
            if self.chosen is None or (gone and "chosen lives" in self.rules):
                self.chosen = me
        if self.chosen == me and want:
            if hand.items and "empty hand first" in self.rules:
                return []
            if self.suspects:
                return [self.suspects.pop()]
            self.chosen = None
        sources = [self.retry, self.next, self.inbox]
        if "next" not in self.rules:
            sources.remove(self.next)
        taken: list[Item] = []
        for source in sources:
            while source and len(taken) < want:
                taken.append(source.pop())
        return taken

    def fail(self, request: Request, hand: Hand) -> None:
        (each,) = request.ids
        item = hand.items.pop(each, None)
        if item is None and "fail checks hand" not in self.rules:
            item = request.item
        if item:
            charged = Item(item.number, item.deaths, item.failures + 1)
            self.dead.append(charged) if charged.failures >= MAX_ATTEMPTS else self.park(charged)

    def give(self, request: Request, hand: Hand) -> None:
        ids = set(request.ids)
        if "give by id" not in self.rules:
            ids = {each for each in hand.items if each >= min(ids)}
        for each in sorted(ids & hand.items.keys(), reverse=True):
            self.put_back(hand.items.pop(each))

    def reap(self, name: str) -> None:
        if name not in self.workers:
            return
        self.workers.discard(name)
        for item in self.hands.pop(name, Hand()).items.values():
            deaths = item.deaths + ("count deaths" in self.rules)
            noted = Item(item.number, deaths, item.failures)
            if "reap gives back" in self.rules:
                self.dead.append(noted) if deaths >= DEATHS else self.park(noted)

    def park(self, item: Item) -> None:
        (self.suspects if item.deaths >= SUSPECT else self.retry).append(item)

    def put_back(self, item: Item) -> None:
        self.inbox.append(item) if item == Item(item.number) else self.park(item)

    def everything(self) -> list[Item]:
        held = [item for hand in self.hands.values() for item in hand.items.values()]
        waiting = self.inbox + self.next + self.retry + self.suspects
        return held + waiting


@dataclass
class Worker:
    """One worker process. It sends one request at a time, and knows its hand by id."""

    process: int
    state: str = "up"  # up, stopped, dead or left
    name: str = ""
    joined: bool = False
    generation: int = 0
    first: int = 1
    hand: dict[int, Item] = field(default_factory=dict)
    stage: dict[int, str] = field(default_factory=dict)  # ready, running, done, failed, giving
    orphans: list[Item] = field(default_factory=list)  # started under a name that was reaped
    leaving: bool = False
    waiting: Request | None = None

    def at(self, stage: str) -> list[int]:
        return [each for each, now in self.stage.items() if now == stage]

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
        self.raises = chance() < 0.5
        self.rollbacks = chance() < 0.3
        self.lossy = chance() < 0.7
        self.impatience = self.dice.choice((0.05, 0.1, 0.4))
        self.delay = self.dice.choice((0, 0.5, 0.9))
        self.unpushed = [Item(number) for number in range(self.dice.choice((4, 10, 25)))]
        self.pushed: set[int] = set()
        self.poison = {2} if chance() < 0.4 else set()
        self.done: Counter[int] = Counter()
        self.failed: Counter[int] = Counter()
        self.excused: Counter[int] = Counter()
        self.rolled_back = False
        for _ in range(self.dice.choice((1, 2, 3))):
            self.spawn()

    # what a worker does

    def spawn(self) -> None:
        self.workers.append(Worker(len(self.workers)))

    def ask(self, worker: Worker, calm: bool) -> None:
        """Send the worker's next request, whichever its state calls for."""
        request = self.choose(worker, calm)
        request.sender = worker
        worker.waiting = request
        self.network.append(request)
        if "confirm" not in self.rules and request.kind == "step":
            for each in request.ids:
                worker.forget(each)

    def choose(self, worker: Worker, calm: bool) -> Request:
        name, chance = worker.name, self.dice.random()
        if not worker.joined:
            if not name or "fresh name" in self.rules:
                worker.generation += 1
                worker.name = f"{worker.process}/{worker.generation}"
            return Request("join", worker, worker.name)
        known = tuple(worker.hand)
        if chance < 0.2 and "audit" in self.rules:
            return Request("tend", worker, name, worker.first, ids=known)
        if failed := worker.at("failed"):
            return Request("fail", worker, name, ids=(failed[0],), item=worker.hand[failed[0]])
        ready = worker.at("giving") or (worker.at("ready") if chance < 0.3 and not calm else [])
        if ready:
            for each in ready:
                worker.stage[each] = "giving" if "given stay given" in self.rules else "ready"
            return Request("give", worker, name, ids=tuple(ready))
        done = tuple(worker.at("done"))
        if worker.leaving and not done:
            for each in worker.at("running"):
                worker.stage[each] = "cancelled"
            return Request("leave", worker, name)
        company = [item for item in worker.hand.values() if item.deaths >= SUSPECT]
        room = 0 if worker.leaving or (company and "alone" in self.rules) else 3
        want = room if calm else self.dice.randint(0, room)
        return Request("step", worker, name, worker.first, want, done)

    def hear(self, worker: Worker, request: Request, reply: Reply) -> None:
        worker.waiting = None
        if reply is None:
            if worker.leaving:
                worker.state = "left"
                return
            worker.orphans += [worker.hand[each] for each in worker.at("running")]
            worker.joined, worker.first = False, 1
            worker.hand.clear()
            worker.stage.clear()
            return
        match request.kind:
            case "join":
                worker.joined = True
            case "leave":
                worker.state = "left"
            case "fail" | "give":
                for each in request.ids:
                    worker.forget(each)
            case "step":
                for each in request.ids:
                    worker.forget(each)
                worker.learn(reply)
                worker.first = max([worker.first, *(each + 1 for each, _ in reply)])
            case "tend":
                worker.learn(reply)

    def start(self, worker: Worker) -> None:
        each = self.dice.choice(worker.at("ready"))
        item = worker.hand[each]
        worker.stage[each] = "running"
        beside = self.server.hands.get(worker.name, Hand()).items.keys() - {each}
        # An older server may remember items that this worker ended long ago.
        if item.deaths >= SUSPECT and beside and not self.rolled_back:
            raise Wrong(f"suspect {item} runs in company")
        if item.number in self.poison:
            self.kill(worker)

    def end(self, worker: Worker, calm: bool) -> None:
        if worker.orphans:
            self.done[worker.orphans.pop().number] += 1
            return
        each = self.dice.choice(worker.at("running"))
        number = worker.hand[each].number
        if not calm and self.raises and self.dice.random() < 0.3:
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
        self.excuse(worker.name)

    def excuse(self, name: str) -> None:
        for item in self.server.hands.get(name, Hand()).items.values():
            self.excused[item.number] += 1

    def reapable(self, by: Worker, calm: bool) -> list[str]:
        """Whom `by` may reap now: the dead, and the living whose lease may have lapsed."""
        owners = {f"{worker.process}/{g + 1}": (worker, g + 1) for worker in self.workers
                  for g in range(worker.generation)}  # fmt: skip
        names = []
        for name in sorted(self.server.workers - {by.name}):
            worker, generation = owners[name]
            living = worker.state in ("up", "stopped") and worker.generation == generation
            if not living:
                names.append(name)
            elif self.lapses and not calm and self.dice.random() < 0.4:
                self.excuse(name)
                names.append(name)
        return names

    def deliver(self, request: Request, calm: bool) -> None:
        fate = 1.0 if calm or not self.lossy else self.dice.random()
        if fate < 0.1:
            return  # the request is lost
        if 0.1 <= fate < 0.2:
            self.network.append(request)  # and will arrive once more
        if self.rollbacks:
            self.past = [*self.past[-5:], copy.deepcopy(self.server)]
        reapable = self.reapable(request.sender, calm) if request.kind == "tend" else []
        reply = copy.deepcopy(self.server.handle(request, reapable))
        worker = request.sender
        if fate >= 0.3 and worker.waiting is request and worker.state == "up":
            self.hear(worker, request, reply)

    def roll_back(self) -> None:
        """Redis comes back with an older state; connections and what they carried are gone."""
        self.server = self.dice.choice(self.past)
        self.rolled_back = True
        self.past = []
        self.network = []
        for number in self.pushed:
            self.excused[number] += 1
        for worker in self.workers:
            worker.waiting = None

    # time

    def turn(self, calm: bool) -> None:
        dice = self.dice
        if self.unpushed and (calm or dice.random() < 0.2):
            item = self.unpushed.pop()
            self.pushed.add(item.number)
            self.server.inbox.insert(0, item)
            self.past = []  # a server that lost pushes has promised nothing about them
        up = [worker for worker in self.workers if worker.state == "up"]
        chance = dice.random()
        if chance < 0.35 and up:
            worker = dice.choice(up)
            given_up = dice.random() < (0.3 if calm else self.impatience)
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
                self.start(worker)
            elif worker.at("running") or worker.orphans:
                self.end(worker, calm)
        elif chance < 0.9 and self.server.inbox:
            self.server.next.insert(0, self.server.inbox.pop())  # BLMOVE
        elif not calm:
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
        elif self.past:
            self.roll_back()

    def judge(self) -> None:
        """Check the promises that must hold at every moment."""
        innocent = {item for item in self.server.dead if item.number not in self.poison}
        for item in innocent:
            if item.failures < MAX_ATTEMPTS and item.deaths < DEATHS:
                raise Wrong(f"{item} dead-lettered without a reason")
            if item.failures > self.failed[item.number] + self.excused[item.number]:
                raise Wrong(f"{item} charged for what it did not do")
        if not (self.kills or self.lapses or self.rollbacks):
            for item in [*self.server.everything(), *innocent]:
                if item.number not in self.poison and item.deaths > SUSPECT:
                    raise Wrong(f"{item} suffers for its mate's deaths")
        if any(item.deaths > DEATHS for item in self.server.everything()):
            raise Wrong("poison kills more than its due")
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
            if not self.server.everything() and not known and not self.unpushed:
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
