"""Signals wake supervisord's loop. Without this it sees them up to a second later.

That second would delay the first start, and each group when everything stops. A program that dies
at once would look RUNNING meanwhile.
"""

import contextlib
import os
import signal

from supervisor.states import SupervisorStates

from .plugin import Plugin


def install(plugin: Plugin, _: object) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)

    def wake() -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(writer, b"\0")

    def on_read() -> None:
        os.read(reader, 4096)

    def on_turn() -> None:
        # A turn handles one signal only. A group whose processes are down ends without a signal.
        if plugin.options.signal_receiver._signals_recvd or _next_stop_is_due(plugin):
            wake()

    def on_close() -> None:
        signal.set_wakeup_fd(-1)
        os.close(writer)

    plugin.watch(reader, read=on_read)
    plugin.every_turn(on_turn)
    plugin.at_close(on_close)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    wake()


def _next_stop_is_due(plugin: Plugin) -> bool:
    supervisord = plugin.supervisord
    if plugin.options.mood >= SupervisorStates.RUNNING:
        return False
    groups = supervisord.stop_groups
    return not supervisord.stopping or bool(groups and not groups[-1].get_unstopped_processes())
