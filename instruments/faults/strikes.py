"""What strikes: each function here makes one fault of table.py happen in a scene."""

import contextlib
import fcntl
import itertools
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Callable
from typing import Any

from tests.launchers import Launcher

from .scene import Scene, Skip

Action = Callable[[Scene], object]


def send(program: str, number: int) -> Action:
    return lambda scene: scene.signal(program, number)


def block(program: str) -> Action:
    def strike(scene: Scene) -> None:
        scene.ask(f"block-{program}")
        scene.eventually(lambda: "blocked" in {kind for _, kind, _, _ in scene.journal()})
        scene.victim = next(pid for _, kind, pid, _ in scene.journal() if kind == "blocked")
        scene.strikes()

    return strike


def crash(how: str, program: str) -> Action:
    """The program dies, and again after each start, for half a minute."""

    def strike(scene: Scene) -> None:
        scene.ask(f"{how}-{program}")
        scene.signal(program, signal.SIGKILL)
        scene.wait(30.0)
        (scene.folder / f"{how}-{program}").unlink()
        scene.heals()

    return strike


def poison(scene: Scene) -> None:
    scene.redis.client.lpush("TESTING", "poison")


def set_variables(**environ: str) -> Action:
    return lambda scene: scene.launcher.environ.update(environ)


def take_port(scene: Scene) -> None:
    scene.cleanup.enter_context(socket.create_server(("127.0.0.1", scene.launcher.port)))


def start_redis_late(scene: Scene) -> None:
    scene.wait(3.0)
    scene.redis.start()
    scene.heals()


def kill_redis(scene: Scene) -> None:
    scene.redis.kill()
    scene.wait(3.0)
    scene.redis.start()
    scene.heals()


def pause_redis(scene: Scene) -> None:
    scene.redis.signal(signal.SIGSTOP)
    scene.wait(6.0)
    scene.redis.signal(signal.SIGCONT)
    scene.heals()


def fill_redis(scene: Scene) -> None:
    scene.redis.client.config_set("maxmemory", 1)
    scene.wait(3.0)
    scene.redis.client.config_set("maxmemory", 0)
    scene.heals()


def take_a_right(scene: Scene) -> None:
    """Redis refuses one command that the queue's scripts need; any other passes."""
    client: Any = scene.redis.client
    client.execute_command("ACL", "SETUSER", "default", "-hset")
    scene.wait(3.0)
    client.execute_command("ACL", "SETUSER", "default", "+hset")
    scene.heals()


def push_pool(scene: Scene) -> None:
    scene.in_hand("slow")
    scene.strikes()
    scene.in_hand("pool")


def half_requests(scene: Scene) -> None:
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


def deploy_broken(scene: Scene) -> None:
    """A version of the worker that cannot start is deployed, and five seconds later a sound one."""
    scene.in_hand("slow")
    scene.ask("crash-worker")
    scene.strikes()
    scene.column.deploy(scene.launcher, "worker")
    scene.wait(5.0)
    (scene.folder / "crash-worker").unlink()
    scene.column.deploy(scene.launcher, "worker")
    scene.heals()


def signal_parent(*numbers: int, kind: str = "slow") -> Action:
    def strike(scene: Scene) -> None:
        scene.in_hand(kind)
        scene.strikes()
        for number in numbers:
            scene.signal_parent(number)

    return strike


def press_ctrl_c(scene: Scene) -> None:
    """As a terminal does: to the foreground process group."""
    scene.in_hand("slow")
    scene.strikes()
    os.killpg(scene.launcher.processes[-1].pid, signal.SIGINT)


def term_twice(scene: Scene) -> None:
    scene.in_hand("endless")
    scene.strikes()
    scene.signal_parent(signal.SIGTERM)
    scene.wait(1.0)
    scene.signal_parent(signal.SIGTERM)


def start_again(scene: Scene) -> None:
    """kill -9 of the launcher, and a person, or a machine, starts it again; watched for a while."""
    scene.strikes()
    scene.signal_parent(signal.SIGKILL)
    scene.launcher.processes[-1].wait()
    scene.wait(1.0)
    scene.left = len(scene.launcher.living())
    Launcher.start(scene.launcher)
    scene.wait(5.0)


def pipe_for_stdout(scene: Scene) -> None:
    scene.reader, writer = os.pipe()
    scene.cleanup.callback(_close_pipe, scene)
    scene.cleanup.callback(os.close, writer)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    scene.stdout = writer


def close_reader(scene: Scene) -> None:
    """As `supervisord | head` does: whoever writes is told that nobody reads."""
    scene.in_hand("slow")
    _close_pipe(scene)
    scene.kill_worker()


def stop_reading(scene: Scene) -> None:
    """The pipe is full, and the worker dies, which is worth a line."""
    scene.in_hand("slow")
    _fill_pipe(scene)
    scene.kill_worker()


def stop_reading_and_end(scene: Scene) -> None:
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


def small_disk(scene: Scene) -> None:
    var = scene.folder / "l" / "var"
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(var)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        raise Skip(f"a tmpfs may not be mounted here: {done.stderr.strip()}")
    scene.cleanup.callback(subprocess.run, ["umount", "-l", str(var)], check=True)


def fill_disk(scene: Scene) -> None:
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


def use_up_descriptors_of_app(scene: Scene) -> None:
    pid = scene.pid("app")
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    _no_descriptors(pid)
    scene.wait(4.0)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    scene.heals()


def use_up_descriptors_of_parent(scene: Scene) -> None:
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


def jump_clock(scene: Scene) -> None:
    """An hour ahead, and back."""
    scene.ask("clock")
    scene.wait(3.0)
    (scene.folder / "clock").unlink()
    scene.heals()


def restart(program: str) -> Action:
    def strike(scene: Scene) -> None:
        if program == "worker":
            scene.in_hand("slow")
        scene.strikes()
        scene.column.restart(scene.launcher, program)

    return strike


def nothing(scene: Scene) -> None:
    """The fault is there already."""
