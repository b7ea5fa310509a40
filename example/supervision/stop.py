"""The whole stop takes no longer than one bound, which a container's grace period can cover.

supervisord stops one group after another, the lowest `priority` last, and gives each its own
`stopwaitsecs`: up to the sum of all. Here groups of one priority stop together; they get what is
left of the bound, less a second, or a share, for every priority that is still to come, and then
SIGKILL. A second signal to stop means "now", as it does to most servers.
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
"""Some who stop a program signal it and its group: a repeat this soon is the same request."""


def install(plugin: Plugin, bound: float) -> None:
    # A process may be told to stop in the turn in which all are, before on_stop.
    end, share = float("inf"), 0.0
    told: float | None = None
    warned: set[str] = set()

    def shorten(process: Any) -> None:
        later = _priorities_that_are_up(plugin) - {process.group.config.priority}
        wanted = plugin.kill_at.get(process.pid, process.delay)
        process.delay = min(wanted, end - len(later) * share)
        if process.pid in plugin.kill_at:
            plugin.kill_at[process.pid] = process.delay

    def on_stop(_: object) -> None:
        nonlocal end, share
        # supervisord's own deadlines, in process.delay, are by this clock.
        end = time.time() + bound
        share = _share(bound, len(_priorities_that_are_up(plugin)))
        for process in plugin.processes():
            if process.state == ProcessStates.STOPPING:
                shorten(process)

    def on_stopping(event: Any) -> None:
        if plugin.options.mood < SupervisorStates.RUNNING:
            shorten(event.process)

    def stop_the_like() -> None:
        """supervisord itself tells only the last of its stop_groups, which it has sorted."""
        groups = plugin.supervisord.stop_groups or []
        for group in groups[:-1]:
            if group.config.priority == groups[-1].config.priority:
                group.stop_all()

    def on_signal(number: int | None) -> None:
        nonlocal told
        if number not in STOP:
            return
        told = told or time.monotonic()
        if time.monotonic() - told >= ECHO_SECONDS:
            plugin.options.logger.warn("told again to stop: killing what is left")
            for process in plugin.processes():
                if process.pid:
                    process.kill(signal.SIGKILL)

    def on_turn() -> None:
        """Tell once of a program that says that it may need longer than all have together."""
        for process in plugin.processes():
            note, program = plugin.note(process), process.config.program
            wanted = note.stop_seconds if note else None
            left = bound - _shares_of_others(plugin, process, bound)
            if wanted and wanted > left and program not in warned:
                warned.add(program)
                plugin.options.logger.warn(
                    f"{program} may take {wanted:g} s to stop; stop = {bound:g} leaves it {left:g}:"
                    " raise that, and the grace period of who stops supervisord"
                )

    plugin.every_turn(on_turn)
    plugin.after(plugin.options, "get_signal", on_signal)
    plugin.subscribe(SupervisorStoppingEvent, on_stop)
    plugin.subscribe(ProcessStateStoppingEvent, on_stopping)
    plugin.before(plugin.supervisord, "ordered_stop_groups_phase_1", stop_the_like)


def _share(bound: float, priorities: int) -> float:
    return min(MOST_FOR_A_LATER_PRIORITY, bound / (1 + priorities))


def _shares_of_others(plugin: Plugin, process: Any, bound: float) -> float:
    """Seconds that are kept for those who stop after `process`."""
    groups = plugin.supervisord.process_groups.values()
    priorities = {group.config.priority for group in groups}
    later = [each for each in priorities if each < process.group.config.priority]
    return len(later) * _share(bound, len(priorities))


def _priorities_that_are_up(plugin: Plugin) -> set[int]:
    groups = plugin.supervisord.stop_groups or []
    return {group.config.priority for group in groups if group.get_unstopped_processes()}
