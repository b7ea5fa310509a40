"""A program whose exit status says that its configuration is wrong is not tried again.

A program that was ready once is tried again: it works as soon as somebody has mended the fault.
"""

import os
from typing import Any

from supervisor.states import ProcessStates

from .plugin import Plugin
from .values import PerProgram

STARTUP_SECONDS = 5
"""A program reads its configuration at once: a later exit with that status means something else. A
program that must say when it is ready has no such limit: a slow machine may need longer."""


def install(plugin: Plugin, statuses: PerProgram[int]) -> None:
    exits = plugin.exits

    def after_reap(_: object) -> None:
        for process in plugin.processes():
            if process.state not in (ProcessStates.BACKOFF, ProcessStates.EXITED):
                continue
            status = statuses.of(process)
            last = exits.get(plugin.key(process))
            if (
                last
                and status is not None
                and os.waitstatus_to_exitcode(last.status) == status
                and (process in plugin.must_say_so or _died_early(process))
                and not plugin.was_ready(process)
                and not _is_expected(process, status)
            ):
                plugin.give_up(process, f"Exit status {status}: its configuration is wrong")

    # reap() sees the deaths. supervisord restarts the programs in the transition after it.
    plugin.after(plugin.supervisord, "reap", after_reap)


def _died_early(process: Any) -> bool:
    return bool(process.laststart <= process.laststop <= process.laststart + STARTUP_SECONDS)


def _is_expected(process: Any, status: int) -> bool:
    return process.state == ProcessStates.EXITED and (
        status in process.config.exitcodes or not process.config.autorestart
    )
