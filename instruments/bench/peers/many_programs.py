"""Many programs under one supervisord, with and without our plugin: what one more costs it."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from instruments.bench.app import ONLY_APP, all_children, command_of, supervised
from tests.launchers import SCRIPTS
from tests.server import free_port
from tests.waiting import eventually

from . import tree

PROGRAMS = [1, 10, 50, 200]
SETTLE, IDLE = 1.5, 2.0
"""Seconds: startsecs is 1."""
END_WITHIN = 10.0
NONE_OF_OURS = ONLY_APP + "[fcgi-program:app]\nautostart = false\n"
SLEEPER = """\
[program:sleeper_{number}]
command = /bin/sleep 1000
autorestart = true
redirect_stderr = true
stdout_events_enabled = true
"""
Row = dict[str, Any]


def measure(rounds: int, scale: float, progress: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = [
        {"count": max(1, int(count * scale)), "plugin": plugin, "found": []}
        for count in PROGRAMS
        for plugin in (True, False)
    ]
    for number in range(rounds):
        for row in rows:
            words = "our supervisord.conf" if row["plugin"] else "without our plugin"
            progress(f"growth, round {number + 1} of {rounds}: {row['count']} programs, {words}")
            row["found"].append(one_round(row))
    return rows


def one_round(row: Row) -> dict[str, float]:
    """Seconds; MiB; and the share of a core. Once, also the end."""
    count, plugin = row["count"], row["plugin"]
    text = NONE_OF_OURS + "".join(SLEEPER.format(number=number) for number in range(count))
    begun = time.monotonic()
    with supervised(free_port(), text, stock=not plugin) as process:
        eventually(lambda: len(sleepers(process.pid)) == count, 60)
        start = time.monotonic() - begun
        time.sleep(SETTLE)
        programs = sleepers(process.pid)
        own = [process.pid, *(set(all_children(process.pid)) - set(programs))]
        found = {
            "start": start,
            "memory": tree.memory(own),
            "cpu": tree.share(lambda: own, IDLE),
            "status": status(process.pid, count),
        }
        if "end" not in row:
            row["end"] = seconds_to_end(process)
        for pid in [process.pid, *programs]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return found


def seconds_to_end(process: subprocess.Popen[bytes]) -> float:
    """From TERM; at most END_WITHIN."""
    begun = time.monotonic()
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_WITHIN)
    return time.monotonic() - begun


def sleepers(pid: int) -> list[int]:
    return [child for child in all_children(pid) if command_of(child).startswith(b"/bin/sleep")]


def status(pid: int, count: int) -> float:
    """Seconds that supervisorctl status takes."""
    begun = time.monotonic()
    done = subprocess.run(
        [SCRIPTS / "supervisorctl", "status"],
        cwd=os.readlink(f"/proc/{pid}/cwd"),
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - begun
    assert done.stdout.count("sleeper_") == count, done.stdout + done.stderr
    return seconds
