"""supervisord on the shipped configuration."""

import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import redis as client

from . import launchers
from .launchers import SCRIPTS, Launcher
from .layout import ROOT, Layout
from .server import Server, free_port

Launch = Callable[..., Any]
Only = Callable[..., Layout]


def test_everything_comes_up_and_works(layout: Layout) -> None:
    """Each program says that it is ready; the API answers; pushes are worked, and both show."""
    layout.works()
    layout.push(b"by hand")
    layout.eventually(lambda: "WORKING: by hand" in layout.stdout())


def test_it_needs_no_variable_at_all(launch: Launch, redis: Server) -> None:
    """From a shell with an empty environment the default commands are found all the same."""
    layout = launch(Layout, redis)
    layout.environ = {"REDIS_URL": redis.url}
    layout.start()
    layout.ready()


def test_pushes_come_once_a_second_and_are_worked_in_order(only: Only) -> None:
    """Five ticks of beat: one second apart, none left out, worked in the order pushed."""
    layout = only(beat=2, worker=1)
    layout.eventually(lambda: layout.stdout().count("WORKING: OK: ") >= 6)
    times = [float(each) for each in re.findall(r"WORKING: OK: ([\d.]+)", layout.stdout())]
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert all(0.5 < gap < 1.5 for gap in gaps), gaps


def test_restarts_lose_nothing(only: Only) -> None:
    """`restart worker:*` and `restart beat:*` while items come in: each is worked."""
    layout = only(beat=1, worker=1)
    expected = []
    for number in range(60):
        expected.append(f"item {number}.")
        layout.push(expected[-1].encode())
        if number in (10, 40):
            layout.ctl("restart", "worker:*", check=True)
        if number == 25:
            layout.ctl("restart", "beat:*", check=True)
    layout.eventually(lambda: all(f"WORKING: {each}" in layout.stdout() for each in expected))


def test_a_program_that_somebody_ends_is_replaced(only: Only) -> None:
    """kill -9, or TERM and a clean exit: another process takes its place and does its work."""
    layout = only(app=1, beat=1, worker=1)
    for program, signal in product(("app", "beat", "worker"), ("KILL", "TERM")):
        before = layout.pid(program)
        ready = layout.log(program).count("ready: ")
        layout.signal(program, signal)
        layout.replaced(program, before)
        layout.eventually(lambda each=program, n=ready: layout.log(each).count("ready: ") > n)  # type: ignore[misc]
        goes_on(layout)
        assert layout.get() == "Hello, world!"


def goes_on(layout: Layout) -> None:
    """Wait until another tick is pushed and worked."""
    pushes = layout.stdout().count("WORKING: OK: ")
    layout.eventually(lambda: layout.stdout().count("WORKING: OK: ") > pushes)


def test_redis_may_start_last(launch: Launch, folder: Path) -> None:
    """Without Redis all programs stay up, say so once, and resume by themselves."""
    with_none = Server(folder / "redis")
    layout = launch(Layout, with_none)
    layout.only(app=1, beat=1, worker=1)
    layout.start()
    layout.eventually(lambda: layout.said("beat", "Redis away"))
    layout.eventually(lambda: layout.said("worker", "Redis away"))
    assert not layout.said("worker", "ready: ")
    programs = ("app", "beat", "worker")
    layout.eventually(lambda: all(layout.status(each) == "RUNNING" for each in programs))
    pids = [layout.pid(program) for program in programs]
    with with_none:
        layout.ready()
        layout.works()
        assert [layout.pid(program) for program in programs] == pids
        for program in ("beat", "worker"):
            assert layout.log(program).count("Redis away") == 1
            assert layout.log(program).count("Redis back") == 1


def test_redis_may_go_and_come_back(only: Only) -> None:
    """kill -9 of Redis in flight: nobody dies, one line each, and the work goes on."""
    # Without redis, which might take over before the server is back.
    layout = only(app=1, beat=1, worker=1)
    pids = [layout.pid(program) for program in ("app", "beat", "worker")]
    layout.redis.kill()
    layout.eventually(lambda: layout.said("beat", "Redis away"))
    layout.eventually(lambda: layout.said("worker", "Redis away"))
    assert layout.get() == "Hello, world!"
    layout.redis.start()
    layout.eventually(lambda: layout.said("beat", "Redis back"))
    layout.eventually(lambda: layout.said("worker", "Redis back"))
    layout.push(b"after")
    layout.eventually(lambda: "WORKING: after" in layout.stdout())
    assert [layout.pid(program) for program in ("app", "beat", "worker")] == pids


def test_the_embedded_redis_that_somebody_ends_is_replaced(launch: Launch, redis: Server) -> None:
    """With nobody at REDIS_URL, the program redis serves it, and again after whatever end."""
    port = free_port()
    layout = launch(Layout, redis, REDIS_URL=f"redis://localhost:{port}")
    layout.only(beat=1, worker=1, redis=1)
    layout.start()
    layout.ready()
    goes_on(layout)
    for times, end in enumerate(("KILL", "TERM", "SHUTDOWN"), 1):
        before = layout.pid("redis")
        if end == "SHUTDOWN":
            with client.Redis(port=port) as embedded:
                embedded.shutdown()
        else:
            layout.signal("redis", end)
        layout.replaced("redis", before)
        layout.eventually(
            lambda so_often=times: layout.log("worker").count("Redis back") >= so_often
        )
        goes_on(layout)


