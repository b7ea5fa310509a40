"""Numbers, times and texts from elsewhere, as the page and the command show them."""

import time
from datetime import UTC, datetime
from itertools import pairwise

from ..runtime.dead import escaped

LONGEST = 300
"""Characters of a text from elsewhere that are shown."""
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
LAST_MOMENT = 2e11
"""Seconds since the epoch: no calendar has what is much later."""


def number(value: float) -> str:
    """1,234; beyond that 123k or 4.5M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 100 * unit or (value >= unit and unit > 1e3):
            return f"{value / unit:.3g}{name}"
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """Per second: 0.25, 12.3, 1,234."""
    return number(value) if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """In the unit that fits, or two: 340 ms, 1.5 s, 12 s, 3 min 20 s, 15 min, 2 h 5 min."""
    if 0 < seconds < 0.0995:
        return f"{seconds * 1000:.2g} ms"
    if 0 < seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if 0 < seconds < 9.95:
        return f"{seconds:.2g} s"
    return span(seconds)


def span(seconds: float) -> str:
    """The same in whole units: how long ago something was."""
    left = max(0, round(seconds))
    for (size, unit), (next_size, next_unit) in pairwise(UNITS):
        if left >= size:
            rest = left % size // next_size if left < 10 * size else 0
            return f"{left // size} {unit}" + (f" {rest} {next_unit}" if rest else "")
    return f"{left} s"


def size(count: float) -> str:
    """Bytes: 300 B, 640 KiB, 34 MiB, 1.2 GiB."""
    if count < 2**10:
        return f"{count:.0f} B"
    if count < 2**20:
        return f"{count / 2**10:.0f} KiB"
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.3g} GiB"


def clock(moment: float, now: float | None = None) -> str:
    """The local time of a `moment` in seconds since the epoch, with the date if it is not today."""
    then = time.localtime(min(moment, LAST_MOMENT))
    today = time.localtime(now)[:3] == then[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M", then)


def iso(moment: float) -> str:
    """A moment in seconds since the epoch, for <time datetime>."""
    return datetime.fromtimestamp(min(moment, LAST_MOMENT), UTC).isoformat(timespec="seconds")


def short(text: str, most: int = LONGEST) -> str:
    """`text`, cut after `most` characters."""
    return text if len(text) <= most else f"{text[:most]}…"


def clean(text: str) -> str:
    """`text`, in which characters that hide text or change its direction read \\u202e or so."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else escaped(character)
