"""app under load, while it is restarted in every way: nobody notices."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ..layout import Layout
from .load import Load

ENOUGH = 20_000


@contextmanager
def load_on(layout: Layout) -> Iterator[Load]:
    """Clients of every manner, until the block ends."""
    load = Load(layout.port)
    thread = threading.Thread(target=lambda: asyncio.run(load.run()))
    thread.start()
    try:
        layout.eventually(lambda: len(load.done) == 5)
        yield load
    finally:
        load.stop()
        thread.join()


def restart_all(layout: Layout) -> None:
    layout.ctl("restart", "app:*", check=True)


def roll(layout: Layout) -> None:
    layout.ctl("roll", "app", check=True)


def stop_and_start_one(layout: Layout) -> None:
    layout.ctl("stop", "app:app_00", check=True)
    layout.ctl("start", "app:app_00", check=True)


def hang_up(layout: Layout) -> None:
    layout.processes[0].send_signal(signal.SIGHUP)


def reload_by_supervisorctl(layout: Layout) -> None:
    layout.ctl("reload", check=True)


def test_restarts_fail_no_request(layout: Layout) -> None:
    """Of 20,000 by busy, pausing, fresh, silent and slow clients."""
    with load_on(layout) as load:
        while sum(load.done.values()) < ENOUGH:
            for restart in (restart_all, roll, stop_and_start_one):
                restart(layout)
    assert load.failures == {}


@pytest.mark.parametrize("reload", [hang_up, reload_by_supervisorctl])
def test_a_reload_fails_no_request(layout: Layout, reload: Callable[[Layout], None]) -> None:
    """Of the same clients, while all programs stop and start anew."""
    with load_on(layout) as load:
        reload(layout)
        layout.eventually(lambda: layout.stdout().count("supervisord started") == 2)
        before = sum(load.done.values())
        layout.eventually(lambda: sum(load.done.values()) > before + 2000)
    assert load.failures == {}


def test_a_killed_process_fails_its_own_connections_only(layout: Layout) -> None:
    """Each client loses the one that it may have had there; nobody is refused."""
    with load_on(layout) as load:
        pid = layout.pid("app")
        before = sum(load.done.values())
        layout.signal("app", "KILL")
        layout.eventually(lambda: layout.table()["app:app_00"][1] not in (0, pid))
        layout.eventually(lambda: sum(load.done.values()) > before + 2000)
    assert sum(load.failures.values()) <= 22
    assert not [kind for kind in load.failures if "Refused" in kind]
