"""The shipped example of several queues, which a Redis Cluster spreads over its masters."""

import shutil
from collections.abc import Callable
from typing import Any

from .layout import ROOT, Layout
from .server import Server


def test_each_queue_has_a_worker_of_its_own(launch: Callable[..., Any], redis: Server) -> None:
    layout = launch(Layout, redis)
    # The workers are those of shards.conf.
    layout.only(beat=1)
    shutil.copy(
        ROOT / "supervisord.d" / "shards.conf.example", layout.folder / "supervisord.d/shards.conf"
    )
    layout.start()
    for number in range(4):
        redis.client.lpush(f"TESTING.{number}", f"item {number}")
    for number in range(4):
        expected = f"WORKING: item {number}"
        layout.eventually(lambda n=number, e=expected: layout.said(f"worker:worker_0{n}", e))
    layout.eventually(lambda: layout.said("worker", "WORKING: OK: "))
