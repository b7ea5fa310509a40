"""The faults: what strikes, and what is promised of our own supervisord.conf then."""

import contextlib
import fcntl
import itertools
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from tests.launchers import Launcher

from .columns import Column
from .scene import PROGRAMS, Scene, Seen, Skip

STALL = 2.0
"""Seconds for which the machine may stand still before a cell says nothing about the launcher."""

Action = Callable[[Scene], object]


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


# what strikes


def _signal(program: str, number: int) -> Action:
    return lambda scene: scene.signal(program, number)


def _block(program: str) -> Action:
    def strike(scene: Scene) -> None:
        scene.ask(f"block-{program}")
        scene.eventually(lambda: "blocked" in {kind for _, kind, _, _ in scene.journal()})
        scene.victim = next(pid for _, kind, pid, _ in scene.journal() if kind == "blocked")
        scene.strikes()

    return strike


def _crash(how: str, program: str) -> Action:
    """The program dies, and again after each start, for half a minute."""

    def strike(scene: Scene) -> None:
        scene.ask(f"{how}-{program}")
        scene.signal(program, signal.SIGKILL)
        scene.wait(30.0)
        (scene.folder / f"{how}-{program}").unlink()
        scene.heals()

    return strike


def _poison(scene: Scene) -> None:
    scene.redis.client.lpush("TESTING", "poison")


def _set(**environ: str) -> Action:
    return lambda scene: scene.launcher.environ.update(environ)


def _take_port(scene: Scene) -> None:
    scene.cleanup.enter_context(socket.create_server(("127.0.0.1", scene.launcher.port)))


def _start_redis_late(scene: Scene) -> None:
    scene.wait(3.0)
    scene.redis.start()
    scene.heals()


def _kill_redis(scene: Scene) -> None:
    scene.redis.kill()
    scene.wait(3.0)
    scene.redis.start()
    scene.heals()


def _pause_redis(scene: Scene) -> None:
    scene.redis.signal(signal.SIGSTOP)
    scene.wait(6.0)
    scene.redis.signal(signal.SIGCONT)
    scene.heals()


def _fill_redis(scene: Scene) -> None:
    scene.redis.client.config_set("maxmemory", 1)
    scene.wait(3.0)
    scene.redis.client.config_set("maxmemory", 0)
    scene.heals()


def _take_a_right(scene: Scene) -> None:
    """Redis refuses one command that the queue's scripts need; any other passes."""
    client: Any = scene.redis.client
    client.execute_command("ACL", "SETUSER", "default", "-hset")
    scene.wait(3.0)
    client.execute_command("ACL", "SETUSER", "default", "+hset")
    scene.heals()


def _push_pool(scene: Scene) -> None:
    scene.in_hand("slow")
    scene.strikes()
    scene.in_hand("pool")


def _half_requests(scene: Scene) -> None:
    """Clients that never finish what they ask, more than app has descriptors for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    scene.cleanup.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    for pid in scene.launcher.living():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (1024, 1024))
    address = ("127.0.0.1", scene.launcher.port)
    for _ in range(2500):
        client = scene.cleanup.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(address)
        with contextlib.suppress(BlockingIOError):
            client.send(b"GET / HTTP/1.1\r\nHost: half")


def _deploy_broken(scene: Scene) -> None:
    """A version of the worker that cannot start is deployed, and five seconds later a sound one."""
    scene.in_hand("slow")
    scene.ask("crash-worker")
    scene.strikes()
    scene.column.deploy(scene.launcher, "worker")
    scene.wait(5.0)
    (scene.folder / "crash-worker").unlink()
    scene.column.deploy(scene.launcher, "worker")
    scene.heals()


def _signal_parent(*numbers: int, kind: str = "slow") -> Action:
    def strike(scene: Scene) -> None:
        scene.in_hand(kind)
        scene.strikes()
        for number in numbers:
            scene.signal_parent(number)

    return strike


def _ctrl_c(scene: Scene) -> None:
    """As a terminal does: to the foreground process group."""
    scene.in_hand("slow")
    scene.strikes()
    os.killpg(scene.launcher.processes[-1].pid, signal.SIGINT)


def _term_twice(scene: Scene) -> None:
    scene.in_hand("endless")
    scene.strikes()
    scene.signal_parent(signal.SIGTERM)
    scene.wait(1.0)
    scene.signal_parent(signal.SIGTERM)


def _start_again(scene: Scene) -> None:
    """kill -9 of the launcher, and a person, or a machine, starts it again; watched for a while."""
    scene.strikes()
    scene.signal_parent(signal.SIGKILL)
    scene.launcher.processes[-1].wait()
    scene.wait(1.0)
    scene.left = len(scene.launcher.living())
    Launcher.start(scene.launcher)
    scene.wait(5.0)


def _pipe_for_stdout(scene: Scene) -> None:
    scene.reader, writer = os.pipe()
    scene.cleanup.callback(_close_pipe, scene)
    scene.cleanup.callback(os.close, writer)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    scene.stdout = writer


def _close_reader(scene: Scene) -> None:
    """As `supervisord | head` does: whoever writes is told that nobody reads."""
    scene.in_hand("slow")
    _close_pipe(scene)
    scene.kill_worker()


def _stop_reading(scene: Scene) -> None:
    """The pipe is full, and the worker dies, which is worth a line."""
    scene.in_hand("slow")
    _fill_pipe(scene)
    scene.kill_worker()


def _stop_reading_and_end(scene: Scene) -> None:
    _fill_pipe(scene)
    scene.strikes()
    scene.signal_parent(signal.SIGTERM)


def _close_pipe(scene: Scene) -> None:
    """Once: the number may be another cell's by then."""
    if scene.reader is not None:
        os.close(scene.reader)
        scene.reader = None


