"""The programs: each hands your files (api, schedule, tasks, settings) to the runtime.

Every `start_…` has a console script (`example-app` and so on), and is what all launchers start.
They take no arguments, read the environment, and end the process with an exit status:
0 after TERM or Ctrl-C, 2 for a wrong setting, 3 where app cannot start to serve, 4 where redis
is not needed.

Imported are only what all need: a redis that waits, and the health check, shall be light.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from .runtime import log
from .settings import Settings, SettingsError

if TYPE_CHECKING:
    from .supervision.scaler import Load


def start_app() -> None:
    """Serve `example.app` on the listening socket at descriptor 0, else on HOST:PORT."""
    _start(_app)


def start_beat() -> None:
    """Push what `schedule.py` says, each at its time."""
    _start(_beat)


def start_worker() -> None:
    """Take items from the queue and do with each what `tasks.py` says."""
    _start(_worker)


def start_redis() -> None:
    """Become a Redis server for REDIS_URL, once nobody else is; exit 4 when that is elsewhere."""
    from .runtime import store

    settings = _settings()
    store.become(settings.redis_url, settings.redis_dir)


def start_scaler() -> None:
    """Keep as many workers as what there is to do asks for; started by supervisord only."""
    import math

    from .supervision import scaler

    # Its stdout belongs to supervisord: everything else that is said goes to stderr.
    answers, sys.stdout = sys.stdout, sys.stderr
    settings = _settings()
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

    from .runtime import backlog, link
    from .supervision.scaler import Load

    redis = link.Link(settings.redis_url)

    def measure() -> Load | None:
        try:
            load = asyncio.run(backlog.count(settings.redis_url, settings.redis_key))
        except link.ERRORS as error:
            redis.failed(error)
            return None
        redis.worked()
        return Load(time.monotonic(), *load)

    return measure


def health() -> None:
    """Print what is wrong with the programs under supervisord, and exit with 1, or else with 0."""
    from .runtime import probe

    faults = list(probe.faults(_settings().port))
    print("\n".join(faults) or "healthy")
    sys.exit(1 if faults else 0)


async def beat() -> None:
    """Run beat in the caller's event loop until TERM: `asyncio.run(example.beat())`."""
    await _beat(Settings.load())


async def worker() -> None:
    """Run the worker in the caller's event loop until TERM: `asyncio.run(example.worker())`."""
    await _worker(Settings.load())


async def _app(settings: Settings) -> None:
    from .api import app
    from .runtime import health, process, server

    redis = health.Redis(settings.redis_url, settings.redis_key)
    async with process.Process("app") as this:
        await server.serve(this, app, redis, settings.host, settings.port, settings.drain_seconds)


async def _beat(settings: Settings) -> None:
    from .runtime import beat, process
    from .schedule import SCHEDULE

    async with process.Process("beat") as this:
        await beat.run(this, settings.redis_url, settings.redis_key, SCHEDULE, settings.queue_limit)


async def _worker(settings: Settings) -> None:
    from .runtime import process, worker
    from .tasks import work

    async with process.Process("worker") as this:
        limits = worker.Limits(
            settings.concurrency,
            settings.job_timeout,
            settings.max_attempts,
            settings.drain_seconds,
        )
        await worker.run(this, settings.redis_url, settings.redis_key, work, limits)


def _start(program: Callable[[Settings], Awaitable[None]]) -> None:
    from .runtime import process

    settings = _settings()
    process.run(lambda: program(settings))


def _settings() -> Settings:
    try:
        settings = Settings.load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    log.configure(settings.log_level, settings.log_format)
    return settings
