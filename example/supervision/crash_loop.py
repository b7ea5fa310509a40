"""A program that keeps dying after it was RUNNING is restarted ever later, then given up.

Deaths within startsecs are the file's own business: its startretries says how often they are
tried again. After all others stock supervisord restarts at once and for ever; these are counted
here, as in systemd's StartLimitIntervalSec and StartLimitBurst. What was ready once is never given
up: whatever kills it, a bad item or a bad release, it is to be back when that has gone.
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
    deaths: defaultdict[str, deque[float]] = defaultdict(deque)
    judged: dict[str, float] = {}
    due: dict[str, float] = {}

    def count(process: Any, limit: Limit) -> int:
        now = time.monotonic()
        recent = deaths[plugin.key(process)]
        recent.append(now)
        while recent[0] < now - limit.seconds:
            recent.popleft()
        return len(recent)

    def put_off(process: Any, limit: Limit) -> None:
        """Have it wait for its next start; or give it up, if nothing says that it can work."""
        died = count(process, limit)
        why = f"Died {limit.deaths} times within {limit.seconds:g} s"
        lasting = died >= limit.deaths
        if lasting and not plugin.was_ready(process):
            plugin.give_up(process, why)
            return
        delay = min(died - 1, limit.longest_delay)
        due[plugin.key(process)] = time.monotonic() + delay
        if process.state == ProcessStates.EXITED and delay > 0:
            process.change_state(ProcessStates.BACKOFF)
        process.backoff = 0
        if lasting:
            process.spawnerr = f"{why}; tried again every {limit.longest_delay:g} s"
        if died == limit.deaths:
            plugin.options.logger.critical(f"{process.config.name}: {process.spawnerr}")

    def on_backoff(event: Any) -> None:
        """It died early, or could not even be started: the file's startretries decide, but only
        of what was never ready."""
        limit = limits.of(event.process)
        died_early = event.from_state == ProcessStates.STARTING
        if limit and died_early and plugin.was_ready(event.process):
            put_off(event.process, limit)

    def after_reap(_: object) -> None:
        if plugin.options.mood < SupervisorStates.RUNNING:
            return
        for process in plugin.processes():
            limit = limits.of(process)
            key = plugin.key(process)
            # reap() calls itself: a death is seen more than once before the restart.
            if limit and _is_about_to_restart(process) and judged.get(key) != process.laststop:
                judged[key] = process.laststop
                put_off(process, limit)
            _hold_back(process, key, due)

    plugin.subscribe(ProcessStateBackoffEvent, on_backoff)
    # Deaths are seen in reap(); the restart comes with the transition after it.
    plugin.after(plugin.supervisord, "reap", after_reap)


def _is_about_to_restart(process: Any) -> bool:
    """After a failure, that is: who exits as expected and is restarted always, does no wrong."""
    failed = process.exitstatus not in process.config.exitcodes
    return bool(process.state == ProcessStates.EXITED and process.config.autorestart and failed)


def _hold_back(process: Any, key: str, due: dict[str, float]) -> None:
    """Put off the next start, until it is due. Each turn anew: supervisord takes a delay that is
    longer than its own count for a clock that was set back, and shortens it."""
    left = due.get(key, 0.0) - time.monotonic()
    if left > 0 and process.state == ProcessStates.BACKOFF:
        process.delay = time.time() + left
    else:
        due.pop(key, None)