def _fill_pipe(scene: Scene) -> None:
    assert scene.stdout is not None
    # An open file description of our own: O_NONBLOCK on theirs would be theirs too.
    own = os.open(f"/proc/self/fd/{scene.stdout}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        while True:
            os.write(own, b"\n" * 4096)
    except BlockingIOError:
        pass
    finally:
        os.close(own)


def _small_disk(scene: Scene) -> None:
    var = scene.folder / "l" / "var"
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(var)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        raise Skip(f"a tmpfs may not be mounted here: {done.stderr.strip()}")
    scene.cleanup.callback(subprocess.run, ["umount", "-l", str(var)], check=True)


def _fill_disk(scene: Scene) -> None:
    filler = scene.folder / "l" / "var" / "filler"
    try:
        with open(filler, "wb", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass
        scene.wait(4.0)
    finally:
        filler.unlink()
    scene.heals()


def _no_descriptors(pid: int) -> None:
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    free = next(number for number in itertools.count() if number not in used)
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, hard))


def _use_up_descriptors_of_app(scene: Scene) -> None:
    pid = scene.pid("app")
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    _no_descriptors(pid)
    scene.wait(4.0)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    scene.heals()


def _use_up_descriptors_of_parent(scene: Scene) -> None:
    """For a second, in which the worker dies."""
    pid = scene.launcher.processes[-1].pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    scene.in_hand("slow")
    _no_descriptors(pid)
    scene.kill_worker()
    scene.wait(1.0)
    if not scene.ended():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    scene.heals()


def _jump_clock(scene: Scene) -> None:
    """An hour ahead, and back."""
    scene.ask("clock")
    scene.wait(3.0)
    (scene.folder / "clock").unlink()
    scene.heals()


def _restart(program: str) -> Action:
    def strike(scene: Scene) -> None:
        if program == "worker":
            scene.in_hand("slow")
        scene.strikes()
        scene.column.restart(scene.launcher, program)

    return strike


def _nothing(scene: Scene) -> None:
    """The fault is there already."""


# the table

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
        yield Fault(f"{program}: kill -9", _signal(program, signal.SIGKILL), killed, brief=True)
        clean = replace(killed, failed=0, doubled=0, ticks_doubled=0)
        yield Fault(f"{program}: TERM", _signal(program, signal.SIGTERM), clean)
        replaced = Promise(seconds=45, **stuck[program])
        stop = _signal(program, signal.SIGSTOP)
        yield Fault(f"{program}: STOP", stop, replaced, patience=STUCK)
        yield Fault(f"{program}: loop blocked", _block(program), replaced, patience=STUCK)


