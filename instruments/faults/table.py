"""The faults: what strikes, and what our own supervisord.conf promises then."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from . import strikes
from .columns import Column
from .scene import PROGRAMS, Scene, Seen
from .strikes import Action

STALL = 2.0
"""Seconds for which the machine may stand still before a cell says nothing about the launcher."""


@dataclass(frozen=True)
class Promise:
    """The most that a user may see. Seconds are a bound for a slow machine, not a measure."""

    failed: int = 0
    lost: int = 0
    doubled: int = 0
    missed: int = 0
    ticks_doubled: int = 0
    seconds: float = 10.0
    fewer: int = 0
    orphans: int = 0
    status: int | None = None
    """Of the launcher, exactly."""

    def broken(self, seen: Seen) -> list[str]:
        """What was seen beyond this."""
        wrong = []
        for each in fields(self):
            most, was = getattr(self, each.name), getattr(seen, each.name)
            exact = each.name == "status"
            if was != most if exact else was is None or was > most:
                wrong.append(f"{each.name} is {was}, promised {most}")
        return wrong


@dataclass(frozen=True)
class Fault:
    """One row of the table."""

    name: str
    strike: Action
    promise: Promise
    prepare: Action = lambda scene: None
    """Before the launcher is started."""
    patience: float = 12.0
    """Seconds that a user waits for all to work again."""
    at_start: bool = False
    """The fault is there before the launcher is."""
    ends: bool = False
    """Somebody means to end the launcher."""
    should_end: bool = False
    """Nothing but a person can help: the launcher should end, and tell so by its status."""
    brief: bool = False
    """Our column's cell is among those that the tests run."""
    url: str = "redis://127.0.0.1:{port}"


def play(fault: Fault, column: Column) -> Seen:
    """Run one cell of the table for real; once more if the machine itself stood still meanwhile.

    Raises:
        Skip: the fault cannot be had on this machine.
        AssertionError: the launcher does not even work before the fault.
    """
    for _ in range(3):
        with Scene(column, fault.url) as scene:
            seen = _play(fault, scene)
            if scene.load.stall < STALL:
                break
    return seen


def _play(fault: Fault, scene: Scene) -> Seen:
    scene.redis.start()
    fault.prepare(scene)
    scene.start()
    if not fault.at_start:
        scene.works()
    scene.strikes()
    fault.strike(scene)
    if fault.ends or fault.should_end:
        scene.watch_end(fault.patience)
    else:
        scene.watch(fault.patience)
    orphans = scene.orphans()
    scene.load.stop()
    scene.calm()
    return scene.seen(fault, orphans)


REDONE = {"doubled": 5, "ticks_doubled": 2}
"""What had ended when the worker died, and was not confirmed: that comes again."""
STUCK = 50.0
"""Patience where only a watchdog can help; ours has 30 seconds."""
MOMENT = 15.0
"""Seconds for what takes one or two, on a machine that is busy."""


def _signals() -> Iterator[Fault]:
    most: dict[str, dict[str, int]] = {
        "app": {"failed": 4},
        "beat": {"missed": 2},
        "worker": REDONE,
    }
    stuck: dict[str, dict[str, int]] = {
        "app": {"failed": 4},
        "beat": {},
        "worker": REDONE,
    }
    for program in PROGRAMS:
        killed = Promise(seconds=MOMENT, **most[program])
        yield Fault(
            f"{program}: kill -9", strikes.send(program, signal.SIGKILL), killed, brief=True
        )
        clean = replace(killed, failed=0, doubled=0, ticks_doubled=0)
        yield Fault(f"{program}: TERM", strikes.send(program, signal.SIGTERM), clean)
        replaced = Promise(seconds=45, **stuck[program])
        stop = strikes.send(program, signal.SIGSTOP)
        yield Fault(f"{program}: STOP", stop, replaced, patience=STUCK)
        yield Fault(f"{program}: loop blocked", strikes.block(program), replaced, patience=STUCK)


