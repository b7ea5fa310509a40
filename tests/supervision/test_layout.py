"""The shipped configuration: what the plugin does for app, beat, worker and redis."""

import os
import re
import signal
import socket
from collections.abc import Callable

import pytest

from .. import asking
from ..layout import Layout
from ..package import demo, package
from ..server import Server, free_port

Launch = Callable[..., Layout]
Only = Callable[..., Layout]


def test_all_stop_in_order(launch: Launch, redis: Server) -> None:
    """beat, then app and worker; redis last, and nobody is killed."""
    layout = launch(Layout, redis, REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    layout.only(app=1, beat=1, worker=1, redis=1)
    layout.start()
    layout.ready()
    layout.eventually(lambda: layout.status("redis") == "RUNNING")
    assert layout.shutdown() == 0
    stopped = re.findall(r"stopped: (\w+)", layout.stdout())
    assert stopped[0] == "beat_00"
    assert sorted(stopped[1:3]) == ["app_00", "worker_00"]
    assert stopped[3:] == ["redis"]
    assert "SIGKILL" not in layout.stdout()


SLOW_TASK = """
import asyncio

async def work(item: str) -> None:
    logger.info("BEGUN: %s", item)
    await asyncio.sleep(600)
"""
SLOW_PAGE = """
import asyncio

async def slow(request: Request) -> PlainTextResponse:
    print("slow request", flush=True)
    await asyncio.sleep(600)
    return PlainTextResponse("late")

app.routes.append(Route("/slow", slow))
"""


def test_what_outlives_the_drain_is_given_back(launch: Launch, redis: Server) -> None:
    """By the shipped defaults: an item that does not end is back in the queue, uncharged, however
    slow a request or idle a connection is; nobody is killed."""
    layout = launch(Layout, redis)
    code = package(
        layout.folder / "code", tasks=demo("tasks") + SLOW_TASK, api=demo("api") + SLOW_PAGE
    )
    # Without beat: its items would fill the worker's hands.
    layout.only(app=1, worker=1)
    layout.override(
        "code",
        f'[program:worker]\nenvironment = PYTHONPATH="{code}"\n'
        f'[fcgi-program:app]\nenvironment = PYTHONPATH="{code}"\n',
    )
    layout.start()
    layout.all_ready()
    layout.push(b"endless")
    layout.eventually(lambda: "BEGUN: endless" in layout.stdout())
    with (
        socket.create_connection(("127.0.0.1", layout.port)) as slow,
        socket.create_connection(("127.0.0.1", layout.port)) as idle,
    ):
        slow.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        layout.eventually(lambda: "slow request" in layout.stdout())
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")
        assert layout.shutdown() == 0
    assert "SIGKILL" not in layout.stdout()
    assert redis.client.lrange("TESTING", 0, -1) == [b"endless"]
    assert redis.client.keys("{TESTING}:hand:*") == []


def test_a_longer_drain_needs_no_other_key(launch: Launch, redis: Server) -> None:
    """An item that takes longer than stopwaitsecs ends during a restart, within DRAIN_SECONDS; that
    a stop of all would cut it off is told at the start."""
    layout = launch(Layout, redis, DRAIN_SECONDS="30")
    layout.only(worker=1)
    slow = SLOW_TASK.replace("600", "3") + '    logger.info("DONE: %s", item)\n'
    code = package(layout.folder / "code", tasks=demo("tasks") + slow)
    layout.override(
        "code",
        f'[program:worker]\nenvironment = PYTHONPATH="{code}"\nstopwaitsecs = 1\n',
    )
    layout.start()
    layout.eventually(
        lambda: "worker may take 32.5 s to stop; stop = 9 leaves it 8" in layout.stdout()
    )
    layout.push(b"long")
    layout.eventually(lambda: "BEGUN: long" in layout.stdout())
    layout.ctl("restart", "worker:*", check=True)
    assert "DONE: long" in layout.stdout()
    assert "SIGKILL" not in layout.stdout()


BAD_ITEMS = """
import os, signal
plain = work

async def work(item: str) -> None:
    if item.startswith("bad"):
        os.kill(os.getpid(), signal.SIGKILL)
    await plain(item)
"""


def test_ready_tells_of_all(only: Only) -> None:
    """Every program of ours has said so, with a status line, and feeds its watchdog."""
    layout = only(app=1, beat=1, worker=1)
    layout.all_ready()
    _, *rows = layout.ctl("ready", "app", "beat", "worker").stdout.splitlines()
    assert len(rows) == 3
    for row in rows:
        assert re.search(r" RUNNING +\d+ s +\d+ s ", row), row


def test_a_hung_app_is_replaced_and_the_other_serves_on(launch: Launch, redis: Server) -> None:
    """Both are behind one socket: only the one that is silent is touched."""
    layout = launch(Layout, redis)
    layout.only(app=2)
    layout.override("watchdog", "[rpcinterface:supervision]\nwatchdog = 3\n")
    layout.start()
    layout.ready()
    hung, other = layout.pid("app:app_00"), layout.pid("app:app_01")
    layout.signal("app:app_00", "STOP")
    layout.replaced("app", hung)
    assert layout.pid("app:app_01") == other
    layout.all_ready()
    assert layout.answers()


def test_a_hung_worker_is_replaced(launch: Launch, redis: Server) -> None:
    """And the next takes over the queue."""
    layout = launch(Layout, redis)
    layout.only(worker=1)
    layout.override("watchdog", "[rpcinterface:supervision]\nwatchdog = 3\n")
    layout.start()
    layout.ready()
    hung = layout.pid("worker")
    layout.signal("worker", "STOP")
    layout.replaced("worker", hung)
    layout.push(b"afterwards")
    layout.eventually(lambda: "WORKING: afterwards" in layout.stdout())


def test_poison_does_not_end_it_all(only: Only) -> None:
    """Four deaths of a worker, each as soon as it has started, are not the end."""
    layout = only(worker=1)
    for _ in range(4):
        pid = layout.pid("worker")
        os.kill(pid, signal.SIGKILL)
        layout.replaced("worker", pid)
    layout.push(b"afterwards")
    layout.eventually(lambda: "WORKING: afterwards" in layout.stdout())


def test_neither_bad_items_nor_a_bad_release_end_what_is_healthy(
    launch: Launch, redis: Server
) -> None:
    """Items that kill their worker, then a tasks.py that cannot be imported: the worker is slow or
    away, and back when they have gone; the site is up all the time."""
    layout = launch(Layout, redis)
    code = layout.folder / "code"
    package(code)
    layout.only(app=1, worker=1)
    layout.override(
        "code",
        f'[program:worker]\nenvironment = PYTHONPATH="{code}"\n'
        "[rpcinterface:supervision]\ncrash_loop = 4/120/0.1\n",
    )
    tasks = code / "example" / "tasks.py"
    good = tasks.read_text()
    tasks.write_text(good + BAD_ITEMS)
    layout.start()
    layout.ready()
    for n in range(2):
        layout.push(f"bad {n}".encode())
    layout.eventually(lambda: redis.client.xlen("{TESTING}:dead") == 2, within=60)
    assert "Died 4 times within 120 s" in layout.stdout()
    layout.all_ready()

    tasks.write_text(good + "import nope\n")
    layout.ctl("restart", "worker:*")
    layout.eventually(lambda: "tried again" in str(layout.rpc("supervision.ready")))
    assert layout.answers()
    tasks.write_text(good)
    layout.push(b"afterwards")
    layout.eventually(lambda: "WORKING: afterwards" in layout.stdout())


@pytest.mark.parametrize(("program", "file"), [("worker", "tasks"), ("beat", "schedule")])
def test_a_deploy_that_fails_leaves_the_old_version_at_work(
    launch: Launch, redis: Server, program: str, file: str
) -> None:
    """What cannot be compiled, imported, or goes on for ever at it; mended, it is rolled out."""
    layout = launch(Layout, redis)
    code = layout.folder / "code"
    package(code)
    layout.only(**{program: 1})
    layout.override("code", f'[program:{program}]\nenvironment = PYTHONPATH="{code}"\n')
    layout.start()
    layout.ready()
    before = layout.pid(program)
    path = code / "example" / f"{file}.py"
    good = path.read_text()
    for broken in ("def work(:\n", "import nope\n", "import time; time.sleep(1000)\n"):
        path.write_text(good + broken)
        done = layout.ctl("roll", program, "--wait", "3")
        assert done.returncode == 1
        assert "the old one goes on" in done.stdout
        assert layout.pid(program) == before
        assert asking.ready(layout.socket)
    path.write_text(good)
    done = layout.ctl("roll", program, check=True)
    assert re.match(rf"{program}:{program}_00: ready after \d+\.\d s\n", done.stdout)
    assert layout.eventually(lambda: layout.pid(program)) != before
    assert layout.ctl("reread").stdout == "No config updates to processes\n"


def test_everything_is_there_again_after_a_reload(only: Only) -> None:
    """All parts are installed anew, and none twice."""
    layout = only(app=1, worker=1)
    for count in (2, 3):
        layout.ctl("reload", check=True)
        layout.eventually(lambda count=count: layout.stdout().count("supervisord started") == count)  # type: ignore[misc]
        layout.all_ready()
    layout.push(b"once")
    layout.eventually(lambda: layout.stdout().count("WORKING: once\n") == 1)
    assert "Traceback" not in layout.stdout()
    assert layout.stop(signal.SIGTERM) == [0]
