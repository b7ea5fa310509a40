"""What runs inside supervisord and supervisorctl. Nothing here imports your files.

One plugin of many small parts, each switched by one line:

    [rpcinterface:supervision]
    supervisor.rpcinterface_factory = example.supervision:make
    logs = off

With all parts off, plain supervisord is back. The parts and their values: docs/supervision.md.
"""

import socket
from collections.abc import Callable
from typing import Any

from . import (
    addresses,  # noqa: F401 teaches supervisord IPv6, before it reads the programs
    config_error,
    crash_loop,
    descendants,
    exit_status,
    health,
    logs,
    notify,
    orphans,
    path,
    ready,
    scale,
    signals,
    sockets,
    stop,
    wake,
    watchdog,
)
from .guard import Plugin
from .values import is_on, names, per_program, place, seconds_or_off, status

PARTS: dict[str, tuple[Callable[[Plugin, Any], None], Callable[[str], Any], str]] = {
    "path": (path.install, place, "last"),
    "logs": (logs.install, is_on, "off"),
    "wake": (wake.install, is_on, "on"),
    "signals": (signals.install, is_on, "on"),
    "critical": (exit_status.install, names, "off"),
    "config_error": (config_error.install, per_program(status), "off"),
    "crash_loop": (crash_loop.install, per_program(crash_loop.Limit.read), "off"),
    "orphans": (orphans.install, is_on, "on"),
    "descendants": (descendants.install, per_program(is_on), "off"),
    "sockets": (sockets.install, is_on, "on"),
    "notify": (notify.install, is_on, "on"),
    "watchdog": (watchdog.install, per_program(watchdog.deadline), "off"),
    "ready": (ready.install, names, "on"),
    "health": (health.install, seconds_or_off, "60"),
    "scale": (scale.install, is_on, "on"),
    "stop": (stop.install, seconds_or_off, "off"),
}
"""Name of a part -> what installs it, how its value reads, its value where the file has none.

Nothing that works in somebody's file may break by our two lines. So what changes the output, or
when a program is started or killed, is off there.
"""

_installed: Plugin | None = None


def make(supervisord: Any, **values: str) -> object:
    """The rpcinterface factory: install every part in this supervisord that is not off.

    supervisord calls it once for each HTTP server, and again after a reload.

    Raises:
        ValueError: a key or value of the section is not understood.
    """
    global _installed
    if _installed is None or _installed.supervisord is not supervisord:
        _installed = _install(supervisord, values)
    return _interface(_installed)


def _interface(plugin: Plugin) -> object:
    """What is published on the HTTP server that is being made: on TCP, nothing."""
    server = plugin.options.server_configs[plugin.interfaces]
    plugin.interfaces += 1
    methods = plugin.methods if server["family"] == socket.AF_UNIX else {}
    return type("Interface", (), dict(methods))()


def _install(supervisord: Any, values: dict[str, str]) -> Plugin:
    if unknown := sorted(values.keys() - PARTS):
        raise ValueError(f"unknown part: {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    chosen = []
    for name, (install, read, default) in PARTS.items():
        try:
            chosen.append((install, read(values.get(name, default))))
        except ValueError as error:
            raise ValueError(f"{name} = {values[name]}: {error}") from None
    plugin = Plugin(supervisord)
    for install, value in chosen:
        if value is not None:
            plugin.guard(install)(plugin, value)
    return plugin
