"""A critical program that is FATAL stops everything, and supervisord's exit status tells it."""

from typing import Any

from supervisor.events import ProcessStateFatalEvent
from supervisor.states import SupervisorStates

from .guard import Plugin
from .values import Names

STATUS = 70
"""EX_SOFTWARE of sysexits.h: supervisord itself never exits with it."""


def install(plugin: Plugin, critical: Names) -> None:
    def on_fatal(event: Any) -> None:
        # A stop by hand also ends a program that is in BACKOFF as FATAL: no failure.
        if plugin.options.mood != SupervisorStates.RUNNING or event.process not in critical:
            return
        plugin.options.logger.critical(
            f"{event.process.config.name} is FATAL: stopping all, exit status {STATUS}"
        )
        plugin.options.mood = SupervisorStates.SHUTDOWN
        plugin.exit_status = STATUS

    plugin.subscribe(ProcessStateFatalEvent, on_fatal)
