"""Yours: what beat pushes."""

from ..layout import Layout


def test_beat_pushes_and_a_worker_takes_it(layout: Layout) -> None:
    layout.eventually(lambda: layout.said("beat", "PUSH ok"))
    layout.eventually(lambda: layout.said("worker", "WORKING: OK: "))
