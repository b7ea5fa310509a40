"""What a program has started ends with it: subprocesses, process pools, what a shell left (Linux).

supervisord waits for its own children only. Theirs live on when a program ends, and each restart
adds some more. They are known by their process group, and where they have left that, by a variable
of the environment, which children inherit. First they get SIGTERM, and a second later SIGKILL.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from .plugin import Plugin
from .values import PerProgram

VARIABLE = "INVOCATION_ID"
"""Of systemd.exec(5): names one run of a program in 32 hexadecimal digits."""
GRACE_SECONDS = 1.0


def install(plugin: Plugin, chosen: PerProgram[Literal[True]]) -> None:
    if sys.platform != "linux":
        plugin.options.logger.warn("descendants: needs Linux, left off")
        return
    ended: dict[int, float] = {}
    """Process of a program that has ended -> when what is left of it is killed."""

    def before_exec(_filename: str, _argv: list[str], env: dict[str, str]) -> None:
        if chosen.of(plugin.process_of(env)):
            env[VARIABLE] = _invocation(plugin, os.getpid())

    def after_waitpid(result: tuple[int, int]) -> None:
        pid, _ = result
        process = plugin.options.pidhistory.get(pid)
        if process is None or not chosen.of(process):
            return
        left = list(_descendants(plugin, pid))
        if not left:
            return
        name = process.config.name
        plugin.options.logger.info(f"ends with {name}: {len(left)} that it had started")
        ended[pid] = time.monotonic() + GRACE_SECONDS
        # A second SIGTERM often means: at once.
        if not (process.killing and process.config.stopasgroup):
            _signal(left, signal.SIGTERM)

    def kill(pids: list[int]) -> None:
        for pid in pids:
            left = list(_descendants(plugin, pid))
            # Who was forked meanwhile is found the next time.
            if not _signal(left, signal.SIGKILL):
                del ended[pid]
                if left:
                    plugin.options.logger.warn(f"descendants: we may not end {left}; they go on")

    def on_turn() -> None:
        now = time.monotonic()
        kill([pid for pid, due in ended.items() if due <= now])

    plugin.before(plugin.options, "execve", before_exec)
    plugin.after(plugin.options, "waitpid", after_waitpid)
    plugin.every_turn(on_turn)
    plugin.at_close(lambda: kill(list(ended)))


def _invocation(plugin: Plugin, pid: int) -> str:
    return f"{plugin.run}{pid:016x}"


def _descendants(plugin: Plugin, program: int) -> Iterator[int]:
    """The processes that a program, which has ended as process `program`, has left."""
    mark = f"{VARIABLE}={_invocation(plugin, program)}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        # Gone meanwhile, or another user's, whose environment we may not see.
        with contextlib.suppress(OSError):
            state, _parent, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if state not in "ZX" and (
                int(group) == program or mark in (folder / "environ").read_bytes().split(b"\0")
            ):
                yield int(folder.name)


def _signal(pids: list[int], number: int) -> int:
    """Returns how many could be signalled, or were gone: not those of another user, as by sudo."""
    count = len(pids)
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            count -= 1
    return count
