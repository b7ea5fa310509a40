"""A process that uses more memory than its limit is replaced by `roll`, so it finishes its work.

That stop is asked for, so it counts as no death. If a program needs more from the start, a line in
the log says so, and its processes are replaced less and less often.
"""

import os
import time
from dataclasses import dataclass
from typing import Any

from supervisor.datatypes import byte_size
from supervisor.states import ProcessStates, SupervisorStates
from supervisor.xmlrpc import RPCError

from .plugin import Plugin
from .ready import resident
from .values import PerProgram

LEAST = 1 << 20
CHECK_SECONDS = 1.0
LASTS_SECONDS = 3.0
"""A process that is over its limit for less time has a peak."""
EARLY_SECONDS = 60.0
"""A process that is over its limit so soon after its start needs more than that, or leaks fast."""
SHORTEST_PATIENCE, LONGEST_PATIENCE = 60.0, 600.0
READY_SECONDS = 60.0
"""How long a successor may take to become ready."""


def size(text: str) -> int:
    """Bytes, as supervisord writes them: 500MB, 2GB."""
    try:
        value = int(byte_size(text))
    except ValueError:
        value = 0
    if value < LEAST:
        raise ValueError("expected a size of 1MB or more, such as 500MB or 2GB")
    return value


@dataclass
class Over:
    """A process that is above its limit."""

    pid: int
    since: float
    early: bool


def install(plugin: Plugin, limits: PerProgram[int]) -> None:
    if resident(os.getpid()) is None or "roll" not in plugin.methods:
        plugin.options.logger.warn("memory: needs Linux, and the part roll; left off")
        return
    watch = Watch(plugin, limits)
    checked = 0.0

    def on_turn() -> None:
        nonlocal checked
        now = time.monotonic()
        if now - checked >= CHECK_SECONDS and plugin.options.mood == SupervisorStates.RUNNING:
            checked = now
            watch.check(now)

    plugin.every_turn(on_turn)


class Watch:
    """Processes over their limits, and those that are being replaced; times by time.monotonic()."""

    def __init__(self, plugin: Plugin, limits: PerProgram[int]) -> None:
        self.plugin = plugin
        self.limits = limits
        self.over: dict[str, Over] = {}
        self.patience: dict[str, float] = {}
        """How long a process that is over early may stay so, by full name."""
        self.replacing: set[str] = set()

    def check(self, now: float) -> None:
        """Look at each process that has a limit. Begin to replace those that were over too long."""
        for process in self.plugin.processes():
            key, limit = self.plugin.key(process), self.limits.of(process)
            if key in self.replacing:
                self._follow(process, now)
            elif limit and key not in self.plugin.successors:
                self._look(process, limit, now)

    def _look(self, process: Any, limit: int, now: float) -> None:
        key = self.plugin.key(process)
        runs = process.state == ProcessStates.RUNNING
        used = (resident(process.pid) if runs else None) or 0
        if used <= limit:
            self.over.pop(key, None)
            return
        over = self.over.get(key)
        if over is None or over.pid != process.pid:
            early = time.time() - process.laststart < EARLY_SECONDS
            over = self.over[key] = Over(process.pid, now, early)
        patience = self.patience.get(key, 0.0) if over.early else 0.0
        if now - over.since >= max(LASTS_SECONDS, patience):
            self._replace(process, f"{_shown(used)} of memory, over {_shown(limit)}")

    def _replace(self, process: Any, why: str) -> None:
        key = self.plugin.key(process)
        try:
            self.plugin.methods["roll"](_exact(process), READY_SECONDS, False)
        except RPCError:  # another process of its group is being replaced; try at the next check
            return
        self.plugin.options.logger.warn(f"memory: {key}: {why}: replacing it")
        self.plugin.blame[key] = f"replaced: {why}"
        self.replacing.add(key)
        if self.over[key].early:
            self._slow_down(key)
        else:
            self.patience.pop(key, None)

    def _slow_down(self, key: str) -> None:
        before = self.patience.get(key, 0.0)
        self.patience[key] = min(max(2 * before, SHORTEST_PATIENCE), LONGEST_PATIENCE)
        if not before:
            self.plugin.options.logger.critical(
                f"memory: {key} was over its limit soon after its start: raise it if the program"
                f" needs so much; its successor may be over for a minute, and then longer each time"
            )

    def _follow(self, process: Any, now: float) -> None:
        key = self.plugin.key(process)
        status = self.plugin.methods["rolled"](_exact(process), 0)["status"]
        if status < 0:
            return
        self.replacing.discard(key)
        self.plugin.blame.pop(key, None)
        if status > 0:  # the log says why; the old process may go on
            self.over[key] = Over(process.pid, now, early=True)
            self.patience.setdefault(key, SHORTEST_PATIENCE)


def _exact(process: Any) -> str:
    return f"{process.group.config.name}:{process.config.name}"


def _shown(size: int) -> str:
    return f"{size >> 20} MiB"
