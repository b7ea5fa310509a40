"""The application's own startup and shutdown, and what it leaves running."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from ..launchers import Launcher, only_app
from ..layout import Layout
from ..server import Server

Serve = Callable[..., Launcher]

API = """
import asyncio, time
from contextlib import asynccontextmanager
from starlette.applications import Starlette

async def dies():
    raise RuntimeError("the background task's own error")

@asynccontextmanager
async def lifespan(app):
    {startup}
    yield
    {shutdown}

app = Starlette(lifespan=lifespan)
"""


def site(startup: str = "pass", shutdown: str = "pass") -> str:
    return API.format(startup=startup, shutdown=shutdown)


def test_a_start_up_that_raises_is_fatal(
    launch: Callable[..., Any], redis: Server, api: Callable[[str], str]
) -> None:
    """With its traceback in the log; and supervisord ends with 70."""
    path = api(site("raise RuntimeError('no database')"))
    layout: Layout = launch(Layout, redis, PYTHONPATH=path)
    layout.only(app=1)
    layout.override("retries", "[fcgi-program:app]\nstartsecs = 30\nstartretries = 0\n")
    layout.start()
    assert layout.processes[0].wait(60) == 70
    assert "RuntimeError: no database" in layout.log("app")
    assert "gave up: app_00 entered FATAL state" in layout.stdout()


def test_a_start_up_that_hangs_is_reported_and_not_ready(
    launch: Callable[..., Any], redis: Server, api: Callable[[str], str]
) -> None:
    """In the log and in the status line. It can be stopped."""
    slow = "\nfrom example.runtime import server\nserver.SLOW_SECONDS = 1.0\n"
    path = api(site("await asyncio.sleep(600)") + slow)
    layout: Layout = launch(Layout, redis, PYTHONPATH=path)
    layout.only(app=1)
    layout.start()
    layout.eventually(lambda: layout.said("app", "startup takes more than 1 s"))
    ready = layout.ctl("ready", "app")
    assert ready.returncode == 1
    assert "the application has been starting for " in ready.stdout
    assert layout.shutdown() == 0
    assert "SIGKILL" not in layout.stdout()


def test_a_stop_that_meets_the_end_of_the_start_up_is_no_fault(
    launch: Callable[..., Any], redis: Server, api: Callable[[str], str]
) -> None:
    """Whichever of both the event loop sees first."""
    meets = (
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM);"
        " [await asyncio.sleep(0) for _ in range(int(os.environ['TURNS']))]"
    )
    path = api(site(meets))
    apps = [launch(only_app, redis, PYTHONPATH=path, TURNS=str(turns)) for turns in range(8)]
    for app in apps:
        app.start()
    for app in apps:
        assert app.processes[0].wait(30) == 0
        assert "stopping: SIGTERM" in app.stdout()
        assert "Traceback" not in app.stdout()


@pytest.mark.parametrize(
    "hangs", ["await asyncio.sleep(600)", "await asyncio.to_thread(time.sleep, 600)"]
)
@pytest.mark.parametrize("lifespan", ["auto", "on"])
def test_a_start_up_that_hangs_ends_at_a_stop(
    hangs: str,
    lifespan: str,
    launch: Callable[..., Any],
    redis: Server,
    api: Callable[[str], str],
) -> None:
    """At once and in order, also where it hangs in a thread."""
    app: Launcher = launch(
        only_app, redis, PYTHONPATH=api(site(f"print('hangs'); {hangs}")), UVICORN_LIFESPAN=lifespan
    )
    app.start()
    app.eventually(lambda: "hangs" in app.stdout())
    app.processes[0].terminate()
    assert app.processes[0].wait(10) == 0
    assert "told to stop before the application had started" in app.stdout()
    assert "Traceback" not in app.stdout()


@pytest.mark.parametrize(
    "hangs", ["await asyncio.sleep(600)", "await asyncio.to_thread(time.sleep, 600)"]
)
def test_a_shut_down_that_hangs_is_left(hangs: str, serve: Serve) -> None:
    app = serve(site(shutdown=hangs), DRAIN_SECONDS="1")
    app.processes[0].terminate()
    assert app.processes[0].wait(10) == 0
    assert "the application's shutdown does not end: abandoned" in app.stdout()


def test_a_background_task_that_dies_is_logged(serve: Serve) -> None:
    """At once, although the application holds on to it."""
    app = serve(site("app.state.task = asyncio.create_task(dies(), name='tidy up')"))
    app.eventually(lambda: "background task tidy up died" in app.stdout())
    assert app.stdout().count("RuntimeError: the background task's own error") == 1


def test_an_error_that_somebody_asks_for_is_not_logged(serve: Serve) -> None:
    asks = "await asyncio.gather(dies(), return_exceptions=True)"
    app = serve(site(asks))
    app.processes[0].terminate()
    assert app.processes[0].wait(10) == 0
    assert "died" not in app.stdout()


def test_the_status_line_counts(only: Callable[..., Layout]) -> None:
    """How many requests were answered and how many connections are open, of each process."""
    layout = only(app=2)
    pid = layout.pid("app:app_01")
    os.kill(pid, signal.SIGSTOP)
    for _ in range(20):
        layout.get()
    os.kill(pid, signal.SIGCONT)
    layout.eventually(
        lambda: "20 answered, 0 connections open" in layout.ctl("ready", "app").stdout
    )
