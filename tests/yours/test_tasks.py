"""Yours: what a worker does with an item. Alone, which is quick, and in its worker."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from example.tasks import work

from ..layout import Layout


def test_it_tells_what_it_works(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    asyncio.run(work("this"))
    assert "WORKING: this" in caplog.messages


def test_what_a_killed_worker_had_in_hand_is_not_lost(only: Callable[..., Layout]) -> None:
    layout = only(worker=1)
    layout.signal("worker", "STOP")
    layout.push(b"precious")
    layout.signal("worker", "KILL")
    layout.eventually(lambda: layout.said("worker", "WORKING: precious"))
