"""A program that keeps dying after it was RUNNING is restarted ever later, then given up.

supervisord itself handles deaths within `startsecs`: it tries again `startretries` times. After any
later death it restarts the program at once, for ever. Those later deaths are counted here, as
systemd does with StartLimitIntervalSec and StartLimitBurst. A program that was ready once is never
given up. A bad item or a bad release may kill it, and it has to be back when that has gone.
"""

import time
from collections import defaultdict, deque
from typing import Any, NamedTuple

from supervisor.events import ProcessStateBackoffEvent
from supervisor.states import ProcessStates, SupervisorStates

from .plugin import Plugin
from .values import PerProgram


class Limit(NamedTuple):
    deaths: int
    seconds: float
    longest_delay: float

    @classmethod
    def read(cls, text: str) -> "Limit":
        """`10/120/5`: FATAL at the tenth death within 120 s, at most 5 s between two starts."""
        try:
            deaths, seconds, delay = text.split("/")
            limit = cls(int(deaths), float(seconds), float(delay))
        except ValueError:
            raise ValueError("expected deaths/seconds/longest delay, such as 10/120/5") from None
        if limit.deaths < 1 or limit.seconds <= 0 or limit.longest_delay < 0:
            raise ValueError("expected at least 1 death, a positive time and no negative delay")
        return limit


def install(plugin: Plugin, limits: PerProgram[Limit]) -> None:
    restarts = Restarts(plugin, limits)
    plugin.subscribe(ProcessStateBackoffEvent, restarts.on_backoff)
    # reap() sees the deaths. supervisord restarts the programs in the transition after it.
    plugin.after(plugin.supervisord, "reap", restarts.after_reap)


class Restarts:
    """Counts the deaths of each process, and puts off its next start."""

    def __init__(self, plugin: Plugin, limits: PerProgram[Limit]) -> None:
        self._plugin = plugin
        self._limits = limits
        self._deaths: defaultdict[str, deque[float]] = defaultdict(deque)
        self._judged: dict[str, float] = {}
        """When each process died that has been dealt with, by supervisord's `laststop`."""
        self._due: dict[str, float] = {}
        """When each process may start, by time.monotonic()."""

    def on_backoff(self, event: Any) -> None:
        """A process died early, or could not be started.

        `startretries` says how often to try again, unless the process was ready before.
        """
        process, limit = event.process, self._limits.of(event.process)
        died_early = event.from_state == ProcessStates.STARTING
        if not (limit and died_early and self._plugin.was_ready(process)):
            return
        if self._plugin.ended_as_planned(process):
            process.backoff = 0
        else:
            self._put_off(process, limit)

    def after_reap(self, _: object) -> None:
        if self._plugin.options.mood < SupervisorStates.RUNNING:
            return
        for process in self._plugin.processes():
            limit = self._limits.of(process)
            key = self._plugin.key(process)
            # reap() calls itself: a death is seen more than once before the restart.
            is_new = self._judged.get(key) != process.laststop
            if limit and is_new and _failed_and_will_restart(process):
                self._judged[key] = process.laststop
                self._put_off(process, limit)
            self._hold_back(process, key)

    def _put_off(self, process: Any, limit: Limit) -> None:
        """Have a process that has died wait for its next start, or give it up."""
        died = self._count(process, limit)
        why = f"Died {limit.deaths} times within {limit.seconds:g} s"
        keeps_dying = died >= limit.deaths
        if keeps_dying and not self._plugin.was_ready(process):
            self._plugin.give_up(process, why)
            return
        delay = min(died - 1, limit.longest_delay)
        self._due[self._plugin.key(process)] = time.monotonic() + delay
        if process.state == ProcessStates.EXITED and delay > 0:
            process.change_state(ProcessStates.BACKOFF)
        process.backoff = 0
        if keeps_dying:
            process.spawnerr = f"{why}; tried again every {limit.longest_delay:g} s"
        if died == limit.deaths:
            self._plugin.options.logger.critical(f"{process.config.name}: {process.spawnerr}")

    def _count(self, process: Any, limit: Limit) -> int:
        now = time.monotonic()
        recent = self._deaths[self._plugin.key(process)]
        recent.append(now)
        while recent[0] < now - limit.seconds:
            recent.popleft()
        return len(recent)

    def _hold_back(self, process: Any, key: str) -> None:
        """Put off the next start until it is due.

        This is done in each turn. supervisord shortens a delay that is longer than its own: it
        concludes that the clock was set back.
        """
        left = self._due.get(key, 0.0) - time.monotonic()
        if left > 0 and process.state == ProcessStates.BACKOFF:
            process.delay = time.time() + left
        else:
            self._due.pop(key, None)


def _failed_and_will_restart(process: Any) -> bool:
    """Whether a process has failed. One that exits as expected and always restarts has not."""
    failed = process.exitstatus not in process.config.exitcodes
    return bool(process.state == ProcessStates.EXITED and process.config.autorestart and failed)
