"""A program may wait for others before supervisord starts it: `after = app: migrate redis`.

It waits until each of them is ready. A step that ends, such as a database's migration, has to be
done. supervisord's own `priority` only says which start begins first. A start by hand waits for
nothing.
"""

from typing import Any

from supervisor.datatypes import RestartUnconditionally
from supervisor.events import ProcessGroupAddedEvent
from supervisor.states import ProcessStates

from .plugin import Plugin
from .values import OFF, names_of


class Order:
    """Which program waits for which: `app: migrate redis, worker: redis`."""

    def __init__(self, text: str):
        self.waits: dict[str, list[str]] = {}
        for entry in text.replace("\n", ",").split(","):
            who, colon, whom = (part.strip() for part in entry.partition(": "))
            if not (who and colon and whom):
                raise ValueError("expected who: whom whom, who: whom, such as app: migrate redis")
            self.waits.setdefault(who, []).extend(whom.split())
        for who in self.waits:
            self._check(who, [])

    def _check(self, who: str, before: list[str]) -> None:
        if who in before:
            raise ValueError(f"these wait for each other: {', '.join(before)}")
        for whom in self.waits.get(who, ()):
            self._check(whom, [*before, who])

    @property
    def names(self) -> list[str]:
        return [*self.waits, *(name for whom in self.waits.values() for name in whom)]

    def of(self, process: Any) -> list[str]:
        """What a process waits for. A process does not wait for its own group."""
        mine = names_of(process)
        found = {whom: None for who in mine for whom in self.waits.get(who, ())}
        return [whom for whom in found if whom not in mine]


def order(text: str) -> Order | None:
    """An `Order`, or None for `off`."""
    return None if text.lower() in OFF else Order(text)


def install(plugin: Plugin, order: Order) -> None:
    def waits(process: Any) -> bool:
        """Whether a process that supervisord would start has to wait."""
        if process.state != ProcessStates.STOPPED or process.laststart:
            return False
        missing = [name for name in order.of(process) if not _all_done(plugin, name)]
        reason = f"waits for {', '.join(missing)}" if missing else None
        if process.config.autostart and process.spawnerr != reason:
            process.spawnerr = reason
            plugin.options.logger.info(f"{process.config.name} {reason or 'waits no more'}")
        return bool(missing)

    def hold(processes: list[Any]) -> None:
        for process in processes:
            if order.of(process):
                plugin.unless(process, "transition", lambda process=process: waits(process))

    def on_added(event: Any) -> None:
        hold(list(plugin.supervisord.process_groups[event.group].processes.values()))

    def on_turn() -> None:
        # A process that waited starts in the turn in which the last of these is done. Without this
        # it would start a turn later, which may be a second.
        for process in plugin.processes():
            if process.state == ProcessStates.STOPPED and order.of(process):
                process.transition()

    hold(plugin.processes())
    plugin.subscribe(ProcessGroupAddedEvent, on_added)
    plugin.every_turn(on_turn)


def _all_done(plugin: Plugin, name: str) -> bool:
    return all(_is_done(plugin, each) for each in plugin.processes() if name in names_of(each))


def _is_done(plugin: Plugin, process: Any) -> bool:
    """Whether a process is ready, or a step has ended as expected or says that it is ready."""
    config = process.config
    is_step = not config.autorestart or config.startsecs == 0
    if is_step and config.autorestart is not RestartUnconditionally:
        note = plugin.note(process)
        ended = process.state == ProcessStates.EXITED and process.exitstatus in config.exitcodes
        return ended or bool(note and note.ready_at is not None)
    return bool(plugin.is_ready(process))
