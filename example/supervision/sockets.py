"""The listening socket of an `[fcgi-program:x]` stays open as long as its group exists.

Stock supervisord closes it when the group's last process ends, so that a restart of the group
refuses connections. Held, they wait in the backlog.
"""

from typing import Any

from supervisor.events import (
    ProcessGroupAddedEvent,
    ProcessGroupRemovedEvent,
    ProcessStateStartingEvent,
    SupervisorStoppingEvent,
)

from .guard import Plugin


def install(plugin: Plugin, _: object) -> None:
    held: dict[str, Any] = {}

    def hold(name: str) -> None:
        group = plugin.supervisord.process_groups[name]
        manager = getattr(group, "socket_manager", None)
        # Without processes nobody would ever answer: those who connect had better be refused.
        if manager and group.processes and name not in held:
            held[name] = manager.get_socket()

    for name in plugin.supervisord.process_groups:
        hold(name)
    plugin.subscribe(ProcessGroupAddedEvent, lambda event: hold(event.group))
    # Scaled up from none, it has processes only now.
    plugin.subscribe(ProcessStateStartingEvent, lambda event: hold(event.process.group.config.name))
    plugin.subscribe(ProcessGroupRemovedEvent, lambda event: held.pop(event.group, None))
    plugin.subscribe(SupervisorStoppingEvent, lambda _: held.clear())
