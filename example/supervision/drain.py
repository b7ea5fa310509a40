"""A program that has said how long it may take to stop is given that time.

Its `stopwaitsecs` may be shorter, for instance because somebody has raised DRAIN_SECONDS alone.
When everything stops, the bound of the part `stop` wins.
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
                # Its time is up. Setting `delay` again would make supervisord kill it in each turn.
                del plugin.kill_at[pid]
                continue
            # This is done in each turn. supervisord shortens a delay that is longer than
            # stopwaitsecs: it concludes that the clock was set back.
            if process.state == ProcessStates.STOPPING:
                process.delay = kill_at

    plugin.subscribe(ProcessStateStoppingEvent, on_stopping)
    plugin.every_turn(on_turn)