FAULTS = [
    *_signals(),
    Fault(
        "worker cannot start",
        strikes.nothing,
        Promise(status=70, seconds=75, failed=9),
        prepare=lambda scene: scene.ask("crash-worker"),
        patience=80,
        at_start=True,
        should_end=True,
    ),
    Fault(
        "worker crashes at each start for 30 s",
        strikes.crash("crash", "worker"),
        Promise(seconds=MOMENT, **REDONE),
        patience=70,
    ),
    Fault(
        "worker crashes 1.5 s after each start for 30 s",
        strikes.crash("crash-late", "worker"),
        Promise(seconds=MOMENT, doubled=20, ticks_doubled=9),
        patience=70,
    ),
    Fault(
        "an item kills its worker",
        strikes.poison,
        Promise(doubled=9, ticks_doubled=2, seconds=40),
        patience=STUCK,
    ),
    Fault(
        "a task's own child process gets TERM",
        strikes.push_pool,
        Promise(),
    ),
    Fault(
        "a broken worker is deployed, and a sound one 5 s later",
        strikes.deploy_broken,
        Promise(seconds=MOMENT, **REDONE),
        patience=30,
    ),
    Fault(
        "bad configuration",
        strikes.nothing,
        Promise(status=70),
        prepare=strikes.set_variables(REDIS_URL="nonsense"),
        at_start=True,
        should_end=True,
        brief=True,
    ),
    Fault(
        "port taken",
        strikes.nothing,
        Promise(status=2),
        prepare=strikes.take_port,
        at_start=True,
        should_end=True,
        brief=True,
    ),
    Fault(
        "Redis absent at start, for 3 s",
        strikes.start_redis_late,
        Promise(),
        prepare=lambda scene: scene.redis.kill(),
        at_start=True,
        brief=True,
        # No loopback address: nobody brings a Redis of their own.
        url="redis://0.0.0.0:{port}",
    ),
    Fault(
        "Redis killed, back after 3 s",
        strikes.kill_redis,
        Promise(missed=9, **REDONE),
        patience=20,
        url="redis://0.0.0.0:{port}",
    ),
    Fault("Redis paused for 6 s", strikes.pause_redis, Promise(missed=12), patience=20),
    Fault("Redis out of memory for 3 s", strikes.fill_redis, Promise(missed=9), patience=20),
    Fault("Redis refuses a command for 3 s", strikes.take_a_right, Promise(missed=9), patience=20),
    Fault(
        "parent: TERM",
        strikes.signal_parent(signal.SIGTERM),
        Promise(status=0),
        ends=True,
        brief=True,
    ),
    Fault("parent: INT", strikes.signal_parent(signal.SIGINT), Promise(status=0), ends=True),
    Fault("parent: Ctrl-C at a terminal", strikes.press_ctrl_c, Promise(status=0), ends=True),
    Fault(
        "parent: TERM, a task's child runs",
        strikes.signal_parent(signal.SIGTERM, kind="slow child"),
        Promise(status=0),
        ends=True,
        brief=True,
    ),
    Fault(
        "parent: TERM twice, item in hand",
        strikes.term_twice,
        Promise(status=0, seconds=MOMENT),
        patience=20,
        ends=True,
    ),
    Fault(
        "parent: HUP",
        strikes.signal_parent(signal.SIGHUP),
        # supervisord starts anew, and keeps the listening sockets.
        Promise(missed=5),
        patience=20,
    ),
    Fault(
        "parent: kill -9",
        strikes.signal_parent(signal.SIGKILL),
        Promise(status=-9),
        ends=True,
        brief=True,
    ),
    Fault(
        "parent: kill -9, started again",
        strikes.start_again,
        Promise(failed=99, missed=9, **REDONE),
        patience=20,
    ),
    Fault(
        "log reader stuck, worker: kill -9",
        strikes.stop_reading,
        Promise(**REDONE, seconds=MOMENT),
        prepare=strikes.pipe_for_stdout,
        brief=True,
    ),
    Fault(
        "log reader stuck, parent: TERM",
        strikes.stop_reading_and_end,
        Promise(status=0, seconds=MOMENT),
        prepare=strikes.pipe_for_stdout,
        patience=20,
        ends=True,
    ),
    Fault(
        "log reader gone, worker: kill -9",
        strikes.close_reader,
        Promise(**REDONE, seconds=MOMENT),
        prepare=strikes.pipe_for_stdout,
        brief=True,
    ),
    Fault("log disk full for 4 s", strikes.fill_disk, Promise(), prepare=strikes.small_disk),
    Fault("app: 2,500 half requests stay", strikes.half_requests, Promise(failed=99), patience=40),
    # libuv may close a connection that it has no descriptor for.
    Fault("app: no descriptors for 4 s", strikes.use_up_descriptors_of_app, Promise(failed=99)),
    Fault(
        "parent: no descriptors for 1 s, worker: kill -9",
        strikes.use_up_descriptors_of_parent,
        Promise(**REDONE, seconds=MOMENT),
    ),
    Fault("clock jumps an hour, and back", strikes.jump_clock, Promise()),
    Fault("restart of app", strikes.restart("app"), Promise(), brief=True),
    Fault("restart of beat", strikes.restart("beat"), Promise(missed=2)),
    Fault("restart of worker", strikes.restart("worker"), Promise(), brief=True),
]
