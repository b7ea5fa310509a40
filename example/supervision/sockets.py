"""The listening socket of an `[fcgi-program:x]` stays open as long as its group exists.

Plain supervisord closes it when the group's last process ends, so a restart of the group refuses
connections. While the socket is held, they wait in its backlog. `supervisorctl update` removes a
changed group and adds it again, so the socket is held a moment longer than the group. It also
outlives a reload.
"""

import time
from typing import Any, NamedTuple

from supervisor.events import (
    ProcessGroupAddedEvent,
    ProcessGroupRemovedEvent,
    ProcessStateStartingEvent,
    SupervisorStoppingEvent,
)
from supervisor.states import SupervisorStates

from . import reload
from .plugin import Plugin

MOMENT = 2.0
"""Seconds. `update` adds the new group right after it has removed the old one."""


class Held(NamedTuple):
    """A socket: supervisord's manager keeps it open as long as `reference` exists."""

    config: Any
    manager: Any
    reference: Any


def install(plugin: Plugin, _: object) -> None:
    held: dict[str, Held] = {}
    left: list[tuple[float, Held]] = []
    """Since when, and the socket: of groups that were removed."""

    def before_add(config: Any) -> None:
        if not (own := getattr(config, "socket_config", None)):
            return
        for entry in list(left):
            same = reload.kind(own) == reload.kind(entry[1].config)
            if same and config.process_configs:
                # When supervisord opens the new group's socket, it gets the old one.
                own.create_and_bind = entry[1].manager.socket.dup
            elif same or reload.clash(own, entry[1].config):
                left.remove(entry)

    def hold(name: str) -> None:
        group = plugin.supervisord.process_groups[name]
        manager = getattr(group, "socket_manager", None)
        # A group without processes answers nobody, so it is better to refuse connections.
        if manager and name not in held:
            if group.processes:
                held[name] = Held(manager.config(), manager, manager.get_socket())
            vars(manager.config()).pop("create_and_bind", None)

    def leave(name: str) -> None:
        if name in held:
            left.append((time.monotonic(), held.pop(name)))

    def on_turn() -> None:
        left[:] = [each for each in left if time.monotonic() - each[0] < MOMENT]

    def let_go(_: object) -> None:
        if plugin.options.mood == SupervisorStates.RESTARTING:
            for each in held.values():
                reload.keep(each.config, each.manager.socket)
        held.clear()
        left.clear()

    for name in plugin.supervisord.process_groups:
        hold(name)
    plugin.before(plugin.supervisord, "add_process_group", before_add)
    plugin.subscribe(ProcessGroupAddedEvent, lambda event: hold(event.group))
    # A group that is scaled up from no process has its first one only now.
    plugin.subscribe(ProcessStateStartingEvent, lambda event: hold(event.process.group.config.name))
    plugin.subscribe(ProcessGroupRemovedEvent, lambda event: leave(event.group))
    plugin.subscribe(SupervisorStoppingEvent, let_go)
    plugin.every_turn(on_turn)
