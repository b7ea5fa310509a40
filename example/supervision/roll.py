"""Replace a program's processes by a new version, one after the other: `supervisorctl roll`.

Where a program allows it, the new process starts beside the old one. Once the new one is ready, the
old one is stopped, and the new one takes over its name. So a broken version does no harm. Where a
program does not allow that, the old process is stopped first.
"""

import copy
import time
from collections.abc import Callable, Generator
from typing import Any

from supervisor.options import EventListenerPoolConfig, decode_wait_status
from supervisor.states import (
    RUNNING_STATES,
    STOPPED_STATES,
    ProcessStates,
    SupervisorStates,
    getProcessStateDescription,
)
from supervisor.xmlrpc import Faults, RPCError

from .plugin import Note, Plugin
from .values import PerProgram, names_of

UP = (ProcessStates.STARTING, ProcessStates.RUNNING)
SUFFIX = ".next"
"""What the name of a new process ends with until it takes over."""
Steps = Generator[None, None, str]
"""One step in each turn of supervisord's loop. Returns what went wrong, or ''."""


def way(text: str) -> str:
    """`beside`, `in-place`, or `on`. `on` means beside if the program has numbered processes."""
    if text.lower() in ("on", "beside", "in-place"):
        return text.lower()
    raise ValueError("expected on, beside, in-place or off")


def install(plugin: Plugin, ways: PerProgram[str]) -> None:
    rolls = Rolls(plugin, ways)
    plugin.before(plugin.options, "execve", _hide_suffix)
    plugin.every_turn(rolls.on_turn)
    for method in (rolls.roll, rolls.rolled, rolls.stop_roll):
        plugin.methods[method.__name__] = method


class Rolls:
    """The rolls that were asked for, by name, and the methods that supervisorctl calls."""

    def __init__(self, plugin: Plugin, ways: PerProgram[str]) -> None:
        self._plugin = plugin
        self._ways = ways
        self._rolls: dict[str, Roll] = {}

    def roll(self, name: str, seconds: float, in_place: bool) -> bool:
        """Begin to replace a group's processes, or one process.

        @param string name        Name of a program, a process or a group
        @param double seconds     How long each may take to get ready
        @param boolean in_place   Stop each before its successor starts
        @return boolean result    Always true; ask `rolled` how it goes
        """
        group, processes = _processes(self._plugin, name)
        if reason := self._plugin.busy.get(group.config.name):
            raise RPCError(Faults.FAILED, f"{name} is {reason}")
        beside = self._never if in_place else self._can_start_beside
        self._rolls[name] = Roll(self._plugin, group, processes, seconds, beside)
        return True

    def rolled(self, name: str, seen: int) -> dict[str, Any]:
        """Tell how a roll goes.

        @param string name      As given to `roll`
        @param int seen         How many lines of it are known already
        @return struct result   The further `lines`, and `status`: -1 as long as it goes on
        """
        if name not in self._rolls:
            raise RPCError(Faults.BAD_NAME, f"{name} was not rolled")
        roll = self._rolls[name]
        return {"lines": roll.lines[seen:], "status": roll.status}

    def stop_roll(self, name: str) -> bool:
        """Have a roll end, with every process as it was or replaced.

        @param string name        As given to `roll`
        @return boolean result    Always true
        """
        if name in self._rolls:
            self._rolls[name].told_to_stop = True
        return True

    def on_turn(self) -> None:
        for each in self._rolls.values():
            each.step()

    def _can_start_beside(self, process: Any) -> bool:
        """Whether the successor of a process may run beside it."""
        chosen = self._ways.of(process) or "on"
        able = chosen == "beside" or (chosen == "on" and process.config.only_numbered)
        return able and _may_have_more(self._plugin, process.group)

    @staticmethod
    def _never(_: Any) -> bool:
        return False


def _processes(plugin: Plugin, name: str) -> tuple[Any, list[Any]]:
    """The group, and those of its processes that `name` means. Those that are down come first."""
    found = [each for each in plugin.processes() if name in names_of(each)]
    groups = {each.group.config.name: each.group for each in found}
    if not groups:
        raise RPCError(Faults.BAD_NAME, f"{name}: no such program or process")
    if len(groups) > 1:
        raise RPCError(Faults.FAILED, f"{name} is in several groups: {', '.join(groups)}; name one")
    [group] = groups.values()
    # `scale` is taking the others away.
    staying = [each for each in found if each.config in group.config.process_configs]
    return group, sorted(staying, key=lambda process: process.state in UP)


def _state(process: Any) -> str:
    return str(getProcessStateDescription(process.state))


def _may_have_more(plugin: Plugin, group: Any) -> bool:
    """Whether a process may be added. Supvisors ends supervisord for one that it does not know."""
    listens = isinstance(group.config, EventListenerPoolConfig)
    return not listens and not hasattr(plugin.supervisord, "supvisors")


def _hide_suffix(_filename: str, _argv: list[str], env: dict[str, str]) -> None:
    env["SUPERVISOR_PROCESS_NAME"] = env["SUPERVISOR_PROCESS_NAME"].removesuffix(SUFFIX)


