"""The whole stop takes no longer than one bound, which a container's grace period can cover.

supervisord stops one group after another, the lowest `priority` last, and gives each its own
`stopwaitsecs`: up to the sum of all. Here each group gets what is left of the bound, less a
second, or a share, for every group that is still to come, and then SIGKILL.
"""

import time
from typing import Any

from supervisor.events import ProcessStateStoppingEvent, SupervisorStoppingEvent
from supervisor.states import ProcessStates, SupervisorStates

from .guard import Plugin

MOST_FOR_A_LATER_GROUP = 1.0


def install(plugin: Plugin, bound: float) -> None:
    end = share = 0.0

    def shorten(process: Any) -> None:
        later = sum(group is not process.group for group in _groups_that_are_up(plugin))
        process.delay = min(process.delay, end - later * share)

    def on_stop(_: object) -> None:
        nonlocal end, share
        # supervisord's own deadlines, in process.delay, are by this clock.
        end = time.time() + bound
        share = min(MOST_FOR_A_LATER_GROUP, bound / (1 + len(_groups_that_are_up(plugin))))
        for process in plugin.processes():
            if process.state == ProcessStates.STOPPING:
                shorten(process)

    def on_stopping(event: Any) -> None:
        if plugin.options.mood < SupervisorStates.RUNNING:
            shorten(event.process)

    plugin.subscribe(SupervisorStoppingEvent, on_stop)
    plugin.subscribe(ProcessStateStoppingEvent, on_stopping)


def _groups_that_are_up(plugin: Plugin) -> list[Any]:
    groups = plugin.supervisord.stop_groups or []
    return [group for group in groups if group.get_unstopped_processes()]
