"""What there is to do on a queue, and what the workers of this machine have of it in hand."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .link import connect, locate
from .names import PLACE
from .queue import keys, prefixes


class Hand(NamedTuple):
    """What a worker has in hand: the items' ids, and how many it has taken in its life."""

    ids: frozenset[bytes]
    taken: int


async def count(url: str, key: str) -> tuple[int, Mapping[int, Hand]]:
    """How many items wait, and the hands of this machine's workers by their process ids.

    Items wait on the list, or for a time that has come. Raises one of link.ERRORS.
    """
    inbox, workers, retry, suspects, *_, later, _ = keys(key)
    nexts, hands = prefixes(key)
    async with connect(await locate(url, key), timeout=2.0) as client:
        seconds, microseconds = await client.time()
        ask: Any = client.pipeline(transaction=False)
        ask.llen(inbox)
        for parked in (retry, suspects, later):
            ask.zcount(parked, "-inf", seconds * 1000 + microseconds // 1000)
        ask.zrange(workers, 0, -1)
        *waiting, names = await ask.execute()
        here = [name.decode() for name in names if name.decode().startswith(f"{PLACE}/")]
        for name in here:
            ask.hkeys(hands + name)
            ask.hget(hands + name, "n")
            ask.exists(nexts + name)
        told = iter(await ask.execute())
        found: dict[int, Hand] = {}
        for name, ids, following, given in zip(here, told, told, told, strict=False):
            ids = {*ids, *([b"next"] if given else [])} - {b"n", b"stop"}
            found[int(name.split("/")[2])] = Hand(frozenset(ids), int(following or 1))
    return sum(waiting), found
