"""The sockets that supervisord holds stay open over a reload: HUP, or `supervisorctl reload`.

A reload begins a new run in the same process: it closes all descriptors, reads the file anew and
opens each socket again. What is kept here is spared, and taken for the same address in the new run.
"""

import os
import socket
from typing import Any

from supervisor.options import ServerOptions
from supervisor.supervisord import Supervisor

from .startup import around

Kind = tuple[Any, ...]

_kept: dict[Kind, socket.socket] = {}
_changed: list[Any] = []
"""Configurations that open the socket which was kept for them."""


def kind(config: Any) -> Kind:
    """What must be the same for a socket to serve in another's place."""
    return config.url, getattr(config, "owner", None), getattr(config, "mode", None)


def keep(config: Any, listener: socket.socket) -> None:
    """Keep a socket, opened by this configuration, until the next run has started."""
    _kept[kind(config)] = listener.dup()


@around(ServerOptions, "cleanup_fds")
def _spare_what_is_kept(original: Any, self: Any) -> None:
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
    # All parts of the new run are installed now, and hold what they want.
    for own in _changed:
        vars(own).pop("create_and_bind", None)
    for listener in _kept.values():
        listener.close()
    _changed.clear()
    _kept.clear()
    original(self)
