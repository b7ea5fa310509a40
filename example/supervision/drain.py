"""A program that has said how long it may take to stop is given that time.

Its stopwaitsecs may be shorter, as where somebody has made the drain longer, and nothing else. Only
when all stop, the bound of `stop` goes before.
"""

import time
from typing import Any

from supervisor.events import ProcessStateStoppingEvent
from supervisor.states import ProcessStates

from .plugin import Plugin


def install(plugin: Plugin, _: object) -> None:
    def on_stopping(event: Any) -> None:
        process = event.process
        note = plugin.note(process)
        if note and note.stop_seconds and note.stop_seconds > process.config.stopwaitsecs:
            plugin.kill_at[process.pid] = time.time() + note.stop_seconds

    def on_turn() -> None:
        for pid in plugin.kill_at.keys() - plugin.options.pidhistory:
            del plugin.kill_at[pid]
        for pid, kill_at in list(plugin.kill_at.items()):
            process = plugin.options.pidhistory[pid]
            if kill_at <= time.time():
                # Its time is up. Set anew, it would have supervisord kill and warn in each turn.
                del plugin.kill_at[pid]
                continue
            # Each turn anew: supervisord takes what is later than by stopwaitsecs for the time of a
            # clock that was set back, and shortens it.
            if process.state == ProcessStates.STOPPING:
                process.delay = kill_at

    plugin.subscribe(ProcessStateStoppingEvent, on_stopping)
    plugin.every_turn(on_turn)
