"""No program outlives supervisord, even if supervisord is killed by -9 (Linux).

The kernel kills supervisord's own children. A shell kills what these have started: it waits outside
supervisord, at the other end of a pipe. It finds them by their process group, and by the variable
that the part `descendants` sets.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from typing import Any

from .descendants import VARIABLE
from .plugin import Plugin

PR_SET_PDEATHSIG = 1
WATCH = """
trap '' HUP INT QUIT TERM
while read -r groups; do last=$groups; done
for group in $last; do kill -s KILL -- "-$group"; done
for file in $(grep -lzs "^$1" /proc/[0-9]*/environ); do
    file=${file%/environ}
    kill -s KILL "${file#/proc/}"
done
"""


def install(plugin: Plugin, _: object) -> None:
    if sys.platform != "linux":
        plugin.options.logger.warn("orphans: needs Linux, left off")
        return
    _kill_children(plugin)
    _kill_their_children(plugin)


def _kill_children(plugin: Plugin) -> None:
    prctl = ctypes.CDLL(None).prctl
    parent = 0

    def before_fork() -> None:
        nonlocal parent
        parent = os.getpid()

    def before_exec(*_: object) -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # supervisord may have died before this call.
        if os.getppid() != parent:
            os._exit(1)

    plugin.before(plugin.options, "fork", before_fork)
    plugin.before(plugin.options, "execve", before_exec)


def _kill_their_children(plugin: Plugin) -> None:
    watch: Any = subprocess.Popen(
        ["/bin/sh", "-c", WATCH, "watch", f"{VARIABLE}={plugin.run}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.set_blocking(watch.stdin.fileno(), False)
    known: set[int] = set()

    def on_turn() -> None:
        nonlocal known
        groups = set(plugin.options.pidhistory)
        if groups != known:
            os.write(watch.stdin.fileno(), " ".join(map(str, groups)).encode() + b"\n")
            known = groups

    def on_close() -> None:
        watch.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            watch.wait(timeout=1)

    plugin.every_turn(on_turn)
    plugin.at_close(on_close)
