"""What people can do about dead items, and about those that wait for another attempt."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from example.runtime import dead
from example.runtime.dead import BYTES, LOT, shown

from ..server import Server
from .workers import KEY

LIST = f"{{{KEY}}}:dead"
ODD = b"\0\xff 'quoted'\n"


def bury(redis: Server, *items: bytes) -> list[str]:
    """Put these on the dead list; returns their ids."""
    client: Any = redis.client
    fields = {"why": "x", "failures": 5, "deaths": 1}
    return [client.xadd(LIST, {"item": item} | fields).decode() for item in items]


def test_the_dead_are_listed_newest_first_with_their_reasons(redis: Server) -> None:
    ids = bury(redis, ODD, b"x" * 2 * BYTES)
    newest, oldest = asyncio.run(dead.dead(redis.url, KEY))
    assert (newest.id, newest.item, newest.size) == (ids[1], b"x" * BYTES, 2 * BYTES)
    assert (oldest.item, oldest.why, oldest.failures, oldest.deaths) == (ODD, "x", 5, 1)
    assert oldest.time == int(ids[0].partition("-")[0]) / 1000
    assert asyncio.run(dead.dead(redis.url, KEY, before=ids[1])) == [oldest]


def test_any_number_of_dead_can_be_listed(redis: Server) -> None:
    ids = bury(redis, *[b"x"] * (2 * LOT + 5))
    for count in (2 * LOT + 1, 10**6):
        listed = asyncio.run(dead.dead(redis.url, KEY, count))
        assert [each.id for each in listed] == ids[::-1][:count]


def test_one_is_pushed_again_byte_for_byte(redis: Server) -> None:
    ids = bury(redis, b"other", ODD)
    assert asyncio.run(dead.requeue(redis.url, KEY, ids[1])) == 1
    assert redis.client.lrange(KEY, 0, -1) == [ODD]
    assert redis.client.xlen(LIST) == 1
    assert asyncio.run(dead.requeue(redis.url, KEY, ids[1])) == 0


def test_all_are_pushed_again_the_oldest_first(redis: Server) -> None:
    items = [b"%d" % number for number in range(2 * LOT + 5)]
    bury(redis, *items)
    assert asyncio.run(dead.requeue(redis.url, KEY, None)) == len(items)
    assert redis.client.lrange(KEY, 0, -1) == items[::-1]
    assert redis.client.xlen(LIST) == 0


def test_one_or_all_are_dropped(redis: Server) -> None:
    ids = bury(redis, b"a", b"b", b"c")
    assert asyncio.run(dead.drop(redis.url, KEY, ids[1])) == 1
    assert [each.item for each in asyncio.run(dead.dead(redis.url, KEY))] == [b"c", b"a"]
    assert asyncio.run(dead.drop(redis.url, KEY, None)) == 2
    assert asyncio.run(dead.drop(redis.url, KEY, None)) == 0
    assert redis.client.llen(KEY) == 0


@pytest.mark.parametrize("wrong", ["", "x", "-", "+", "1", "1-2-3", f"{2**64}-1"])
def test_an_invalid_id_matches_nothing(redis: Server, wrong: str) -> None:
    bury(redis, b"a")
    assert asyncio.run(dead.requeue(redis.url, KEY, wrong)) == 0
    assert asyncio.run(dead.drop(redis.url, KEY, wrong)) == 0
    assert asyncio.run(dead.dead(redis.url, KEY, before=wrong)) == []


def test_what_waits_for_its_next_attempt_is_tried_now(redis: Server) -> None:
    """But not what was put off on purpose."""
    client: Any = redis.client
    due = 10**14
    client.zadd(f"{{{KEY}}}:retry", {f"x#{number} 0 1 x": due for number in range(2 * LOT + 5)})
    client.zadd(f"{{{KEY}}}:suspects", {"x#0 2 0 x": due, "x#1 2 0 y": 1})
    client.zadd(f"{{{KEY}}}:later", {"x#0 0 0 x": due})
    assert asyncio.run(dead.retry_now(redis.url, KEY)) == 2 * LOT + 6
    now = client.time()[0] * 1000 + 1000
    assert client.zcount(f"{{{KEY}}}:retry", 1e12, now) == 2 * LOT + 5
    assert client.zcount(f"{{{KEY}}}:suspects", "-inf", now) == 2
    assert client.zcount(f"{{{KEY}}}:later", due, due) == 1


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode()))
def test_whatever_is_shown_is_safe_to_print(item: bytes) -> None:
    text = shown(item, 50)
    assert text.isprintable()
    assert len(text) <= 51


def test_text_is_shown_as_it_is_and_all_else_escaped() -> None:
    assert shown('{"name": "Grüße 日本"}'.encode()) == '{"name": "Grüße 日本"}'
    assert shown(b"\x1b[2J\xff\0") == r"\x1b[2J\xff\x00"
    assert shown("a\u202eb\u200bc\u2028".encode()) == r"a\u202eb\u200bc\u2028"
    assert shown(b"x" * 10**7, 3) == "xxx…"
    assert shown("日本語です".encode(), 3) == "日本語…"
