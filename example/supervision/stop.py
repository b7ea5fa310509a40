"""Stopping everything takes no longer than one bound, which a container's grace period can cover.

supervisord stops one group after another, the lowest `priority` last. It gives each its own
`stopwaitsecs`, so that a stop may take the sum of all. Here, groups of one priority stop together.
Each gets what is left of the bound, less a share for each priority that is still to come: a second,
or less where the bound is short. Then it gets SIGKILL. A second signal to stop means "now", as with
most servers.
"""

import signal
import time
from typing import Any

from supervisor.events import ProcessStateStoppingEvent, SupervisorStoppingEvent
from supervisor.states import ProcessStates, SupervisorStates

from .plugin import Plugin

MOST_FOR_A_LATER_PRIORITY = 1.0
STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
ECHO_SECONDS = 0.5
"""Some callers signal a program and its group: a repeat this soon is the same request."""


def install(plugin: Plugin, bound: float) -> None:
    stop = Stop(plugin, bound)
    plugin.every_turn(stop.warn_of_long_drains)
    plugin.after(plugin.options, "get_signal", stop.on_signal)
    plugin.subscribe(SupervisorStoppingEvent, stop.on_stop)
    plugin.subscribe(ProcessStateStoppingEvent, stop.on_stopping)
    plugin.before(plugin.supervisord, "ordered_stop_groups_phase_1", stop.stop_equal_priorities)


class Stop:
    """The stop of everything within `bound` seconds."""

    def __init__(self, plugin: Plugin, bound: float) -> None:
        self._plugin = plugin
        self._bound = bound
        # A process may be told to stop in the same turn as all, but before `on_stop`.
        self._end = float("inf")
        """When the bound is over, by time.time(), as supervisord's own deadlines."""
        self._share = 0.0
        self._told: float | None = None
        """When the first signal to stop came, by time.monotonic()."""
        self._warned: set[str] = set()

    def on_stop(self, _: object) -> None:
        self._end = time.time() + self._bound
        self._share = _share(self._bound, len(_priorities_that_are_up(self._plugin)))
        for process in self._plugin.processes():
            if process.state == ProcessStates.STOPPING:
                self._shorten(process)

    def on_stopping(self, event: Any) -> None:
        if self._plugin.options.mood < SupervisorStates.RUNNING:
            self._shorten(event.process)

    def _shorten(self, process: Any) -> None:
        later = _priorities_that_are_up(self._plugin) - {process.group.config.priority}
        kill_at = self._plugin.kill_at
        wanted = kill_at.get(process.pid, process.delay)
        process.delay = min(wanted, self._end - len(later) * self._share)
        if process.pid in kill_at:
            kill_at[process.pid] = process.delay

    def stop_equal_priorities(self) -> None:
        """Stop all groups of the priority that is next. supervisord stops the last one only."""
        groups = self._plugin.supervisord.stop_groups or []  # sorted by priority
        for group in groups[:-1]:
            if group.config.priority == groups[-1].config.priority:
                group.stop_all()

    def on_signal(self, number: int | None) -> None:
        if number not in STOP:
            return
        self._told = self._told or time.monotonic()
        if time.monotonic() - self._told >= ECHO_SECONDS:
            self._plugin.options.logger.warn("told again to stop: killing what is left")
            for process in self._plugin.processes():
                if process.pid:
                    process.kill(signal.SIGKILL)

    def warn_of_long_drains(self) -> None:
        """Warn once of each program that may need longer to stop than the bound leaves it."""
        for process in self._plugin.processes():
            note, program = self._plugin.note(process), process.config.program
            wanted = note.stop_seconds if note else None
            left = self._bound - _shares_of_others(self._plugin, process, self._bound)
            if wanted and wanted > left and program not in self._warned:
                self._warned.add(program)
                self._plugin.options.logger.warn(
                    f"{program} may take {wanted:g} s to stop; stop = {self._bound:g} leaves it"
                    f" {left:g}: raise `stop`, and the grace period of what stops supervisord"
                )


def _share(bound: float, priorities: int) -> float:
    return min(MOST_FOR_A_LATER_PRIORITY, bound / (1 + priorities))


def _shares_of_others(plugin: Plugin, process: Any, bound: float) -> float:
    """Seconds that are kept for the groups that stop after `process`."""
    groups = plugin.supervisord.process_groups.values()
    priorities = {group.config.priority for group in groups}
    later = [each for each in priorities if each < process.group.config.priority]
    return len(later) * _share(bound, len(priorities))


def _priorities_that_are_up(plugin: Plugin) -> set[int]:
    groups = plugin.supervisord.stop_groups or []
    return {group.config.priority for group in groups if group.get_unstopped_processes()}
