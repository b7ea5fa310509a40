"""The app's measures: requests a second, over kept and over fresh connections, by wrk."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from instruments.bench.app import ONLY_APP, answers, supervised
from tests.layout import ROOT
from tests.server import free_port
from tests.waiting import eventually

from .contenders import PEERS
from .side import THEIRS, scripts

SECONDS = 2
WRK = "wrk -t 1 -c 8"

# How each documents that it is to be started in production; the application is the same.
COMMANDS = {
    "uvicorn": "uvicorn on_http:app --port {port}",
    "uvicorn --workers 2": "uvicorn on_http:app --port {port} --workers 2",
    "uvicorn --workers 2, quiet": "uvicorn on_http:app --port {port} --workers 2"
    " --no-access-log --log-level warning",
    "gunicorn -w 2, uvicorn-worker": "gunicorn on_http:app -w 2 -k uvicorn_worker.UvicornWorker"
    " -b 127.0.0.1:{port}",
    "granian --workers 2": "granian --interface asgi on_http:app --port {port} --workers 2",
}
OURS = "ours, 2 processes under supervisord"


def measure(
    rounds: int, scale: float, only: str, progress: Callable[[str], None]
) -> dict[str, Any]:
    if not shutil.which("wrk"):
        return {"skipped": "there is no wrk"}
    scripts(PEERS)
    names = [name for name in [OURS, *COMMANDS] if only in name]
    rows: dict[str, dict[str, Any]] = {
        name: {"name": name, "command": COMMANDS.get(name, ""), "kept": [], "fresh": []}
        for name in names
    }
    for number in range(rounds):
        for name in names:
            progress(f"app, round {number + 1} of {rounds}: {name}")
            port = free_port()
            with served(name, port):
                eventually(lambda port=port: answers(port), 20)  # type: ignore[misc]
                seconds = max(1, round(SECONDS * scale))
                rows[name]["kept"].append(wrk(port, seconds))
                rows[name]["fresh"].append(wrk(port, seconds, "-H", "Connection: close"))
    return {"rows": list(rows.values()), "rounds": rounds, "wrk": WRK}


def served(name: str, port: int) -> AbstractContextManager[object]:
    if name == OURS:
        return supervised(port, ONLY_APP)
    return started(COMMANDS[name].format(port=port))


@contextlib.contextmanager
def started(command: str) -> Iterator[None]:
    program, *options = command.split()
    folder = scripts(PEERS)
    environ = {
        "PATH": f"{folder}:{os.defpath}",
        "PYTHONPATH": f"{THEIRS}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    process = subprocess.Popen(
        [folder / program, *options],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wrk(port: int, seconds: int, *options: str) -> float:
    command = [*WRK.split(), "-d", f"{seconds}s", *options, f"http://127.0.0.1:{port}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"Requests/sec: +([\d.]+)", done.stdout)
    assert found, done.stdout
    return float(found[1])
