"""A critical program that is FATAL stops everything, and supervisord's exit status tells it.

As long as another process of its group lives, the program does: a new version that does not start
must not stop the old one.
"""

from typing import Any

from supervisor.events import ProcessStateFatalEvent
from supervisor.states import ProcessStates, SupervisorStates

from .guard import Plugin
from .values import Names

ALIVE = (ProcessStates.STARTING, ProcessStates.RUNNING, ProcessStates.BACKOFF)
STATUS = 70
"""EX_SOFTWARE of sysexits.h: supervisord itself never exits with it."""


def install(plugin: Plugin, critical: Names) -> None:
    def on_fatal(event: Any) -> None:
        # A stop by hand also ends a program that is in BACKOFF as FATAL: no failure.
        if plugin.options.mood != SupervisorStates.RUNNING or event.process not in critical:
            return
        left = [each for each in event.process.group.processes.values() if each.state in ALIVE]
        if left:
            plugin.options.logger.critical(
                f"{event.process.config.name} is FATAL; {len(left)} of its group go on"
            )
            return
        plugin.options.logger.critical(
            f"{event.process.config.name} is FATAL: stopping all, exit status {STATUS}"
        )
        plugin.options.mood = SupervisorStates.SHUTDOWN
        plugin.exit_status = STATUS

    plugin.subscribe(ProcessStateFatalEvent, on_fatal)
