"""What the scaler counts."""

import asyncio

from example.runtime import backlog
from example.runtime.producer import SyncProducer

from .workers import KEY, Workers


def test_what_waits_and_what_is_due_counts_and_what_is_in_hand_of_each_worker(
    workers: Workers,
) -> None:
    """Not what is for a later time; and other machines' workers are not ours to scale."""
    first, second = workers.start(concurrency=1), workers.start(concurrency=1)
    workers.start(host="other", concurrency=1)
    workers.push("nap 60 a", "nap 60 b", "nap 60 c")
    workers.eventually(lambda: len(workers.told("start")) == 3)
    workers.push("waits")
    client = workers.redis.client
    client.zadd(workers.key("retry"), {"x#1 0 1 due": 1, "x#2 0 1 not yet": 10**14})
    producer = SyncProducer(workers.redis.url, KEY, 10)
    producer.push("due", once="key")
    producer.push("later", after=60)
    waiting, hands = asyncio.run(backlog.count(workers.redis.url, KEY))
    assert waiting == 3
    assert {pid: len(hand.ids) for pid, hand in hands.items()} == {first.pid: 1, second.pid: 1}
    assert all(hand.taken >= 1 for hand in hands.values())
