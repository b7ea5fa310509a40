"""How the values of the plugin's section read. `off` switches a part off: it reads as None."""

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")
OFF = ("off", "no", "false")
ON = ("on", "yes", "true")
LONGEST = 366 * 24 * 3600.0
"""Seconds. Whoever asks for more means something else."""
MOST_PROCESSES = 256
"""Of one program, by `scale`."""


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
    """What a process may be called in a value, the closest name first.

    In a `[group:x]` of programs the program is neither the process nor the group.
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
        """By which names the process is meant; by `all` it is by its program's."""
        found = [name for name in names_of(process) if name in self.names]
        return [process.config.program] if self.all else found


def names(text: str) -> Names | None:
    """A `Names`, or None for `off`."""
    return None if text.lower() in OFF else Names(text)


class PerProgram(Generic[T]):
    """One value for all programs, and others by name: `10 worker=30 redis=off`."""

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
        """The value for one process: by its own name, its program's, its group's, or all's."""
        found = (self.named[name] for name in names_of(process) if name in self.named)
        return next(found, self.default)


def per_program(read: Callable[[str], T]) -> Callable[[str], PerProgram[T] | None]:
    """What reads a `PerProgram` of values that `read` understands, or None for `off`."""
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
