"""The four launchers, each with a copy of the user's files that a test can make misbehave."""

import atexit
import configparser
import functools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import example
from tests.launchers import ARTICLE, Launcher
from tests.layout import Layout
from tests.package import demo, package
from tests.server import Server
from tests.waiting import eventually

HERE = Path(__file__).parent

# The article's own single-file example.py, faults and all: the missing f of its f-string, the
# assert that breaks lifespan, the drifting sleep, no clean stop. Three things differ: addresses
# come from the environment, so that many can run side by side; aioredis has moved into redis-py;
# and `hooks` take note of what is done, and make an item take some time.
EXAMPLE = """\
import asyncio
import os

import hooks
import redis.asyncio as aioredis
import uvicorn


async def hello(scope, receive, send):
    assert scope["type"] == "http"
    await send({
        "type": "http.response.start",
        "status": 200,
        "headers": [[b"content-type", b"text/plain"]],
    })
    await send({"type": "http.response.body", "body": b"Hello, world!"})


app = hooks.api(hello)


async def beat():
    redis = aioredis.from_url(os.environ["REDIS_URL"])
    while True:
        print("PUSH")
        await redis.lpush("TESTING", hooks.tick("OK: {time.time()}"))
        await asyncio.sleep(1)


async def worker():
    redis = aioredis.from_url(os.environ["REDIS_URL"])
    while True:
        key, value = await redis.brpop("TESTING")
        await hooks.work(value.decode())
        print("WORKING:", value)


def start_app():
    uvicorn.run(app, port=int(os.environ["PORT"]))


def start_beat():
    asyncio.run(beat())


def start_worker():
    asyncio.run(worker())
"""

# Appended to the shipped files: what they do stays, and can be seen and disturbed.
ADDED = {
    "api": """
import hooks
hooks.started("app")
app = hooks.api(app)
""",
    "schedule": """
import dataclasses
import hooks
hooks.started("beat")
_push = SCHEDULE["ok"].push
async def push(now: float) -> str:  # a plain function would block a thread only
    return hooks.tick(_push(now))
SCHEDULE["ok"] = dataclasses.replace(SCHEDULE["ok"], push=push)
""",
    "tasks": """
import hooks
hooks.started("worker")
_work = work
async def work(item: str) -> None:
    await hooks.work(item)
    await _work(item)
""",
}


@functools.cache
def user_code() -> Path:
    """A folder for PYTHONPATH with a copy of the package, its user's files hooked."""
    folder = Path(tempfile.mkdtemp(prefix="ex", dir="/tmp"))
    atexit.register(shutil.rmtree, folder)
    package(folder, **{name: demo(name) + text for name, text in ADDED.items()})
    shutil.copy(HERE / "hooks.py", folder)
    shutil.copy(HERE / "clock.py", folder / "sitecustomize.py")
    return folder


@dataclass(frozen=True)
class Column:
    """A launcher: how to make one in a folder, and how a person restarts a program under it."""

    name: str
    title: str
    make: Callable[[Path, Server], Launcher]
    restart: Callable[[Launcher, str], None]
    deploy: Callable[[Launcher, str], None]
    """New code is there, and may fail: what a person types to have it run."""


def _article(folder: Path, redis: Server) -> Launcher:
    (folder / "main.py").write_text(ARTICLE)
    (folder / f"{example.__name__}.py").write_text(EXAMPLE)
    return Launcher(folder, redis, [Path(sys.executable).name, "main.py"])


def _parent(folder: Path, redis: Server) -> Launcher:
    return Launcher(folder, redis, [Path(sys.executable).name, "-m", "example"])


def _stock(folder: Path, redis: Server) -> Launcher:
    """supervisord.conf without what is ours in it: plugin, listeners, supervisorctl's verbs."""
    layout = Layout(folder, redis)
    path = folder / "supervisord.conf"
    conf = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    conf.read(path)
    for section in conf.sections():
        kind, _, name = section.partition(":")
        own = kind == "rpcinterface" and name != "supervisor"
        if own or kind in ("ctlplugin", "eventlistener"):
            conf.remove_section(section)
    with open(path, "w") as file:
        conf.write(file)
    return layout


def _start_all_again(launcher: Launcher, program: str) -> None:
    """No program can be restarted alone: end the parent, then what outlives it, then start."""
    for process in launcher.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
    for pid in launcher.living():
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: not launcher.living(), within=20)
    Launcher.start(launcher)


def _supervisorctl(launcher: Launcher, program: str, check: bool = True) -> None:
    cast(Layout, launcher).ctl("restart", f"{program}:*", check=check)


def _restart_at_any_rate(launcher: Launcher, program: str) -> None:
    _supervisorctl(launcher, program, check=False)


def _roll(launcher: Launcher, program: str) -> None:
    cast(Layout, launcher).ctl("roll", program)


COLUMNS = [
    Column("article", "the article's main.py", _article, _start_all_again, _start_all_again),
    Column("parent", "python -m example", _parent, _start_all_again, _start_all_again),
    Column("stock", "supervisord, stock", _stock, _supervisorctl, _restart_at_any_rate),
    Column("ours", "our supervisord.conf", Layout, _supervisorctl, _roll),
]