def test_the_embedded_redis_may_be_stopped(launch: Launch, redis: Server) -> None:
    """`supervisorctl stop redis`: it stays down, and is no failure to anybody."""
    layout = launch(Layout, redis, REDIS_URL=f"redis://localhost:{free_port()}")
    layout.only(worker=1, redis=1)
    layout.start()
    layout.ready()
    layout.ctl("stop", "redis", check=True)
    layout.eventually(lambda: layout.said("worker", "Redis away"))
    assert layout.status("redis") == "STOPPED"
    assert layout.shutdown() == 0


def test_a_served_redis_is_used(only: Only) -> None:
    """The program redis waits, which counts as ready, and says for what."""
    layout = only(redis=1)
    layout.eventually(lambda: layout.said("redis", "another server answers"))
    assert layout.status("redis") == "RUNNING"
    layout.all_ready("redis")
    assert (
        f"waits: another server answers at {layout.redis.url}"
        in layout.ctl("ready", "redis").stdout
    )


@pytest.fixture
def elsewhere(folder: Path) -> Iterator[Server]:
    """A server that REDIS_URL names by a Unix socket: ours would not listen there."""
    with Server(folder / "elsewhere", "--unixsocket", f"{folder}/elsewhere.sock") as server:
        server.url = f"unix://{folder}/elsewhere.sock"
        yield server


@pytest.mark.parametrize("kind", [Layout, launchers.parent])
def test_a_redis_elsewhere_is_used(
    kind: Callable[[Path, Server], Launcher], launch: Launch, elsewhere: Server
) -> None:
    """The program redis has nothing to do: it ends, once, and nobody takes that for a failure."""
    started = launch(kind, elsewhere)
    if isinstance(started, Layout):
        started.only(app=1, beat=1, worker=1, redis=1)
    started.start()
    started.works()
    assert "redis not started: REDIS_URL is elsewhere" in started.stdout()
    if isinstance(started, Layout):
        assert started.status("redis") == "EXITED"
        assert started.ctl("ready", "redis").returncode == 0
        assert started.stdout().count("spawned: 'redis'") == 1
    assert started.stop() == [0]


def test_a_redis_that_ends_is_taken_over(only: Only) -> None:
    """Such as that of another project on this machine, which had served for both."""
    layout = only(beat=1, worker=1, redis=1)
    layout.redis.kill()
    layout.eventually(lambda: layout.said("worker", "Redis back"), within=25)
    goes_on(layout)
    assert "serving" in layout.ctl("ready", "redis").stdout
    assert layout.stdout().count("spawned: 'redis'") == 1


def test_shutdown_leaves_nothing_behind(only: Only) -> None:
    """TERM to supervisord: exit status 0, no process, no socket, no pid file."""
    layout = only(app=1, beat=1, worker=1, redis=1)
    assert layout.shutdown() == 0
    assert layout.living() == set()
    assert not list((layout.folder / "var").glob("*.sock*"))
    assert not list((layout.folder / "var").glob("*.pid"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", layout.port))


def test_supervisorctl_needs_no_flags(only: Only) -> None:
    layout = only(app=1, beat=1, worker=1)
    layout.works()
    command = SCRIPTS / "supervisorctl"
    for words, shown in (
        ("status", "RUNNING"),
        ("tail beat:beat_00", "beat ready"),
        ("tail worker:worker_00", "WORKING: "),
        ("restart app:*", "app:app_00: started"),
        ("restart worker:*", "worker:worker_00: started"),
        ("stop beat:*", "beat:beat_00: stopped"),
    ):
        done = subprocess.run(
            [command, *words.split()],
            cwd=layout.folder,
            env=layout.environ,
            capture_output=True,
            text=True,
        )
        assert shown in done.stdout, words


def test_the_control_socket_is_for_its_owner_only(only: Only) -> None:
    assert only().socket.stat().st_mode & 0o777 == 0o700


def test_a_taken_port_is_reported(launch: Launch, redis: Server) -> None:
    """supervisord names the address in one line, and exits with 2."""
    layout = launch(Layout, redis)
    with socket.create_server(("127.0.0.1", layout.port)):
        super(Layout, layout).start()
        assert layout.processes[0].wait(20) == 2
    assert f"socket = tcp://127.0.0.1:{layout.port}: Address already in use" in layout.stdout()
    assert "Traceback" not in layout.stdout()


def test_a_wrong_setting_ends_it_all(launch: Launch, redis: Server) -> None:
    """A program tells why and is not tried again; supervisord stops the rest and exits with 70."""
    layout = launch(Layout, redis, LOG_LEVEL="loud")
    layout.only(worker=1, redis=1)
    super(Layout, layout).start()
    assert layout.processes[0].wait(20) == 70
    assert "wrong setting: LOG_LEVEL" in layout.stdout()
    assert layout.stdout().count("spawned: 'worker_00'") == 1


def test_a_drop_in_overrides_a_single_key(launch: Launch, redis: Server) -> None:
    """numprocs of worker from supervisord.d; all other keys of the program are kept."""
    layout = launch(Layout, redis)
    layout.only(worker=1)
    layout.override("worker", "[program:worker]\nnumprocs = 3\n")
    layout.start()
    layout.ready()
    assert {name for name in layout.table() if name.startswith("worker:")} == {
        "worker:worker_00",
        "worker:worker_01",
        "worker:worker_02",
    }


@pytest.mark.parametrize("name", ["a%2Fb", "a[1]"])
def test_a_folder_name_that_supervisord_cannot_use_is_reported(folder: Path, name: str) -> None:
    """scripts/serve says so at once, before it installs anything."""
    (folder / name / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "serve", folder / name / "scripts")
    done = subprocess.run([folder / name / "scripts" / "serve"], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"in the name of a folder: {folder / name}" in done.stderr
