"""A reload, by HUP or `supervisorctl reload`, refuses no connection and survives a faulty file.

A reload stops all programs and begins a new run in the same process: it reads the file, closes all
descriptors and opens each socket again. A faulty file would end supervisord then, so the file is
tried first. The sockets that are kept here stay open. The new run takes them for the same address.
"""

import io
import os
import socket
from typing import Any

from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates

from .plugin import Plugin
from .startup import Supervisor, around, faults

Kind = tuple[Any, ...]

_kept: dict[Kind, socket.socket] = {}
_changed: list[Any] = []
"""Configurations that open a kept socket instead of a new one."""


def install(plugin: Plugin, _: object) -> None:
    """Have a reload with a faulty file refused."""

    def on_turn() -> None:
        options = plugin.options
        # The reload was asked for in this turn. The next turn would begin to stop the programs.
        if options.mood != SupervisorStates.RESTARTING or plugin.supervisord.stopping:
            return
        if fault := _fault(options.options):
            options.mood = SupervisorStates.RUNNING
            options.logger.error(f"no reload: {fault}; everything goes on as before")

    plugin.every_turn(on_turn)


def _fault(flags: list[tuple[str, str]]) -> str:
    """What is wrong with the file as it is now; "" for nothing.

    `flags` are supervisord's own. They need not be in sys.argv: a program may call its main().
    """
    options = ServerOptions()
    options.stderr = said = io.StringIO()
    try:
        options.realize([word for flag in flags for word in flag if word])
    except SystemExit:
        return said.getvalue().splitlines()[0].removeprefix("Error: ")
    except Exception as error:  # somebody's plugin that cannot be imported
        return f"{type(error).__name__}: {error}"
    return "; ".join(faults(options))


def kind(config: Any) -> Kind:
    """What two sockets must have in common for one to take the other's place."""
    return config.url, getattr(config, "owner", None), getattr(config, "mode", None)


def clash(one: Any, other: Any) -> bool:
    """Whether two sockets that differ may want the same address: 0.0.0.0 holds 127.0.0.1 too."""
    port = getattr(one, "port", None)
    same = one.url == other.url or (port is not None and port == getattr(other, "port", None))
    return same and kind(one) != kind(other)


def keep(config: Any, listener: socket.socket) -> None:
    """Keep the socket of this configuration until the next run has started."""
    _kept[kind(config)] = listener.dup()


@around(ServerOptions, "cleanup_fds")
def _spare_what_is_kept(original: Any, self: Any) -> None:
    # A kept socket that no group wants may hold an address that the new file uses differently.
    sockets = [getattr(group, "socket_config", None) for group in self.process_group_configs]
    for unwanted in _kept.keys() - {kind(each) for each in sockets if each}:
        _kept.pop(unwanted).close()
    if not _kept:
        original(self)
        return
    first = 5  # as in the original
    for fd in sorted(listener.fileno() for listener in _kept.values()):
        os.closerange(first, fd)
        first = max(first, fd + 1)
    os.closerange(first, self.minfds)


@around(Supervisor, "add_process_group")
def _open_what_was_kept(original: Any, self: Any, config: Any) -> Any:
    own = getattr(config, "socket_config", None)
    if own and (listener := _kept.get(kind(own))):
        own.create_and_bind = listener.dup
        _changed.append(own)
    return original(self, config)


@around(ServerOptions, "write_pidfile")
def _close_what_was_not_taken(original: Any, self: Any) -> None:
    # All parts of the new run are installed now, and have taken the sockets that they want.
    for own in _changed:
        vars(own).pop("create_and_bind", None)
    for listener in _kept.values():
        listener.close()
    _changed.clear()
    _kept.clear()
    original(self)
