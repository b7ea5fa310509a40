"""The app's measures by wrk, over kept and over fresh connections: requests/s, latency, CPU."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from instruments.bench.app import ONLY_APP, answers, supervised
from tests.layout import ROOT
from tests.server import free_port
from tests.waiting import eventually

from .contenders import HERE, PEERS
from .side import THEIRS, scripts

SECONDS = 2
# Each second leaves some ten thousand ports that no connection may have for a while.
FRESH_SECONDS = 1
WRK = "wrk --latency -t 1 -c 64"
FRESH = ("-H", "Connection: close")
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}

ONE, TWO = "ours, 1 process", "ours, 2 processes"
STOCK = "uvicorn --fd 0, 2 processes under stock supervisord"
# How each documents that it is to be started in production; the application is the same.
COMMANDS = {
    "uvicorn": "uvicorn on_http:app --port {port}",
    "uvicorn --workers 2": "uvicorn on_http:app --port {port} --workers 2",
    "uvicorn --workers 2, quiet": "uvicorn on_http:app --port {port} --workers 2"
    " --no-access-log --log-level warning",
    STOCK: "uvicorn on_http:app --fd 0",
    "gunicorn -w 2, uvicorn-worker": "gunicorn on_http:app -w 2 -k uvicorn_worker.UvicornWorker"
    " -b 127.0.0.1:{port}",
    "granian --workers 2": "granian --interface asgi on_http:app --port {port} --workers 2",
}
NAMES = [TWO, ONE, *COMMANDS]
ALONE = f"{ONLY_APP}[fcgi-program:app]\nnumprocs = 1\n"

# As uvicorn's documentation has it.
SUPERVISORD = """\
[supervisord]
nodaemon = true
logfile = /dev/null
logfile_maxbytes = 0
pidfile = {folder}/pid

[fcgi-program:uvicorn]
socket = tcp://127.0.0.1:{port}
command = {command}
numprocs = 2
process_name = uvicorn-%(process_num)d
stdout_logfile = /dev/stdout
stdout_logfile_maxbytes = 0
"""

Row = dict[str, Any]


def measure(rounds: int, scale: float, only: str, progress: Callable[[str], None]) -> Row:
    """A row for each server, with all that was measured in each round."""
    if not shutil.which("wrk"):
        return {"skipped": "there is no wrk to ask the servers with (Debian: wrk)"}
    scripts(PEERS)
    names = [name for name in NAMES if only in name]
    rows: dict[str, Row] = {
        name: {"name": name, "command": COMMANDS.get(name, ""), "kept": [], "fresh": []}
        for name in names
    }
    for number in range(rounds):
        for name in names:
            progress(f"app, round {number + 1} of {rounds}: {name}")
            port = free_port()
            with served(name, port) as process:
                eventually(lambda port=port: answers(port), 20)  # type: ignore[misc]
                seconds = max(1, round(SECONDS * scale))
                rows[name]["kept"].append(asked(process.pid, port, seconds))
                rows[name]["fresh"].append(asked(process.pid, port, FRESH_SECONDS, *FRESH))
    return {"rows": list(rows.values()), "rounds": rounds, "wrk": WRK}


def asked(pid: int, port: int, seconds: int, *options: str) -> dict[str, float]:
    """Requests a second, milliseconds at p50 and p99, and microseconds of CPU for each request."""
    before = cpu_seconds(pid)
    command = [*WRK.split(), "-d", f"{seconds}s", *options, f"http://127.0.0.1:{port}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    used = cpu_seconds(pid) - before

    def found(pattern: str) -> tuple[str, ...]:
        match = re.search(pattern, done.stdout)
        assert match, done.stdout
        return match.groups()

    def percentile(share: int) -> float:
        number, unit = found(rf"{share}% +([\d.]+)(us|ms|s)\b")
        return float(number) * UNITS[unit]

    return {
        "rate": float(*found(r"Requests/sec: +([\d.]+)")),
        "p50": percentile(50),
        "p99": percentile(99),
        "cpu": used / int(*found(r"(\d+) requests in")) * 1e6,
    }


def cpu_seconds(pid: int) -> float:
    """Of this process with all its threads and children, so far."""
    total = 0.0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0]) / 1e9
            total += sum(map(cpu_seconds, map(int, (task / "children").read_text().split())))
    return total


def served(name: str, port: int) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    if name in (ONE, TWO):
        return supervised(port, ALONE if name == ONE else ONLY_APP)
    if name == STOCK:
        return under_stock_supervisord(COMMANDS[name], port)
    program, *options = COMMANDS[name].format(port=port).split()
    return started([str(scripts(PEERS) / program), *options])


@contextlib.contextmanager
def under_stock_supervisord(command: str, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    with tempfile.TemporaryDirectory(prefix="ex", dir="/tmp") as folder:
        where = Path(folder, "supervisord.conf")
        full = f"{scripts(PEERS)}/{command}"
        where.write_text(SUPERVISORD.format(folder=folder, port=port, command=full))
        with started([str(scripts(HERE) / "supervisord"), "-c", str(where)]) as process:
            yield process


@contextlib.contextmanager
def started(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    environ = {
        "PATH": f"{scripts(PEERS)}:{os.defpath}",
        "PYTHONPATH": f"{THEIRS}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
