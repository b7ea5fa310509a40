"""Yours: every setting, read once from the environment into one frozen object.

NAME_FILE names a file that holds the value of NAME, as container secrets are mounted.
To add a setting, add a field: its parser raises ValueError for what it does not accept.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from .runtime import queue, redis_url


class SettingsError(Exception):
    """One or more variables hold what they must not; the message names each of them."""


def _setting(default: Any, parse: Callable[[str], Any], accepts: str, secret: bool = False) -> Any:
    return field(default=default, metadata={"parse": parse, "accepts": accepts, "secret": secret})


def _text(text: str) -> str:
    if not text or text != text.strip() or not text.isprintable():
        raise ValueError
    return text


def _identifier(text: str) -> str:
    if not text.isidentifier():
        raise ValueError
    return text


def _list_name(text: str) -> str:
    queue.keys(_text(text))
    return text


def _choice(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return parse


def _number(kind: Callable[[str], float], least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = kind(text)
        if not least <= number <= most:
            raise ValueError
        return number

    return parse


@dataclass(frozen=True)
class Settings:
    """All settings; the attribute `redis_url` is the variable REDIS_URL, and so on."""

    redis_url: str = _setting(
        "redis://localhost",
        redis_url.check,
        redis_url.ACCEPTS,
        secret=True,
    )
    redis_key: str = _setting(
        "TESTING", _list_name, "the name of a list, without spaces around it or stray braces"
    )
    redis_dir: str = _setting("var/redis", _text, "a directory for the embedded Redis's data")
    host: str = _setting("127.0.0.1", _text, "an address of this machine, or a host name")
    port: int = _setting(5000, _number(int, 1, 65535), "a whole number from 1 to 65535")
    log_level: str = _setting(
        "info", _choice("debug", "info", "warning", "error"), "debug, info, warning or error"
    )
    log_format: str = _setting("text", _choice("text", "json"), "text or json")
    task: str = _setting("work", _identifier, "the name of a function in tasks.py")
    concurrency: int = _setting(64, _number(int, 1, 10000), "a whole number from 1 to 10000")
    job_timeout: float = _setting(
        300.0, _number(float, 0.001, 1e6), "seconds from 0.001 to 1000000, fractions allowed"
    )
    max_attempts: int = _setting(5, _number(int, 1, 1000), "a whole number from 1 to 1000")
    queue_limit: int = _setting(
        100_000, _number(int, 1, 10**12), "how many items may wait before beat stops pushing"
    )
    drain_seconds: float = _setting(
        5.0, _number(float, 0.0, 3600.0), "seconds from 0 to 3600, fractions allowed"
    )
    scale_program: str = _setting("worker", _text, "the name of a program")
    scale_min: int = _setting(1, _number(int, 1, 256), "a whole number from 1 to 256")
    scale_max: int = _setting(4, _number(int, 1, 256), "a whole number from 1 to 256")
    scale_backlog: int = _setting(
        100,
        _number(int, 1, 1_000_000_000),
        "how many items there may be for each worker",
    )
    scale_seconds: float = _setting(
        60.0, _number(float, 0.001, 1e6), "seconds of work that may wait for each worker"
    )
    scale_down_seconds: float = _setting(
        30.0, _number(float, 0.0, 3600.0), "seconds from 0 to 3600, fractions allowed"
    )

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read and check every variable.

        Raises SettingsError, which tells all that is wrong at once, and no secret value.
        """
        values: dict[str, Any] = {}
        wrong = []
        for each in fields(cls):
            variable = each.name.upper()
            try:
                text = _read(environ, variable)
                if text is not None:
                    _refuse_wrapping(variable, text)
                    values[each.name] = each.metadata["parse"](text)
            except _UnreadableError as error:
                wrong.append(str(error))
            except redis_url.OptionError as error:
                wrong.append(f"{variable}: {error}")
            except ValueError:
                shown = "(not shown)" if each.metadata["secret"] else repr(text)
                wrong.append(f"{variable}: {shown} is not {each.metadata['accepts']}")
        if wrong:
            raise SettingsError("\n".join(f"wrong setting: {line}" for line in wrong))
        return cls(**values)


class _UnreadableError(Exception):
    """A variable's value could not be had."""


def _refuse_wrapping(variable: str, text: str) -> None:
    """Some who read files of variables keep what others take away, docker's --env-file for one."""
    if text[:1] == "\ufeff":
        what = "a byte order mark before"
    elif text != text.strip():
        what = "blanks around"
    elif len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        what = "quotes around"
    else:
        return
    raise _UnreadableError(f"{variable}: has {what} its value: leave them out")


def _read(environ: Mapping[str, str], variable: str) -> str | None:
    path = environ.get(f"{variable}_FILE")
    if path is None:
        return environ.get(variable)
    if variable in environ:
        raise _UnreadableError(f"{variable}: set this or {variable}_FILE, not both")
    try:
        return Path(path).read_text().removesuffix("\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a UTF-8 text file"
        raise _UnreadableError(f"{variable}_FILE: cannot read {path!r}: {reason}") from error
