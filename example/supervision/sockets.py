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


class Left(NamedTuple):
    """The socket of a group that was removed."""

    since: float
    """By time.monotonic()."""
    held: Held


def install(plugin: Plugin, _: object) -> None:
    sockets = Sockets(plugin)
    for name in plugin.supervisord.process_groups:
        sockets.hold(name)
    plugin.before(plugin.supervisord, "add_process_group", sockets.before_add)
    plugin.before(plugin.options, "execve", sockets.before_exec)
    plugin.subscribe(ProcessGroupAddedEvent, sockets.on_added)
    plugin.subscribe(ProcessStateStartingEvent, sockets.on_start)
    plugin.subscribe(ProcessGroupRemovedEvent, sockets.on_removed)
    plugin.subscribe(SupervisorStoppingEvent, sockets.on_stop)
    plugin.every_turn(sockets.forget_the_old)


class Sockets:
    """The sockets that are held open: those of all groups, and for a moment of removed ones."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self._held: dict[str, Held] = {}
        self._left: list[Left] = []

    def before_exec(self, _filename: str, _argv: list[str], env: dict[str, str]) -> None:
        # A program that listens on it again, as event loops do, sets the backlog again.
        config = getattr(self._plugin.process_of(env).group.config, "socket_config", None)
        if config and (backlog := config.get_backlog()):
            env["LISTEN_BACKLOG"] = str(backlog)

    def hold(self, name: str) -> None:
        group = self._plugin.supervisord.process_groups[name]
        manager = getattr(group, "socket_manager", None)
        # A group without processes answers nobody, so it is better to refuse connections.
        if manager and name not in self._held:
            if group.processes:
                self._held[name] = Held(manager.config(), manager, manager.get_socket())
            vars(manager.config()).pop("create_and_bind", None)

    def before_add(self, config: Any) -> None:
        """Pass the socket of a removed group on to the group that takes its place."""
        if not (own := getattr(config, "socket_config", None)):
            return
        for each in list(self._left):
            same = reload.kind(own) == reload.kind(each.held.config)
            if same and config.process_configs:
                # When supervisord opens the new group's socket, it gets the old one.
                own.create_and_bind = each.held.manager.socket.dup
            elif same or reload.clash(own, each.held.config):
                self._left.remove(each)

    def on_added(self, event: Any) -> None:
        self.hold(event.group)

    def on_start(self, event: Any) -> None:
        # A group that was scaled up from no process has its first one only now.
        self.hold(event.process.group.config.name)

    def on_removed(self, event: Any) -> None:
        if held := self._held.pop(event.group, None):
            self._left.append(Left(time.monotonic(), held))

    def forget_the_old(self) -> None:
        now = time.monotonic()
        self._left = [each for each in self._left if now - each.since < MOMENT]

    def on_stop(self, _: object) -> None:
        if self._plugin.options.mood == SupervisorStates.RESTARTING:
            for each in self._held.values():
                reload.keep(each.config, each.manager.socket)
        self._held.clear()
        self._left.clear()
