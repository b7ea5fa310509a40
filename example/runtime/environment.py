"""The fields of settings.py, and how their values are read from the environment.

Each public function makes a field: its default, its parser, and words for what the parser accepts.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Any, Self

from . import queue, redis_url


class SettingsError(Exception):
    """One or more variables hold what they must not; the message names each of them."""


def setting(default: Any, parse: Callable[[str], Any], accepts: str, secret: bool = False) -> Any:
    """A field with a parser of your own.

    `parse(text)` returns the value, or raises ValueError. The message then says that the text is
    not what `accepts` says. It does not show the text of a secret.
    """
    return field(default=default, metadata={"parse": parse, "accepts": accepts, "secret": secret})


def text(default: str, accepts: str, secret: bool = False) -> Any:
    """Printable text that is not empty."""
    return setting(default, _text, accepts, secret)


def choice(default: str, *others: str) -> Any:
    """One of these words, in upper or lower case."""
    words = (default, *others)

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return setting(default, parse, f"{', '.join(words[:-1])} or {words[-1]}")


def whole(default: int, least: int, most: int) -> Any:
    """A whole number from `least` to `most`."""
    return _number(default, int, least, most, f"a whole number from {least} to {most}")


def seconds(default: float, least: float, most: float) -> Any:
    """Seconds from `least` to `most`."""
    accepts = f"a number of seconds from {least:.10g} to {most:.10g}"
    return _number(float(default), float, least, most, accepts)


def function(default: str, file: str) -> Any:
    """The name of a function in `file`. The program that calls it checks whether it is there."""

    def parse(text: str) -> str:
        if not text.isidentifier():
            raise ValueError
        return text

    return setting(default, parse, f"the name of a function in {file}")


def redis(default: str) -> Any:
    """The URL of a Redis. It is a secret, since it may hold a password."""
    return setting(default, redis_url.check, redis_url.ACCEPTS, secret=True)


TOKEN_LEAST = 20


def token() -> Any:
    """A secret that opens something to whoever knows it; '' for none."""

    def parse(text: str) -> str:
        if text and not (len(text) >= TOKEN_LEAST and text.isascii() and text.isprintable()):
            raise ValueError
        return text

    accepts = f"a token of at least {TOKEN_LEAST} printable ASCII characters"
    return setting("", parse, accepts, secret=True)


def names() -> Any:
    """Host names, separated by commas; '' for none."""

    def parse(text: str) -> frozenset[str]:
        found = frozenset(name.strip().lower() for name in text.split(",") if text)
        if not all(re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", name) for name in found):
            raise ValueError
        return found

    return setting(frozenset(), parse, "a list of host names without ports, separated by commas")


def list_name(default: str) -> Any:
    """The name of a Redis list, such that Redis Cluster keeps queue.py's other keys with it."""

    def parse(text: str) -> str:
        queue.keys(_text(text))
        return text

    accepts = "the name of a list, without spaces around it or stray braces"
    return setting(default, parse, accepts)


class Environment:
    """The base class of a dataclass whose fields are made by the functions above."""

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read and check the variable NAME for each field `name`.

        NAME_FILE may name a file with the value instead, as container secrets are mounted.

        Raises:
            SettingsError: the message names everything that is wrong, and shows no secret.
        """
        values: dict[str, Any] = {}
        wrong = []
        for each in fields(cls):  # type: ignore[arg-type]  # of what is derived from this
            variable = each.name.upper()
            try:
                text = _read(environ, variable)
                if text is not None:
                    _refuse_wrapping(variable, text)
                    values[each.name] = each.metadata["parse"](text)
            except _UnusableError as error:
                wrong.append(str(error))
            except redis_url.UrlError as error:
                wrong.append(f"{variable}: {error}")
            except ValueError:
                shown = "(not shown)" if each.metadata["secret"] else repr(text)
                wrong.append(f"{variable}: {shown} is not {each.metadata['accepts']}")
        if wrong:
            raise SettingsError("\n".join(f"wrong setting: {line}" for line in wrong))
        return cls(**values)


class _UnusableError(Exception):
    """A variable has no usable value; the message says why."""


def _refuse_wrapping(variable: str, text: str) -> None:
    """Refuse quotes and the like: docker's --env-file keeps them, and shells take them away."""
    if text[:1] == "\ufeff":
        what = "a byte order mark before"
    elif text != text.strip():
        what = "blanks around"
    elif len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        what = "quotes around"
    else:
        return
    raise _UnusableError(f"{variable}: has {what} its value: leave them out")


def _read(environ: Mapping[str, str], variable: str) -> str | None:
    path = environ.get(f"{variable}_FILE")
    if path is None:
        return environ.get(variable)
    if variable in environ:
        raise _UnusableError(f"{variable}: set this or {variable}_FILE, not both")
    try:
        return Path(path).read_text().removesuffix("\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a UTF-8 text file"
        raise _UnusableError(f"{variable}_FILE: cannot read {path!r}: {reason}") from error


def _text(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError
    return text


def _number(
    default: float, kind: Callable[[str], float], least: float, most: float, accepts: str
) -> Any:
    def parse(text: str) -> float:
        number = kind(_text(text))
        # Python also reads 1_000.
        if "_" in text or not least <= number <= most:
            raise ValueError
        return number

    return setting(default, parse, accepts)
