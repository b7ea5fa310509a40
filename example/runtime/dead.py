"""The dead list: what is on it, and what people may have done about it.

Each function raises one of link.ERRORS where Redis does not answer, or refuses.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from .link import Connection
from .queue import VIEW_SHA, VIEW_SOURCE, script

BYTES = 4096  # of an item that are read to show it: it may be huge
LOT = 16  # entries that one request reads or changes, as FEW in queue.lua: they may be huge
_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")


@dataclass(frozen=True)
class Dead:
    """An entry of the dead list."""

    id: str
    time: float
    """When it was given up, in seconds since the epoch."""
    item: bytes
    """Its first BYTES bytes."""
    why: str
    failures: int
    deaths: int
    """How many workers died with it in hand."""
    size: int
    """How many bytes it has."""
    is_item: bool
    """Whether it is one: somebody else may have added to the stream."""


async def dead(url: str, key: str, count: int = 50, before: str | None = None) -> list[Dead]:
    """The newest `count` entries, newest first; with `before`, of those older than this id."""
    found: list[Dead] = []
    if before is not None and not _is_id(before):
        return found
    async with _asking(url, key) as ask:
        while len(found) < count:
            last = found[-1].id if found else before
            lot = min(LOT, count - len(found))
            entries = await ask("dead", f"({last}" if last else "+", lot, BYTES)
            found += map(_dead, entries)
            if len(entries) < lot:
                break
    return found


async def requeue(url: str, key: str, id: str | None) -> int:  # noqa: A002 the dead list's word
    """Push a dead item again, byte for byte, as a new item; or all if there is no `id`.

    Each item moves in one step. Returns how many there were.
    """
    async with _asking(url, key) as ask:
        if id is not None:
            return int((await ask("requeue", id, id))[0]) if _is_id(id) else 0
        # Items that die meanwhile stay. Otherwise this might never end.
        entries = await ask("dead", "+", 1, 0)
        newest: bytes | None = entries[0][0] if entries else None
        count, last, lo = 0, None, b"-"
        while last != newest:
            moved, last = await ask("requeue", lo, newest)
            count += moved
            if last is None:
                break
            lo = b"(" + last
        return count


async def drop(url: str, key: str, id: str | None) -> int:  # noqa: A002
    """Delete a dead item, or all if there is no `id`. Returns how many there were."""
    if id is not None and not _is_id(id):
        return 0
    async with _asking(url, key) as ask:
        return int(await ask("drop", *([] if id is None else [id])))


async def retry_now(url: str, key: str) -> int:
    """Try now everything that waits for its next attempt. Returns how many items there were."""
    async with _asking(url, key) as ask:
        count, left = map(int, await ask("hurry"))
        # No more often: an item that fails again meanwhile must not use up all its attempts.
        for _ in range(-(-left // LOT)):
            count += int((await ask("hurry"))[0])
        return count


def shown(item: bytes, most: int = 200) -> str:
    """`item` as text that is safe to print: `most` characters of it, and "…" if it was cut.

    Escaped are bytes that are no UTF-8, and characters that move the cursor, change the direction
    of the text, or are invisible.
    """
    text = item[: 4 * most + 4].decode(errors="backslashreplace")
    safe = "".join(each if each.isprintable() else escaped(each) for each in text)
    return safe if len(safe) <= most and len(item) <= 4 * most + 4 else safe[:most] + "…"


def escaped(character: str) -> str:
    """A character that is not printable, as text: \\x1b, say."""
    return character.encode("unicode_escape").decode()


def _is_id(text: str) -> bool:
    match = _ID.fullmatch(text)
    return match is not None and all(int(part) < 1 << 64 for part in match.groups())


def _dead(entry: list[Any]) -> Dead:
    entry_id, item, size, why, failures, deaths = entry
    no_item = "" if item is not None else "holds no item: not of this queue"
    return Dead(
        id=entry_id.decode(),
        time=int(entry_id.partition(b"-")[0]) / 1000,
        item=item or b"",
        why=no_item or (why or b"").decode(errors="replace"),
        failures=_number(failures),
        deaths=_number(deaths),
        size=size or 0,
        is_item=not no_item,
    )


def _number(text: bytes | None) -> int:
    """0 where another program has written something else."""
    return int(text) if text and len(text) < 20 and text.isdigit() else 0


@asynccontextmanager
async def _asking(url: str, key: str) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    connection = Connection(url, key, ("SCRIPT", "LOAD", VIEW_SOURCE))
    try:
        yield lambda *request: connection.call((*script(key, "", VIEW_SHA), *request))
    finally:
        await connection.close()
