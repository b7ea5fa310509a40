"""Numbers, times and texts from elsewhere, as the page shows them."""

import time
from datetime import UTC, datetime

from ...runtime.dead import escaped

LONGEST = 300
"""Characters of a text from elsewhere that are shown."""


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
    """Two units at most: 340 ms, 12 s, 3 min, 2 h 5 min, 4 d 3 h."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.2g} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if minutes < 120:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"


def span(seconds: float) -> str:
    """How long ago something was, in whole units."""
    return duration(max(0.0, round(seconds))) if seconds >= 0.5 else "0 s"


def size(count: float) -> str:
    """Bytes: 300 B, 640 KiB, 34 MiB, 1.2 GiB."""
    if count < 2**10:
        return f"{count:.0f} B"
    if count < 2**20:
        return f"{count / 2**10:.0f} KiB"
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.3g} GiB"


def clock(moment: float, now: float | None = None) -> str:
    """The local time of a `moment` in seconds since the epoch, with the date if it is not today."""
    then = time.localtime(moment)
    today = time.localtime(now)[:3] == then[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M", then)


def iso(moment: float) -> str:
    """A moment in seconds since the epoch, for <time datetime>."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


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
