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


class Names:
    """Names of programs or groups: `app worker`, or `all`."""

    def __init__(self, text: str):
        self.names = text.replace(",", " ").split()

    def __contains__(self, process: Any) -> bool:
        group, name = process.group.config.name, process.config.name
        return "all" in self.names or group in self.names or name in self.names


def names(text: str) -> Names | None:
    """A `Names`, or None for `off`."""
    return None if text.lower() in OFF else Names(text)


class PerProgram(Generic[T]):
    """One value for all programs, and others by name: `10 worker=30 redis=off`."""

    def __init__(self, text: str, read: Callable[[str], T]):
        self.default: T | None = None
        self.named: dict[str, T | None] = {}
        for word in text.replace(",", " ").split():
            name, _, value = word.rpartition("=")
            read_value = None if value.lower() in OFF else read(value)
            if name:
                self.named[name] = read_value
            else:
                self.default = read_value

    def of(self, process: Any) -> T | None:
        """The value for one process: by its own name, its group's, or the one for all."""
        return self.by_names(process.group.config.name, process.config.name)

    def by_names(self, group: str, name: str) -> T | None:
        return self.named.get(name, self.named.get(group, self.default))


def per_program(read: Callable[[str], T]) -> Callable[[str], PerProgram[T] | None]:
    """What reads a `PerProgram` of values that `read` understands, or None for `off`."""
    return lambda text: None if text.lower() in OFF else PerProgram(text, read)


def status(text: str) -> int:
    """An exit status that means a failure."""
    value = int(text)
    if not 1 <= value <= 255:
        raise ValueError("expected an exit status from 1 to 255")
    return value


def seconds(text: str) -> float:
    """A positive number of seconds, up to a year."""
    value = float(text)
    if not 0 < value <= LONGEST:
        raise ValueError("expected a positive number of seconds, up to a year")
    return value


def seconds_or_off(text: str) -> float | None:
    """`seconds`, or None for `off`."""
    return None if text.lower() in OFF else seconds(text)
