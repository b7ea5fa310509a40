"""The parts of the plugin, and the factory that installs each part that is not off.

To add a part: a file with `install(plugin, value)`, and a line in PARTS.
"""

import socket
from collections.abc import Callable
from typing import Any

from . import (
    addresses,  # noqa: F401 teaches supervisord IPv6, before it reads the programs
    after,
    config_error,
    crash_loop,
    descendants,
    drain,
    exit_status,
    health,
    history,
    log_files,  # noqa: F401 has supervisord name a log file that it cannot open
    logs,
    memory,
    notify,
    orphans,
    path,
    ready,
    reload,
    roll,
    scale,
    service,
    signals,
    sockets,
    spelling,  # noqa: F401 has supervisord warn of two traps in a file
    startup,  # noqa: F401 has supervisord say in one line what goes wrong
    stop,
    tail,
    wake,
    watchdog,
)
from .plugin import Plugin
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
    "reload": (reload.install, is_on, "on"),
    "notify": (notify.install, is_on, "on"),
    "drain": (drain.install, is_on, "on"),
    "watchdog": (watchdog.install, per_program(watchdog.deadline), "off"),
    "ready": (ready.install, names, "on"),
    "health": (health.install, seconds_or_off, "60"),
    "service": (service.install, is_on, "on"),
    "history": (history.install, history.file, "off"),
    "after": (after.install, after.order, "off"),
    "scale": (scale.install, is_on, "on"),
    "roll": (roll.install, per_program(roll.way), "on"),
    "memory": (memory.install, per_program(memory.size), "off"),
    "tail": (tail.install, is_on, "on"),
    "stop": (stop.install, seconds_or_off, "off"),
}
"""Name of a part -> what installs it, how its value is read, and its value if the file has none.

Our two lines must not break what works in somebody's file. So a part is off by default if it
changes the output, or the time at which a program is started or killed.
"""

_installed: Plugin | None = None


def make(supervisord: Any, **values: str) -> object:
    """The rpcinterface factory: install in this supervisord every part that is not off.

    supervisord calls it once for each HTTP server, and again after a reload. `wrong` has checked
    the values.
    """
    global _installed
    if _installed is None or _installed.supervisord is not supervisord:
        _installed = _install(supervisord, values)
    return _interface(_installed)


def wrong(values: dict[str, str]) -> list[str]:
    """What is wrong with the keys and values of our section, a line each."""
    lines = []
    if unknown := sorted(values.keys() - PARTS):
        lines.append(f"unknown part: {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    for name in PARTS:
        try:
            _read(name, values)
        except ValueError as error:
            lines.append(f"{name} = {values[name]}: {error}")
    return lines


def _read(name: str, values: dict[str, str]) -> Any:
    _, read, default = PARTS[name]
    return read(values.get(name, default))


def _install(supervisord: Any, values: dict[str, str]) -> Plugin:
    plugin = Plugin(supervisord)
    for name, (install, _, _) in PARTS.items():
        value = _read(name, values)
        if value is None:
            continue
        plugin.guard(install)(plugin, value)
        if unmatched := plugin.unmatched(getattr(value, "names", ())):
            plugin.options.logger.warn(
                f"{name}: no program, process or group is called {', '.join(unmatched)}"
            )
    return plugin


def _interface(plugin: Plugin) -> object | None:
    """What is published on the HTTP server that is being made. On TCP that is nothing."""
    if not plugin.options.server_configs:
        return None  # see startup
    server = plugin.options.server_configs[plugin.interfaces]
    plugin.interfaces += 1
    methods = plugin.methods if server["family"] == socket.AF_UNIX else {}
    interface: object = type("Interface", (), dict(methods))()
    return interface
