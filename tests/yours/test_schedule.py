"""Yours: what beat pushes."""

from collections.abc import Callable

from ..layout import Layout


def test_beat_pushes_and_a_worker_takes_it(only: Callable[..., Layout]) -> None:
    layout = only(beat=1, worker=1)
    layout.eventually(lambda: layout.said("beat", "PUSH ok"))
    layout.eventually(lambda: layout.said("worker", "WORKING: OK: "))
