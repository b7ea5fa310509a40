"""supervisorctl's verbs `ready`, `history`, `roll`, `scale`. Imports little, since each call does.

[ctlplugin:NAME] and [rpcinterface:NAME] share their name, so that one finds the other.
"""

import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from xmlrpc.client import Fault

from supervisor.supervisorctl import ControllerPluginBase, LSBInitExitStatuses
from supervisor.xmlrpc import Faults

from .show import Row, Screen, story, table
from .values import MOST_PROCESSES

READY_WITHIN = 60.0
POLL_SECONDS = 0.1
FOLLOW_SECONDS = 1.0
NOT_OFFERED = (
    "this supervisord does not offer it: its configuration needs a [unix_http_server], and"
    " [rpcinterface:supervision] with this part on"
)


def make(controller: Any, **_: str) -> "Verbs":
    """The ctlplugin factory."""
    return Verbs(controller)


class UsageError(Exception):
    """The arguments of a verb are wrong; the message says what it takes."""


class Verbs(ControllerPluginBase):  # type: ignore[misc]  # supervisor has no types
    name = "supervision"

    def __init__(self, controller: Any):
        super().__init__(controller)
        self._seen = 0
        # supervisorctl asks each plugin for help. Its own plugin would answer "no help" for ours.
        default = controller.options.plugins[0]
        default.help_ready, default.help_roll = self.help_ready, self.help_roll
        default.help_scale, default.help_history = self.help_scale, self.help_history

    def do_help(self, topic: str) -> None:
        if not topic:
            super().do_help(topic)

    def do_ready(self, words: str) -> None:
        self._run(self._ready, words, is_up="--wait" not in words)

    def help_ready(self) -> None:
        self.ctl.output("ready\t\t\tShow the state of each process; exit status 0 if all are ready")
        self.ctl.output("ready <name> <name>\tThe same for some programs or processes")
        self.ctl.output("ready --wait <seconds>\tFirst wait until all are ready, at most that long")
        self.ctl.output("ready --follow\t\tShow it again every second, until Ctrl-C")

    def do_history(self, words: str) -> None:
        self._run(self._history, words)

    def help_history(self) -> None:
        self.ctl.output("history\t\t\tList the unexpected exits, the latest one last")
        self.ctl.output("history <name> <name>\tThe same for some programs or processes")

    def do_roll(self, words: str) -> None:
        self._run(self._roll, words)

    def help_roll(self) -> None:
        self.ctl.output("roll <group>…\t\tReplace a group's processes one by one, each when its")
        self.ctl.output("\t\t\tsuccessor is ready; exit status 0 if all were")
        self.ctl.output(
            f"roll <group> --wait <s>\tSeconds that each may take, {READY_WITHIN:g} by default"
        )
        self.ctl.output("roll <group> --in-place\tStop each before its successor starts")

    def do_scale(self, words: str) -> None:
        self._run(self._scale, words)

    def help_scale(self) -> None:
        self.ctl.output("scale <program> <number>\tRun that many processes of a program, until")
        self.ctl.output("\t\t\t\tsupervisord reloads, or numprocs changes in the file")

    def _run(self, verb: Callable[[list[str]], bool], words: str, is_up: bool = True) -> None:
        if is_up and not self.ctl.upcheck():
            return
        try:
            good = verb(words.split())
        except UsageError as error:
            self.ctl.output(f"Error: {error}")
            self.ctl.exitstatus = LSBInitExitStatuses.INVALID_ARGS
            return
        except Fault as fault:
            unknown = fault.faultCode == Faults.UNKNOWN_METHOD
            self.ctl.output(f"ERROR: {NOT_OFFERED if unknown else fault.faultString}")
            good = False
        except (OSError, HTTPException) as error:  # it may have ended meanwhile
            self.ctl.output(f"ERROR: supervisord does not answer: {error}")
            good = False
        if not good:
            self.ctl.exitstatus = LSBInitExitStatuses.GENERIC

    @property
    def _supervision(self) -> Any:
        return self.ctl.get_server_proxy(self.name)

    # ready

    def _ready(self, words: list[str]) -> bool:
        if "--follow" in words:
            return self._follow_ready([word for word in words if word != "--follow"])
        seconds = _take_wait(words, 0.0)
        rows = self._rows_within(seconds, words)
        for line in table(rows, time.time()):
            self.ctl.output(line)
        return all(row["ready"] for row in rows)

    def _rows_within(self, seconds: float, names: list[str]) -> list[Row]:
        """The rows once all are ready, or after so many seconds; supervisord may be starting."""
        end = time.monotonic() + seconds
        while True:
            late = time.monotonic() >= end
            try:
                rows = self._rows(names)
                if late or all(row["ready"] for row in rows):
                    return rows
            except (OSError, HTTPException):
                if late:
                    raise
            time.sleep(POLL_SECONDS)

    def _rows(self, names: list[str]) -> list[Row]:
        rows: list[Row] = self._supervision.ready()
        wanted = _wanted(names)
        _check(wanted, rows)
        return [row for row in rows if not wanted or _names(row) & wanted]

    def _follow_ready(self, names: list[str]) -> bool:
        rows = self._rows(names)
        screen = Screen(self.ctl.stdout)
        try:
            while True:
                try:
                    rows = self._rows(names)
                    screen.show(table(rows, time.time()))
                except (OSError, HTTPException) as error:
                    screen.show([f"supervisord does not answer: {error}"])
                time.sleep(FOLLOW_SECONDS)
        except KeyboardInterrupt:
            self.ctl.output("")  # the shell's prompt not behind ^C
            return all(row["ready"] for row in rows)

    # history

    def _history(self, words: list[str]) -> bool:
        wanted = _wanted(words)
        records = self._supervision.history()
        _check(wanted, [*records, *self._supervision.ready()])
        for record in records:
            if not wanted or _names(record) & {*wanted, "supervisord"}:
                for line in story(record):
                    self.ctl.output(line)
        return True

    # roll

    def _roll(self, words: list[str]) -> bool:
        seconds = _take_wait(words, READY_WITHIN)
        in_place = "--in-place" in words
        names = [word.removesuffix(":*") for word in words if word != "--in-place"]
        if not names:
            raise UsageError("roll takes groups or processes, such as: roll app")
        for name in names:
            self._seen = 0
            self._supervision.roll(name, seconds, in_place)
            try:
                if not self._follow(name):
                    return False
            except KeyboardInterrupt:
                return self._stop_roll(name)
        return True

    def _tell(self, line: str) -> None:
        """Show a line at once, through a pipe too: the next one may take long."""
        self.ctl.output(line)
        self.ctl.stdout.flush()

    def _stop_roll(self, name: str) -> bool:
        self._tell("stopping the roll")
        try:
            self._supervision.stop_roll(name)
            return self._follow(name)
        except KeyboardInterrupt:
            self.ctl.output("not waiting for its end: see supervisord's log")
            return False

    def _follow(self, name: str) -> bool:
        """Show the lines of a roll until it ends. Returns whether all were replaced."""
        while True:
            told = self._supervision.rolled(name, self._seen)
            for line in told["lines"]:
                self._tell(line)
            self._seen += len(told["lines"])
            if told["status"] >= 0:
                return bool(told["status"] == 0)
            time.sleep(POLL_SECONDS)

    # scale

    def _scale(self, words: list[str]) -> bool:
        if len(words) != 2 or not words[1].isdecimal():
            raise UsageError("scale takes a program and a number, such as: scale worker 4")
        program, number = words[0].removesuffix(":*"), int(words[1])
        if not 1 <= number <= MOST_PROCESSES:
            raise UsageError(f"expected a number from 1 to {MOST_PROCESSES}, not {number}")
        self._supervision.scale(program, number)
        self.ctl.output(f"{program}: {number}")
        return True


def _wanted(words: list[str]) -> set[str]:
    """The names in supervisorctl's usual spelling; none if all are meant."""
    return set() if "all" in words else {word.removesuffix(":*") for word in words}


def _check(wanted: set[str], rows: list[Row]) -> None:
    known: set[str] = set().union(*map(_names, rows))
    if unknown := sorted(wanted - known):
        raise UsageError(f"no such program or process: {', '.join(unknown)}")


def _names(row: Row) -> set[str]:
    return {row["name"], row["program"], row["group"]}


def _take_wait(words: list[str], default: float) -> float:
    """The seconds after `--wait`. Takes both out of `words`."""
    if "--wait" not in words:
        return default
    at = words.index("--wait")
    try:
        seconds = float(words[at + 1])
        if not 0 <= seconds < float("inf"):
            raise ValueError
    except (IndexError, ValueError):
        raise UsageError("--wait takes a number of seconds, such as: --wait 30") from None
    del words[at : at + 2]
    return seconds
