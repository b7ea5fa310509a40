"""Readers for the values of the plugin's section. `off` switches a part off and reads as None."""

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")
OFF = ("off", "no", "false")
ON = ("on", "yes", "true")
LONGEST = 366 * 24 * 3600.0
"""Seconds. A larger number is taken for a slip."""
MOST_PROCESSES = 256
"""How many processes `scale` gives one program."""


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def is_on(text: str) -> Literal[True] | None:
    """`on` or `off`."""
    if text.lower() in OFF:
        return None
    if text.lower() in ON:
        return True
    raise ValueError("expected on or off")


def place(text: str) -> str | None:
    """`first` or `last`; `on` is `last`."""
    if text.lower() in OFF:
        return None
    if text.lower() in (*ON, "first", "last"):
        return "first" if text.lower() == "first" else "last"
    raise ValueError("expected first, last or off")


def names_of(process: Any) -> tuple[str, ...]:
    """The names that mean this process in a value, the most exact one first.

    In a `[group:x]` the program's name differs from the group's, and may differ from the process's.
    """
    group, name = process.group.config.name, process.config.name
    return name, f"{group}:{name}", process.config.program, group


class Names:
    """Names of programs, processes or groups: `app worker:worker_00`, or `all`."""

    def __init__(self, text: str):
        words = _words(text)
        self.all = "all" in words
        self.names = [word for word in words if word not in ("all", *ON)]

    def __contains__(self, process: Any) -> bool:
        return bool(self.mean(process))

    def mean(self, process: Any) -> list[str]:
        """The names here that mean the process. `all` means it by its program's name."""
        found = [name for name in names_of(process) if name in self.names]
        return [process.config.program] if self.all else found


def names(text: str) -> Names | None:
    """A `Names`, or None for `off`."""
    return None if text.lower() in OFF else Names(text)


class PerProgram(Generic[T]):
    """One value for all programs, with exceptions by name: `10 worker=30 redis=off`."""

    def __init__(self, text: str, read: Callable[[str], T]):
        self.default: T | None = None
        self.named: dict[str, T | None] = {}
        for word in _words(text):
            name, _, value = word.rpartition("=")
            read_value = None if value.lower() in OFF else read(value)
            if name:
                self.named[name] = read_value
            else:
                self.default = read_value

    @property
    def names(self) -> list[str]:
        return list(self.named)

    def of(self, process: Any) -> T | None:
        """The value for a process: that of its most exact name, or else the one for all."""
        found = (self.named[name] for name in names_of(process) if name in self.named)
        return next(found, self.default)


def per_program(read: Callable[[str], T]) -> Callable[[str], PerProgram[T] | None]:
    """A reader for `PerProgram` values, each of which `read` reads; None for `off`."""
    return lambda text: None if text.lower() in OFF else PerProgram(text, read)


def status(text: str) -> int:
    """An exit status that means a failure."""
    if not text.isdecimal() or not 1 <= int(text) <= 255:
        raise ValueError("expected an exit status from 1 to 255")
    return int(text)


def seconds(text: str) -> float:
    """A positive number of seconds, up to a year."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= LONGEST:
        raise ValueError("expected a positive number of seconds, up to a year")
    return value


def seconds_or_off(text: str) -> float | None:
    """`seconds`, or None for `off`."""
    return None if text.lower() in OFF else seconds(text)
