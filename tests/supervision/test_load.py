"""app under load, while it is restarted in every way: nobody notices."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ..layout import Layout
from ..server import Server
from ..test_health import health
from .load import Load

Only = Callable[..., Layout]

ENOUGH = 1_000
AT_MOST = 0.03
"""Seconds that busy clients pause: restarts are what may harm them, and need the machine too."""


@contextmanager
def load_on(layout: Layout) -> Iterator[Load]:
    """Clients of every manner, until the block ends."""
    load = Load(layout.port, AT_MOST)
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


def edit_and_update(layout: Layout) -> None:
    layout.override("edited", f'[fcgi-program:app]\nenvironment = EDITED="{time.monotonic()}"\n')
    layout.ctl("update", check=True)


def hang_up(layout: Layout) -> None:
    layout.processes[0].send_signal(signal.SIGHUP)


def reload_by_supervisorctl(layout: Layout) -> None:
    layout.ctl("reload", check=True)


def test_restarts_fail_no_request(only: Only) -> None:
    """Of 1,000 by busy, pausing, fresh, silent and slow clients."""
    layout = only(app=2)
    with load_on(layout) as load:
        while sum(load.done.values()) < ENOUGH:
            for restart in (restart_all, roll, stop_and_start_one, edit_and_update):
                restart(layout)
    assert load.failures == {}


@pytest.mark.parametrize("reload", [hang_up, reload_by_supervisorctl])
def test_a_reload_fails_no_request(only: Only, reload: Callable[[Layout], None]) -> None:
    """Of the same clients, while all programs stop and start anew."""
    layout = only(app=2)
    with load_on(layout) as load:
        reload(layout)
        layout.eventually(lambda: layout.stdout().count("supervisord started") == 2)
        before = sum(load.done.values())
        layout.eventually(lambda: sum(load.done.values()) > before + 500)
    assert load.failures == {}


@pytest.mark.parametrize("startsecs", [1, 600])
def test_planned_ends_fail_no_request_and_are_no_faults(
    startsecs: int, launch: Callable[..., Any], redis: Server
) -> None:
    """After as many requests as it is set up to answer, each process is replaced, at once and
    however often; also where supervisord does not take it for RUNNING yet."""
    limits = {"UVICORN_LIMIT_MAX_REQUESTS": "100", "UVICORN_LIMIT_MAX_REQUESTS_JITTER": "100"}
    layout: Layout = launch(Layout, redis, **limits)
    layout.only(app=2)
    layout.override("early", f"[fcgi-program:app]\nstartsecs = {startsecs}\nstartretries = 0\n")
    layout.override("strict", "[rpcinterface:supervision]\ncrash_loop = 2/600/600\n")
    layout.start()
    layout.eventually(lambda: layout.log("app:app_00").count("ready: "))
    with load_on(layout) as load:
        layout.eventually(
            lambda: all(layout.log(f"app:app_0{n}").count(" ends: answered ") > 2 for n in (0, 1)),
            within=60,
        )
    assert load.failures == {}
    assert "exit status 0, answered " in layout.ctl("ready", "app").stdout
    assert "app:" not in layout.ctl("history").stdout
    assert "tried again every" not in layout.stdout()
    assert health(layout).stdout == "healthy\n"


def test_a_killed_process_fails_its_own_connections_only(only: Only) -> None:
    """Each client loses the one that it may have had there; nobody is refused."""
    layout = only(app=2)
    with load_on(layout) as load:
        pid = layout.pid("app")
        before = sum(load.done.values())
        layout.signal("app", "KILL")
        layout.eventually(lambda: layout.table()["app:app_00"][1] not in (0, pid))
        layout.eventually(lambda: sum(load.done.values()) > before + 500)
    assert sum(load.failures.values()) <= 22
    assert not [kind for kind in load.failures if "Refused" in kind]