class Roll:
    """Replaces some processes of one group. A group has one roll at a time.

    Each new process may take so many `seconds` to get ready. `beside(process)` says whether the
    new process may run beside the old one.
    """

    def __init__(
        self,
        plugin: Plugin,
        group: Any,
        processes: list[Any],
        seconds: float,
        beside: Callable[[Any], bool],
    ) -> None:
        self.plugin = plugin
        self.group = group
        self.seconds = seconds
        self.beside = beside
        self.lines: list[str] = []
        self.status = -1
        self.told_to_stop = False
        self._steps = self._all(processes)
        plugin.busy[group.config.name] = "being rolled"

    def step(self) -> None:
        """Do what can be done now. Does nothing once the roll has ended."""
        name = self.group.config.name
        if self.status >= 0:
            return
        if self.plugin.options.mood < SupervisorStates.RUNNING:
            self._end("supervisord stops")
        elif self.plugin.supervisord.process_groups.get(name) is not self.group:
            self._end(f"{name} was changed or removed meanwhile")
        else:
            try:
                next(self._steps)
            except StopIteration as end:
                self._end(end.value)
            except Exception as error:
                self._end(f"{error!r}, a fault of ours")
                raise

    def _end(self, failure: str) -> None:
        del self.plugin.busy[self.group.config.name]
        self.status = 1 if failure else 0
        for line in f"roll failed: {failure}".splitlines() if failure else ():
            self._tell(line)

    def _tell(self, line: str) -> None:
        self.lines.append(line)
        self.plugin.options.logger.info(f"roll: {line}")

    def _all(self, processes: list[Any]) -> Steps:
        left = [process for process in processes if self._should_run(process)]
        if not left and any(each.state != ProcessStates.EXITED for each in processes):
            return f"none of its processes runs: start {self.group.config.name}:*"
        while left:
            process = left[0]
            failure = "told to stop" if self.told_to_stop else (yield from self._replace(process))
            if failure:
                names = ", ".join(map(self.plugin.key, left))
                return f"{failure}\nnot replaced: {names}"
            left.pop(0)
        return ""

    def _should_run(self, process: Any) -> bool:
        """Whether a process was neither stopped by hand, nor has ended as it should."""
        ended = process.state == ProcessStates.EXITED
        if process.state in (ProcessStates.STOPPED, ProcessStates.STOPPING) or (
            ended and process.exitstatus in process.config.exitcodes
        ):
            self._tell(f"{self.plugin.key(process)}: {_state(process)}, left alone")
            return False
        return True

    def _replace(self, process: Any) -> Steps:
        start = time.monotonic()
        beside = process.state in UP and self.beside(process)
        failure = yield from self._beside(process) if beside else self._in_place(process)
        if not failure:
            took = time.monotonic() - start
            self._tell(f"{self.plugin.key(process)}: ready after {took:.1f} s")
        return failure

    def _beside(self, old: Any) -> Steps:
        new = self._add_successor(old)
        new.spawn()
        failure = yield from self._until_ready(new)
        name, reason = self.plugin.key(old), self._reason(new)
        yield from self._until_stopped(new if failure else old)
        if failure:
            self._remove(new)
            return (
                f"{name}: the new one is {failure}{reason}; the old one goes on; see: tail {name}"
            )
        self._take_over(new, old)
        return "" if self.plugin.is_ready(new) else f"{name}: was ready, but is not any more"

    def _in_place(self, process: Any) -> Steps:
        gone = ", and the old one is gone" if process.state in UP else ""
        yield from self._until_stopped(process)
        process.spawn()
        failure = yield from self._until_ready(process)
        name, reason = self.plugin.key(process), self._reason(process)
        return failure and f"{name}: {failure}{reason}{gone}; see: tail {name}"

    def _until_ready(self, process: Any) -> Steps:
        end = time.monotonic() + self.seconds
        # It has to stay ready for the file's `startsecs`: until then its state is STARTING.
        while not self.plugin.is_ready(process) or process.state == ProcessStates.STARTING:
            if process.state not in UP:
                return f"{_state(process)} instead of ready"
            if time.monotonic() > end:
                return f"not ready within {self.seconds:g} s"
            if self.told_to_stop:
                return "not ready yet, and we were told to stop"
            yield
        return ""

    def _until_stopped(self, process: Any) -> Generator[None, None, None]:
        while process.state not in STOPPED_STATES:
            if process.state in RUNNING_STATES:
                process.stop()
            yield

    def _reason(self, process: Any) -> str:
        """How a process has ended, in parentheses; "" if it runs."""
        last = self.plugin.exits.get(self.plugin.key(process))
        if process.pid:
            return ""
        return f" ({decode_wait_status(last.status)[1] if last else process.spawnerr})"

    def _add_successor(self, old: Any) -> Any:
        config = copy.copy(old.config)
        config.name += SUFFIX
        new = config.make_process(self.group)
        self.group.processes[config.name] = new
        key = self.plugin.key(new)
        self.plugin.successors.add(key)
        if self.plugin.key(old) in self.plugin.notes:
            self.plugin.notes[key] = Note(0)  # like the old one, it has to say that it is ready
        return new

    def _remove(self, new: Any) -> None:
        del self.group.processes[new.config.name]
        self.plugin.rename(self.plugin.key(new), None)

    def _take_over(self, new: Any, old: Any) -> None:
        del self.group.processes[new.config.name]
        self.group.processes[old.config.name] = new
        self.plugin.rename(self.plugin.key(new), self.plugin.key(old))
        new.config = old.config
        # The old process may have rotated the log file that both share.
        new.reopenlogs()
