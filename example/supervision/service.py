"""supervisord as a systemd service of `Type=notify`: it tells systemd when all programs are ready.

Protocol: sd_notify(3). Messages go to the datagram socket that NOTIFY_SOCKET names in supervisord's
own environment; without that variable none are sent. For the programs' own messages to supervisord,
see notify.py.
"""

import contextlib
import os
import socket

from supervisor.events import SupervisorStoppingEvent
from supervisor.states import SupervisorStates

from .plugin import Plugin

OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


def install(plugin: Plugin, _: object) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or "ready" not in plugin.methods:
        return
    feeds = os.environ.get("WATCHDOG_PID") == str(os.getpid())
    told = False

    def on_turn() -> None:
        nonlocal told
        rows = plugin.methods["ready"](None) if not told else []
        if rows and all(row["ready"] for row in rows):
            told = True
            _tell(address, f"READY=1\nSTATUS={len(rows)} processes are ready")
        if feeds:
            _tell(address, "WATCHDOG=1")

    def before_exec(_filename: str, _argv: list[str], env: dict[str, str]) -> None:
        # Later parts set the program's own values.
        for name in OURS:
            env.pop(name, None)

    def on_stop(_: object) -> None:
        # A reload sends nothing: after STOPPING=1 systemd expects an exit, and enforces it.
        if plugin.options.mood == SupervisorStates.SHUTDOWN:
            _tell(address, "STOPPING=1")

    plugin.before(plugin.options, "execve", before_exec)
    plugin.every_turn(on_turn)
    plugin.subscribe(SupervisorStoppingEvent, on_stop)


def _tell(address: str, message: str) -> None:
    name = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        out.sendto(message.encode(), name)
