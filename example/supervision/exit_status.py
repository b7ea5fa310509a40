"""A critical program that is FATAL stops everything, and supervisord's exit status says so.

This is for a program that cannot start. Everything else goes on if another process of the program,
or of the group that is named, is alive, or if one was ready before. So a new version that does not
start, or that dies of its work, does not take down what is healthy.
"""

from typing import Any

from supervisor.events import ProcessStateFatalEvent
from supervisor.states import ProcessStates, SupervisorStates

from .plugin import Plugin
from .values import Names, names_of

ALIVE = (ProcessStates.STARTING, ProcessStates.RUNNING, ProcessStates.BACKOFF)
STATUS = 70
"""EX_SOFTWARE of sysexits.h: supervisord itself never exits with it."""


def install(plugin: Plugin, critical: Names) -> None:
    def on_fatal(event: Any) -> None:
        # A stop by hand makes a program in BACKOFF FATAL, too; that is no failure.
        if plugin.options.mood != SupervisorStates.RUNNING or event.process not in critical:
            return
        name, log = event.process.config.name, plugin.options.logger.critical
        reasons = [_reason_to_go_on(plugin, each) for each in critical.mean(event.process)]
        if all(reasons):
            log(f"{name} is FATAL; {reasons[0]}")
            return
        log(f"{name} is FATAL: stopping all, exit status {STATUS}")
        plugin.options.mood = SupervisorStates.SHUTDOWN
        plugin.exit_status = STATUS

    plugin.subscribe(ProcessStateFatalEvent, on_fatal)


def _reason_to_go_on(plugin: Plugin, name: str) -> str:
    """Why everything else goes on without the program or group of this name; "" if it does not."""
    siblings = [each for each in plugin.processes() if name in names_of(each)]
    if left := sum(each.state in ALIVE for each in siblings):
        return f"{left} of {name} go on"
    if any(map(plugin.was_ready, siblings)):
        return "it was ready before, and the rest goes on"
    return ""
