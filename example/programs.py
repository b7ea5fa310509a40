"""The programs: each hands your files (api, schedule, tasks, settings) to the runtime.

Exit statuses: 0 after TERM or Ctrl-C, 2 for a wrong setting, 3 if app cannot start to serve, 4 if
redis is not needed. To add a program, add a function: see README.md. Each function imports what it
needs, so that beat and worker do not load the web framework, and a waiting redis no Redis client.
app loads that client with the first /readyz.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from .console import PROGRAMS, command, load_settings, load_yours, program
from .settings import Settings

if TYPE_CHECKING:
    from .runtime.process import Process
    from .supervision.scaler import Load

__all__ = ["PROGRAMS"]


@command(is_part=True)
def redis() -> None:
    """Become the Redis server at REDIS_URL, once no other is there; exit 4 if that is elsewhere."""
    from .runtime import store

    settings = load_settings()
    store.become(settings.redis_url, settings.redis_dir)


@program
async def app(process: "Process", settings: Settings) -> None:
    """Serve `example.app` on the listening socket at descriptor 0, or else on HOST:PORT."""
    from .runtime import health, server

    app = load_yours("api", "app").app
    redis = health.Redis(settings.redis_url, settings.redis_key)
    await server.serve(process, app, redis, settings.host, settings.port, settings.drain_seconds)


@program
async def beat(process: "Process", settings: Settings) -> None:
    """Push the items of `schedule.py`, each when it is due."""
    from .runtime import beat, lifespan

    schedule = load_yours("schedule", "SCHEDULE")
    url, key = settings.redis_url, settings.redis_key
    async with lifespan.of(schedule, process):
        await beat.run(process, url, key, schedule.SCHEDULE, settings.queue_limit)


@program
async def worker(process: "Process", settings: Settings) -> None:
    """Take items from the queue, and run the task in `tasks.py` for each."""
    from .runtime import lifespan, worker

    tasks = load_yours("tasks")
    work = getattr(tasks, settings.task, None)
    if not callable(work):
        print(f"wrong setting: TASK: tasks.py has no function {settings.task!r}", file=sys.stderr)
        sys.exit(2)
    limits = worker.Limits(
        settings.concurrency,
        settings.job_timeout,
        settings.max_attempts,
        settings.drain_seconds,
        settings.dead_limit,
    )
    async with lifespan.of(tasks, process):
        await worker.run(process, settings.redis_url, settings.redis_key, work, limits)


@command()
def dashboard() -> None:
    """Serve the operator's page to whoever knows its token."""
    from .runtime import process
    from .view.dashboard import serve, site

    settings = load_settings()
    token, hosts = settings.dashboard_token, settings.dashboard_hosts
    host, port = settings.dashboard_host, settings.dashboard_port
    access, query = serve.access(token, {*hosts, host})
    try:
        schedule = load_yours("schedule", "SCHEDULE").SCHEDULE
    except (OSError, SystemExit):
        # The page shows what that does to beat.
        schedule = {}

    async def main() -> None:
        async with process.Process("dashboard") as running:
            queue = (settings.redis_url, settings.redis_key, settings.queue_limit)
            page = site.make(access, *queue, schedule)
            await serve.serve(running, page, host, port, query)

    process.run(main)


@command()
def scaler() -> None:
    """Scale the workers with the backlog. Only supervisord starts this, as an event listener."""
    import math

    from .supervision import scaler

    # Its stdout is its conversation with supervisord, so everything else goes to stderr.
    answers, sys.stdout = sys.stdout, sys.stderr
    settings = load_settings()
    if settings.scale_max < settings.scale_min:
        print("wrong setting: SCALE_MAX: is less than SCALE_MIN", file=sys.stderr)
        sys.exit(2)
    patience = math.ceil(settings.scale_down_seconds / scaler.TICK_SECONDS)
    policy = scaler.Policy(
        settings.scale_min,
        settings.scale_max,
        settings.scale_backlog,
        settings.scale_seconds,
        patience,
    )
    scaler.run(policy, settings.scale_program, _measure(settings), answers)


def _measure(settings: Settings) -> "Callable[[], Load | None]":
    import asyncio
    import time

    from .runtime import backlog
    from .runtime.link import ERRORS
    from .runtime.outage import OutageLog
    from .supervision.scaler import Load

    outage = OutageLog(settings.redis_url)

    def measure() -> Load | None:
        try:
            load = asyncio.run(backlog.count(settings.redis_url, settings.redis_key))
        except ERRORS as error:
            outage.failed(error)
            return None
        outage.worked()
        return Load(time.monotonic(), *load)

    return measure
