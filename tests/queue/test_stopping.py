"""Worker processes that are told to stop: what runs, what waits, and what is charged."""

import signal
import time

import pytest

from .workers import KEY, Worker, Workers


def test_term_lets_what_runs_finish_and_gives_the_rest_back_in_order(workers: Workers) -> None:
    worker = workers.start(concurrency=1, drain_seconds=5)
    workers.push("nap 0.5 first")
    workers.eventually(lambda: workers.told("start"))
    rest = [f"{number}" for number in range(30)]
    workers.push(*rest)
    begun = time.monotonic()
    assert workers.kill(worker, signal.SIGTERM) == 0
    assert time.monotonic() - begun < 2
    assert workers.told("end") == ["nap 0.5 first"]
    assert workers.redis.client.lrange(KEY, 0, -1) == [each.encode() for each in reversed(rest)]
    assert workers.redis.client.zcard(workers.key("workers")) == 0


def test_what_does_not_finish_in_time_is_given_back_uncharged(workers: Workers) -> None:
    worker = workers.start(drain_seconds=0.5)
    workers.push("nap 60")
    workers.eventually(lambda: workers.told("start"))
    assert workers.kill(worker, signal.SIGTERM) == 0
    assert workers.redis.client.lrange(KEY, 0, -1) == [b"nap 60"]
    assert workers.in_hand() == 0


def test_what_a_task_has_left_does_not_hold_up_the_stop(workers: Workers) -> None:
    """Its own threads, or processes of multiprocessing."""
    worker = workers.start()
    workers.push("leave")
    workers.eventually(lambda: workers.told("end"))
    assert workers.kill(worker, signal.SIGTERM) == 0


def test_an_idle_worker_stops_at_once(workers: Workers) -> None:
    worker = workers.start()
    begun = time.monotonic()
    assert workers.kill(worker, signal.SIGTERM) == 0
    assert time.monotonic() - begun < 1


def test_a_second_term_ends_it_now_and_nothing_is_lost(workers: Workers) -> None:
    worker = workers.start(drain_seconds=60)
    workers.push("nap 60")
    workers.eventually(lambda: workers.told("start"))
    worker.send_signal(signal.SIGTERM)
    workers.eventually(lambda: "stopping" in workers.log())

    def ended_by_term() -> bool:
        worker.terminate()
        return worker.poll() is not None

    workers.eventually(ended_by_term)
    assert worker.returncode == 128 + signal.SIGTERM
    other = workers.start()
    workers.eventually(lambda: workers.told("start", other.pid), within=2)


@pytest.mark.parametrize("last", [signal.SIGTERM, signal.SIGKILL])
def test_an_end_that_was_asked_for_is_charged_to_no_item(
    workers: Workers, last: signal.Signals
) -> None:
    """TERM, and another signal in the midst of it, four times: it is no suspect, nor given up."""
    workers.push("nap 60")
    for _ in range(4):
        worker = workers.start(drain_seconds=60)
        workers.eventually(lambda worker=worker: workers.told("start", worker.pid))  # type: ignore[misc]
        worker.send_signal(signal.SIGTERM)
        workers.eventually(lambda: "stop" in workers.hand())

        def ended(worker: Worker = worker) -> bool:
            worker.send_signal(last)
            return worker.poll() is not None

        workers.eventually(ended)
    workers.start()
    workers.eventually(lambda: "0 0 nap 60" in workers.hand().values())


def test_restarts_under_load_lose_and_double_nothing(workers: Workers) -> None:
    """TERM and start again, over and over, while items come and end within DRAIN_SECONDS."""
    count = 0
    worker = workers.start(concurrency=8)
    for _ in range(6):
        for _ in range(300):
            workers.push(f"nap 0.01 {count}")
            count += 1
        assert workers.kill(worker, signal.SIGTERM) == 0
        worker = workers.start(concurrency=8)
    workers.eventually(lambda: len(workers.ended()) == count)
    workers.eventually(workers.at_rest)
    assert set(workers.ended().values()) == {1}


def test_it_stops_in_time_while_redis_is_away(workers: Workers) -> None:
    worker = workers.start(drain_seconds=1)
    workers.redis.kill()
    begun = time.monotonic()
    assert workers.kill(worker, signal.SIGTERM) == 0
    assert time.monotonic() - begun < 4
