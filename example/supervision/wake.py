"""Signals wake supervisord's loop. Without this it sees them up to a second later.

That second would delay the first start, and each group when everything stops. A program that dies
at once would look RUNNING meanwhile. And since the end of a process wakes supervisord, it need not
look all the time, as stock supervisord does, whether one that supervisorctl stops has ended.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

from supervisor.rpcinterface import SupervisorNamespaceRPCInterface
from supervisor.states import SupervisorStates

from .plugin import Plugin

LOOK_SECONDS = 0.05
"""At most so often supervisord looks whether a process has stopped; a group has the same."""


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
    plugin.around(SupervisorNamespaceRPCInterface, "stopProcess", _look_less_often)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    wake()


def _next_stop_is_due(plugin: Plugin) -> bool:
    supervisord = plugin.supervisord
    if plugin.options.mood >= SupervisorStates.RUNNING:
        return False
    groups = supervisord.stop_groups
    return not supervisord.stopping or bool(groups and not groups[-1].get_unstopped_processes())


def _look_less_often(stop: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    answer = stop(*arguments, **named)
    if callable(answer):
        answer.delay = LOOK_SECONDS
    return answer