FAULTS = [
    *_signals(),
    Fault(
        "worker cannot start",
        _nothing,
        Promise(status=70, seconds=75, failed=9),
        prepare=lambda scene: scene.ask("crash-worker"),
        patience=80,
        at_start=True,
        should_end=True,
    ),
    Fault(
        "worker crashes at each start for 30 s",
        _crash("crash", "worker"),
        Promise(seconds=MOMENT, **REDONE),
        patience=70,
    ),
    Fault(
        "worker crashes 1.5 s after each start for 30 s",
        _crash("crash-late", "worker"),
        Promise(seconds=MOMENT, doubled=20, ticks_doubled=9),
        patience=70,
    ),
    Fault(
        "an item kills its worker",
        _poison,
        Promise(doubled=9, ticks_doubled=2, seconds=40),
        patience=STUCK,
    ),
    Fault(
        "a task's own child process gets TERM",
        _push_pool,
        Promise(),
    ),
    Fault(
        "a broken worker is deployed, and a sound one 5 s later",
        _deploy_broken,
        Promise(seconds=MOMENT, **REDONE),
        patience=30,
    ),
    Fault(
        "bad configuration",
        _nothing,
        Promise(status=70),
        prepare=_set(REDIS_URL="nonsense"),
        at_start=True,
        should_end=True,
        brief=True,
    ),
    Fault(
        "port taken",
        _nothing,
        Promise(status=2),
        prepare=_take_port,
        at_start=True,
        should_end=True,
        brief=True,
    ),
    Fault(
        "Redis absent at start, for 3 s",
        _start_redis_late,
        Promise(),
        prepare=lambda scene: scene.redis.kill(),
        at_start=True,
        brief=True,
        # No loopback address: nobody brings a Redis of their own.
        url="redis://0.0.0.0:{port}",
    ),
    Fault(
        "Redis killed, back after 3 s",
        _kill_redis,
        Promise(missed=9, **REDONE),
        patience=20,
        url="redis://0.0.0.0:{port}",
    ),
    Fault("Redis paused for 6 s", _pause_redis, Promise(missed=12), patience=20),
    Fault("Redis out of memory for 3 s", _fill_redis, Promise(missed=9), patience=20),
    Fault("Redis refuses a command for 3 s", _take_a_right, Promise(missed=9), patience=20),
    Fault("parent: TERM", _signal_parent(signal.SIGTERM), Promise(status=0), ends=True, brief=True),
    Fault("parent: INT", _signal_parent(signal.SIGINT), Promise(status=0), ends=True),
    Fault("parent: Ctrl-C at a terminal", _ctrl_c, Promise(status=0), ends=True),
    Fault(
        "parent: TERM, a task's child runs",
        _signal_parent(signal.SIGTERM, kind="slow child"),
        Promise(status=0),
        ends=True,
        brief=True,
    ),
    Fault(
        "parent: TERM twice, item in hand",
        _term_twice,
        Promise(status=0, seconds=MOMENT),
        patience=20,
        ends=True,
    ),
    Fault(
        "parent: HUP",
        _signal_parent(signal.SIGHUP),
        # supervisord starts anew, and keeps the listening sockets.
        Promise(missed=5),
        patience=20,
    ),
    Fault(
        "parent: kill -9",
        _signal_parent(signal.SIGKILL),
        Promise(status=-9),
        ends=True,
        brief=True,
    ),
    Fault(
        "parent: kill -9, started again",
        _start_again,
        Promise(failed=99, missed=9, **REDONE),
        patience=20,
    ),
    Fault(
        "log reader stuck, worker: kill -9",
        _stop_reading,
        Promise(**REDONE, seconds=MOMENT),
        prepare=_pipe_for_stdout,
        brief=True,
    ),
    Fault(
        "log reader stuck, parent: TERM",
        _stop_reading_and_end,
        Promise(status=0, seconds=MOMENT),
        prepare=_pipe_for_stdout,
        patience=20,
        ends=True,
    ),
    Fault(
        "log reader gone, worker: kill -9",
        _close_reader,
        Promise(**REDONE, seconds=MOMENT),
        prepare=_pipe_for_stdout,
        brief=True,
    ),
    Fault("log disk full for 4 s", _fill_disk, Promise(), prepare=_small_disk),
    Fault("app: 2,500 half requests stay", _half_requests, Promise(failed=99), patience=40),
    # libuv may close a connection that it has no descriptor for.
    Fault("app: no descriptors for 4 s", _use_up_descriptors_of_app, Promise(failed=99)),
    Fault(
        "parent: no descriptors for 1 s, worker: kill -9",
        _use_up_descriptors_of_parent,
        Promise(**REDONE, seconds=MOMENT),
    ),
    Fault("clock jumps an hour, and back", _jump_clock, Promise()),
    Fault("restart of app", _restart("app"), Promise(), brief=True),
    Fault("restart of beat", _restart("beat"), Promise(missed=2)),
    Fault("restart of worker", _restart("worker"), Promise(), brief=True),
]
