"""What a program has started ends with it: subprocesses, process pools, a shell's jobs (Linux).

supervisord waits for its own children only. Their children would go on when a program ends, and
each restart would add more. They are found by their process group. Those that have left it are
found by an environment variable, which children inherit. They get SIGTERM, and SIGKILL a second
later.
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
"""As in systemd.exec(5): it names one run of a program by 32 hexadecimal digits."""
GRACE_SECONDS = 1.0


def install(plugin: Plugin, chosen: PerProgram[Literal[True]]) -> None:
    if sys.platform != "linux":
        plugin.options.logger.warn("descendants: needs Linux, left off")
        return
    descendants = Descendants(plugin, chosen)
    plugin.before(plugin.options, "execve", descendants.before_exec)
    plugin.after(plugin.options, "waitpid", descendants.after_waitpid)
    plugin.every_turn(descendants.kill_when_due)
    plugin.at_close(descendants.kill_all)


class Descendants:
    """Ends what programs have left behind."""

    def __init__(self, plugin: Plugin, chosen: PerProgram[Literal[True]]) -> None:
        self._plugin = plugin
        self._chosen = chosen
        self._kill_at: dict[int, float] = {}
        """Process id of a program that has ended -> when its descendants are killed."""

    def before_exec(self, _filename: str, _argv: list[str], env: dict[str, str]) -> None:
        if self._chosen.of(self._plugin.process_of(env)):
            env[VARIABLE] = _invocation(self._plugin, os.getpid())

    def after_waitpid(self, result: tuple[int, int]) -> None:
        pid, _ = result
        process = self._plugin.options.pidhistory.get(pid)
        if process is None or not self._chosen.of(process):
            return
        left = list(_descendants(self._plugin, pid))
        if not left:
            return
        name = process.config.name
        self._plugin.options.logger.info(f"ends with {name}: {len(left)} that it had started")
        self._kill_at[pid] = time.monotonic() + GRACE_SECONDS
        # `stopasgroup` has sent SIGTERM already. To many programs a second one means "at once".
        if not (process.killing and process.config.stopasgroup):
            _signal(left, signal.SIGTERM)

    def kill_when_due(self) -> None:
        now = time.monotonic()
        for pid in [pid for pid, kill_at in self._kill_at.items() if kill_at <= now]:
            self._kill(pid)

    def kill_all(self) -> None:
        for pid in list(self._kill_at):
            self._kill(pid)

    def _kill(self, pid: int) -> None:
        left = list(_descendants(self._plugin, pid))
        # The next turn finds those that were forked meanwhile.
        if not _signal(left, signal.SIGKILL):
            del self._kill_at[pid]
            if left:
                self._plugin.options.logger.warn(f"descendants: may not end {left}: they go on")


def _invocation(plugin: Plugin, pid: int) -> str:
    return f"{plugin.run}{pid:016x}"


def _descendants(plugin: Plugin, program: int) -> Iterator[int]:
    """The processes that a program has left behind. It has ended, and its id was `program`."""
    mark = f"{VARIABLE}={_invocation(plugin, program)}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        # A process may be gone by now. The environment of another user's process is unreadable.
        with contextlib.suppress(OSError):
            state, _parent, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if state not in "ZX" and (
                int(group) == program or mark in (folder / "environ").read_bytes().split(b"\0")
            ):
                yield int(folder.name)


def _signal(pids: list[int], number: int) -> int:
    """Send a signal. Returns how many got it or were gone: another user's processes do not."""
    count = len(pids)
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            count -= 1
    return count
