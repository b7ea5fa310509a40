"""The listening socket of an `[fcgi-program:x]` stays open as long as its group exists.

Stock supervisord closes it when the group's last process ends, so that a restart of the group
refuses connections. Held, they wait in the backlog. It outlives the group for a moment, since
`supervisorctl update` removes a changed group and adds it anew, and it outlives a reload.
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
"""`update` adds the new group at once, when it has removed the old one."""


class Held(NamedTuple):
    """A socket that supervisord's manager of it keeps open as long as `reference` is there."""

    config: Any
    manager: Any
    reference: Any


def install(plugin: Plugin, _: object) -> None:
    held: dict[str, Held] = {}
    left: list[tuple[float, Held]] = []
    """Those of removed groups, and since when."""

    def before_add(config: Any) -> None:
        if not (own := getattr(config, "socket_config", None)):
            return
        for entry in [each for each in left if each[1].config.url == own.url]:
            if reload.kind(own) == reload.kind(entry[1].config):
                # What supervisord opens from now on for this group is the old one.
                own.create_and_bind = entry[1].manager.socket.dup
            else:
                left.remove(entry)

    def hold(name: str) -> None:
        group = plugin.supervisord.process_groups[name]
        manager = getattr(group, "socket_manager", None)
        # Without processes nobody would ever answer: those who connect had better be refused.
        if manager and group.processes and name not in held:
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
    # Scaled up from none, it has processes only now.
    plugin.subscribe(ProcessStateStartingEvent, lambda event: hold(event.process.group.config.name))
    plugin.subscribe(ProcessGroupRemovedEvent, lambda event: leave(event.group))
    plugin.subscribe(SupervisorStoppingEvent, let_go)
    plugin.every_turn(on_turn)
