"""The shipped configuration: what the plugin does for app, beat, worker and redis."""

import os
import re
import signal
from collections.abc import Callable

from ..layout import Layout
from ..server import Server, free_port

Launch = Callable[..., Layout]


def test_all_stop_in_order(launch: Launch, redis: Server) -> None:
    """beat, then app, then worker; redis last, and nobody is killed."""
    layout = launch(Layout, redis, REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    layout.start()
    layout.ready()
    layout.eventually(lambda: layout.status("redis") == "RUNNING")
    assert layout.shutdown() == 0
    stopped = re.findall(r"stopped: (\w+)", layout.stdout())
    assert stopped[0] == "beat"
    assert sorted(stopped[1:3]) == ["app_00", "app_01"]
    assert stopped[3:] == ["worker_00", "redis"]
    assert "SIGKILL" not in layout.stdout()


def test_ready_tells_of_all(layout: Layout) -> None:
    """Every program of ours has said so, with a status line, and feeds its watchdog."""
    assert layout.ctl("ready", "--wait", "10").returncode == 0
    _, *rows = layout.ctl("ready", "app", "beat", "worker").stdout.splitlines()
    assert len(rows) == 4
    for row in rows:
        assert re.search(r" RUNNING +\d+ s +\d+ s ", row), row


def test_a_hung_app_is_replaced_and_the_other_serves_on(launch: Launch, redis: Server) -> None:
    """Both are behind one socket: only the one that is silent is touched."""
    layout = launch(Layout, redis)
    layout.override("watchdog", "[rpcinterface:supervision]\nwatchdog = 3\n")
    layout.start()
    layout.ready()
    hung, other = layout.pid("app:app_00"), layout.pid("app:app_01")
    layout.signal("app:app_00", "STOP")
    layout.eventually(lambda: layout.table()["app:app_00"][1] not in (0, hung))
    assert layout.pid("app:app_01") == other
    layout.eventually(lambda: layout.ctl("ready").returncode == 0)
    assert layout.answers()


def test_a_hung_worker_is_replaced(launch: Launch, redis: Server) -> None:
    """And the next takes over the queue."""
    layout = launch(Layout, redis)
    layout.override("watchdog", "[rpcinterface:supervision]\nwatchdog = 3\n")
    layout.start()
    layout.ready()
    hung = layout.pid("worker")
    layout.signal("worker", "STOP")
    layout.eventually(lambda: layout.table()["worker:worker_00"][1] not in (0, hung))
    layout.push(b"afterwards")
    layout.eventually(lambda: "WORKING: afterwards" in layout.stdout())


def test_poison_does_not_end_it_all(layout: Layout) -> None:
    """Four deaths of a worker, each as soon as it has started, are not the end."""
    for _ in range(4):
        pid = layout.eventually(lambda: int(layout.ctl("pid", "worker:worker_00").stdout))
        os.kill(pid, signal.SIGKILL)
        layout.eventually(
            lambda pid=pid: int(layout.ctl("pid", "worker:worker_00").stdout) not in (0, pid)  # type: ignore[misc]
        )
    layout.push(b"afterwards")
    layout.eventually(lambda: "WORKING: afterwards" in layout.stdout())


def test_roll_replaces_every_worker(layout: Layout) -> None:
    before = layout.pid("worker")
    done = layout.ctl("roll", "worker", check=True)
    assert re.match(r"worker:worker_00: ready after \d+\.\d s\n", done.stdout)
    layout.eventually(lambda: layout.table()["worker:worker_00"][1] not in (0, before))


def test_everything_is_there_again_after_a_reload(layout: Layout) -> None:
    """All parts are installed anew, and none twice."""
    for count in (2, 3):
        layout.ctl("reload", check=True)
        layout.eventually(lambda count=count: layout.stdout().count("supervisord started") == count)  # type: ignore[misc]
        layout.eventually(lambda: layout.ctl("ready", "app", "beat", "worker").returncode == 0)
    layout.push(b"once")
    layout.eventually(lambda: layout.stdout().count("WORKING: once\n") == 1)
    assert "Traceback" not in layout.stdout()
    assert layout.stop(signal.SIGTERM) == [0]
