"""More or fewer processes of one program, while all others go on: `supervisorctl scale`.

The number lasts until supervisord restarts or reloads, or until `numprocs` changes in the file.
"""

from typing import Any

from supervisor.http import NOT_DONE_YET
from supervisor.states import RUNNING_STATES, STOPPED_STATES
from supervisor.xmlrpc import Faults, RPCError

from .plugin import Plugin
from .values import MOST_PROCESSES


def install(plugin: Plugin, _: object) -> None:
    numbers = Numbers()
    scaling = Scaling(plugin, numbers)
    plugin.before(plugin.options, "process_groups_from_parser", numbers.apply)
    plugin.every_turn(scaling.remove_what_has_stopped)
    plugin.methods["scale"] = scaling.scale


class Scaling:
    """The method that supervisorctl calls, and the processes that it is taking away."""

    def __init__(self, plugin: Plugin, numbers: "Numbers") -> None:
        self._plugin = plugin
        self._numbers = numbers
        self._leaving: list[Any] = []

    def scale(self, program: str, number: int) -> Any:
        """Run `number` processes of `program`.

        @param string program     Name of a program, not of one process
        @param int number         1 to 256
        @return int number        Comes when the processes that are too many have stopped
        """
        if hasattr(self._plugin.supervisord, "supvisors"):
            # It keeps its own record of each process, and ends supervisord if one is missing.
            raise RPCError(Faults.FAILED, "Supvisors is here: use its update_numprocs")
        _check(self._plugin, program, number)
        if self._is_unfinished(program):
            raise RPCError(Faults.FAILED, f"{program} is still stopping after the last `scale`")
        for group, config in self._numbers.parse(self._plugin, program, number):
            self._leaving.extend(_fit(group, config, program))

        def when_stopped() -> Any:
            return NOT_DONE_YET if self._is_unfinished(program) else number

        when_stopped.delay = 0.05  # type: ignore[attr-defined]
        return when_stopped

    def _is_unfinished(self, program: str) -> bool:
        return any(process.config.program == program for process in self._leaving)

    def remove_what_has_stopped(self) -> None:
        for process in self._leaving:
            if process.state in STOPPED_STATES:
                process.group.processes.pop(process.config.name, None)
            elif process.state in RUNNING_STATES:
                process.stop()
        # remove() might take another one: processes of one priority compare as equal.
        self._leaving = [each for each in self._leaving if each.state not in STOPPED_STATES]


class Numbers:
    """The numbers that were asked for. They replace the file's own whenever it is read."""

    def __init__(self) -> None:
        self.asked: dict[str, tuple[str | None, int]] = {}
        """Program -> the number in the file at the time, and the number that was asked for."""

    def parse(self, plugin: Plugin, program: str, number: int) -> list[tuple[Any, Any]]:
        """Read the file again, as `reread` does.

        Returns each group that runs the program, with what the file says of that group now.
        """
        before = self.asked.get(program)
        self.asked[program] = (None, number)
        try:
            plugin.options.process_config(do_usage=False)
            return _groups(plugin, program)
        except (ValueError, RPCError) as error:
            if before is None:
                del self.asked[program]
            else:
                self.asked[program] = before
            if isinstance(error, RPCError):
                raise
            raise RPCError(Faults.CANT_REREAD, str(error)) from None

    def apply(self, parser: Any) -> None:
        """Set the numbers in what was read. A number that has changed in the file wins."""
        for program, (own, number) in list(self.asked.items()):
            for section in (f"program:{program}", f"fcgi-program:{program}"):
                if not parser.has_section(section):
                    continue
                now = parser.get(section, "numprocs", fallback="1")
                if own in (None, now):
                    self.asked[program] = (now, number)
                    parser.set(section, "numprocs", str(number))
                else:
                    del self.asked[program]


def _check(plugin: Plugin, program: str, number: int) -> None:
    if not isinstance(number, int) or not 1 <= number <= MOST_PROCESSES:
        raise RPCError(Faults.FAILED, f"expected a number from 1 to {MOST_PROCESSES}, not {number}")
    programs = sorted(
        name
        for name, section in plugin.options.programs.items()
        if not section.startswith("eventlistener:")
    )
    if program not in programs:
        raise RPCError(Faults.BAD_NAME, f"{program}; the programs are {', '.join(programs)}")
    for process in plugin.processes():
        if _is(process.config, program) and process.group.config.name in plugin.busy:
            reason = plugin.busy[process.group.config.name]
            raise RPCError(Faults.FAILED, f"{program} is {reason}")


def _groups(plugin: Plugin, program: str) -> list[tuple[Any, Any]]:
    active = plugin.supervisord.process_groups
    found = [
        (active[config.name], config)
        for config in plugin.options.process_group_configs
        if config.name in active and any(_is(each, program) for each in config.process_configs)
    ]
    if not found:
        raise RPCError(
            Faults.BAD_NAME, f"{program} has changed in the file: first supervisorctl update"
        )
    return found


def _fit(group: Any, config: Any, program: str) -> list[Any]:
    """Make the group's processes of `program` those of `config`; returns those that must stop."""
    running = {each.name: each for each in group.config.process_configs}
    stay = [each for each in config.process_configs if each.name in running or _is(each, program)]
    names = {each.name for each in stay}
    gone = [each for each in running.values() if each.name not in names and not _is(each, program)]
    # A running process keeps the configuration it was started with: `update` has to see a change.
    group.config.process_configs = [running.get(each.name, each) for each in stay] + gone
    for each in stay:
        if each.name not in running:
            each.create_autochildlogs()
            group.processes[each.name] = each.make_process(group)
    return [
        process
        for name, process in group.processes.items()
        if name not in names and _is(process.config, program)
    ]


def _is(config: Any, program: str) -> bool:
    return bool(config.program == program)
