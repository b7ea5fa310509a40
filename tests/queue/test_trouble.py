"""Redis in trouble: no crash, no hang, no busy loop, and nothing lost of what Redis still has."""

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..server import Server, free_port
from .workers import KEY, Workers


def load(workers: Workers, stop: threading.Event) -> int:
    """Push items until told to stop; returns how many."""
    count = 0
    while not stop.wait(0.002):
        workers.push(f"nap 0.005 {count}")
        count += 1
    return count


def calm(workers: Workers, pid: int, seconds: float = 1.0) -> None:
    """Fail if the process uses more than a third of a core for some time."""
    stat = Path(f"/proc/{pid}/stat")

    def used() -> float:
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    time.sleep(seconds)  # the measure is of an interval
    assert used() - before < seconds / 3, workers.report()


def all_done_once(workers: Workers, count: int) -> None:
    workers.eventually(lambda: len(workers.ended()) == count, within=30)
    workers.eventually(workers.at_rest)
    assert set(workers.ended().values()) == {1}


def test_connections_killed_in_a_storm(workers: Workers) -> None:
    """Every 20 ms all connections die: all items are done, once."""
    worker = workers.start()
    client = workers.redis.client
    for number in range(300):
        workers.push(f"nap 0.01 {number}")
        if number % 10 == 0:
            client.client_kill_filter(_type="normal", skipme=True)
            time.sleep(0.02)  # the rate is the point
    all_done_once(workers, 300)
    assert worker.poll() is None
    log = workers.log()
    assert log.count("Redis away") == log.count("Redis back")


def test_a_pause_longer_than_the_lease_makes_nobody_look_dead(workers: Workers) -> None:
    """30 s without an answer, long enough for time-outs and leases: each item is done once."""
    for host in ("one", "two"):
        workers.start(host=host)
    for number in range(40):
        workers.push(f"nap {number % 4 * 5 + 0.1} {number}")
    workers.eventually(lambda: len(workers.told("start")) == 40)
    workers.redis.client.client_pause(30_000)
    for log in workers.logs:
        workers.eventually(lambda log=log: "Redis back" in log.read_text(), within=60)  # type: ignore[misc]
    all_done_once(workers, 40)
    assert not any("taken for dead" in log.read_text() for log in workers.logs)


def test_out_of_memory_refuses_producers_not_workers(workers: Workers) -> None:
    for number in range(500):
        workers.push(f"nap 0.001 {number}")
    workers.redis.client.config_set("maxmemory", 1)
    worker = workers.start(concurrency=4)
    all_done_once(workers, 500)
    calm(workers, worker.pid)
    workers.redis.client.config_set("maxmemory", 0)
    workers.push("after")
    workers.eventually(lambda: "after" in workers.told("end"))


@pytest.mark.parametrize("refuse", ["at maxmemory", "no list"])
def test_an_idle_worker_survives_refusals(workers: Workers, refuse: str) -> None:
    """They are logged once when they begin and once when they end, and leave nothing in Redis."""
    client = workers.redis.client
    worker = workers.start()
    if refuse == "no list":
        client.set(KEY, "not a list")
    else:
        client.config_set("maxmemory", 1)
    workers.eventually(lambda: "Redis refuses" in workers.log())
    before = client.dbsize()
    calm(workers, worker.pid, seconds=2)
    assert client.dbsize() == before
    client.config_set("maxmemory", 0)
    client.delete(KEY)
    workers.eventually(lambda: "Redis back" in workers.log())
    log = workers.log()
    assert (log.count("Redis refuses"), log.count("Redis back")) == (1, 1)
    workers.push("after")
    all_done_once(workers, 1)


def test_a_server_that_only_reads_is_waited_for(workers: Workers) -> None:
    """READONLY, as after a fail-over to the wrong side: what is in hand is acknowledged later."""
    worker = workers.start()
    client = workers.redis.client
    workers.push("nap 0.3 a")
    workers.eventually(lambda: workers.told("start"))
    client.replicaof("127.0.0.1", free_port())
    workers.eventually(lambda: "Redis refuses at" in workers.log())
    calm(workers, worker.pid)
    client.replicaof("NO", "ONE")
    workers.push("b")
    all_done_once(workers, 2)
    log = workers.log()
    assert (log.count("Redis refuses"), log.count("Redis back")) == (1, 1)
    assert "Redis away" not in log


def test_a_server_that_does_not_know_us_is_waited_for(workers: Workers) -> None:
    """A wrong password is not taken for an absent server."""
    client = workers.redis.client
    client.config_set("requirepass", "hunter2")
    workers.launch()
    told = ": it asks for a password, and REDIS_URL has none; retrying"
    workers.eventually(lambda: told in workers.log())
    client.config_set("requirepass", "")
    workers.push("after")
    all_done_once(workers, 1)
    assert "Redis away" not in workers.log()


def test_scripts_flushed(workers: Workers) -> None:
    """NOSCRIPT: the script is sent again."""
    workers.start()
    for number in range(200):
        workers.push(f"nap 0.01 {number}")
        if number % 40 == 0:
            workers.redis.client.script_flush()
    all_done_once(workers, 200)


def test_a_list_key_of_another_type(workers: Workers) -> None:
    """WRONGTYPE: what waits for another attempt is done, and the rest once the key is gone.

    One that is no list at the start: test_rights.py.
    """
    client = workers.redis.client
    worker = workers.start()
    client.set(KEY, "not a list")
    client.zadd(workers.key("retry"), {"x#1 0 1 retry": 1})
    workers.eventually(lambda: workers.told("end") == ["retry"])
    workers.eventually(lambda: re.search("Redis refuses at .*WRONGTYPE", workers.log()))
    calm(workers, worker.pid)
    client.delete(KEY)
    workers.push("after")
    all_done_once(workers, 2)


def test_giving_back_to_a_list_key_of_another_type(workers: Workers) -> None:
    """What cannot go back to the list waits with the retries, and is not lost."""
    worker = workers.start(drain_seconds=0.2)
    workers.push("nap 60 back")
    workers.eventually(lambda: workers.told("start"))
    workers.redis.client.set(KEY, "not a list")
    assert workers.kill(worker, signal.SIGTERM) == 0
    workers.redis.client.delete(KEY)
    other = workers.start()
    workers.eventually(lambda: workers.told("start", other.pid))


def test_a_dead_list_key_of_another_type(workers: Workers) -> None:
    """An item that should be given up waits, the others are done once, and nothing is lost."""
    client = workers.redis.client
    client.set(workers.key("dead"), "not a stream")
    worker = workers.start(max_attempts=1)
    workers.push("fail", *(f"mate{each}" for each in range(5)))
    workers.eventually(lambda: len(workers.told("end")) == 5)
    workers.eventually(lambda: client.zcard(workers.key("retry")) == 1)
    assert worker.poll() is None
    assert set(workers.ended().values()) == {1}


def test_everything_flushed(workers: Workers) -> None:
    """FLUSHALL under load: workers go on with what is pushed afterwards."""
    worker = workers.start()
    for number in range(100):
        workers.push(f"nap 0.05 {number}")
    workers.eventually(lambda: workers.told("end"))
    workers.redis.client.flushall()
    for number in range(100):
        workers.push(f"after {number}")
    workers.eventually(lambda: sum(item.startswith("after") for item in workers.ended()) == 100)
    workers.eventually(workers.at_rest)
    assert worker.poll() is None


def test_redis_killed_and_started_again(workers: Workers) -> None:
    worker = workers.start()
    workers.push("nap 1 a")
    workers.eventually(lambda: workers.told("start"))
    workers.redis.kill()
    workers.eventually(lambda: "Redis away" in workers.log())
    calm(workers, worker.pid)
    workers.redis.start()
    workers.push("b")
    workers.eventually(lambda: set(workers.ended()) == {"nap 1 a", "b"})
    workers.eventually(workers.at_rest)
    log = workers.log()
    assert (log.count("Redis away"), log.count("Redis back")) == (1, 1)


# a slow link


class Proxy:
    """A name whose address changes: connections to `port` go to where `target` says.

    Not more than `rate` bytes a second come back, where that is not 0.
    """

    def __init__(self, target: int, rate: int = 0) -> None:
        self.target = target
        self.rate = rate
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self.listener.accept()
                there = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                if self.listener.fileno() < 0:
                    return
                here.close()
                continue
            self.pairs += (here, there)
            for a, b, is_slow in ((here, there, False), (there, here, True)):
                threading.Thread(target=self._copy, args=(a, b, is_slow), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, is_slow: bool) -> None:
        try:
            while data := source.recv(1 << 14):
                if is_slow and self.rate:
                    time.sleep(len(data) / self.rate)  # the slowness is the point
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            end.close()

    def move(self, target: int) -> None:
        self.target = target
        self.cut()

    def cut(self) -> None:
        for end in self.pairs:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                end.close()
        self.pairs.clear()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()


def test_an_item_that_the_link_is_too_slow_for_holds_up_no_other(
    redis: Server, at: Callable[[Server, str], Workers]
) -> None:
    """It is named, charged a failure each time, and given up in the end; a lone worker goes on."""
    proxy = Proxy(redis.port, rate=1_000_000)
    workers = at(redis, f"redis://127.0.0.1:{proxy.port}")
    workers.answer_seconds = 0.7
    workers.push(*(b"nap 0 %d " % number + b"x" * 300_000 for number in range(3)))
    workers.push(b"x" * 3_000_000, "small")
    workers.start(max_attempts=2)
    (dead,) = workers.eventually(workers.dead, within=60)
    assert dead[b"why"] == b"its 3.0 MB cannot be read in time"
    assert (dead[b"failures"], len(dead[b"item"])) == (b"2", 3_000_000)
    assert re.search(
        r"WARNING item \S+#\d+ failed, again in \S+ s \(1 of 2\): its 3.0 MB cannot be read in time"
        r"(.*\n)*.*ERROR item \S+#\d+ failed, given up \(2 of 2\): its 3.0 MB cannot be read",
        workers.log(),
    )
    workers.eventually(workers.at_rest)
    assert len(workers.ended()) == 4
    proxy.close()


def test_a_link_that_was_slow_once_is_tried_with_more_later(
    redis: Server, at: Callable[[Server, str], Workers]
) -> None:
    proxy = Proxy(redis.port, rate=1_000_000)
    workers = at(redis, f"redis://127.0.0.1:{proxy.port}")
    workers.answer_seconds, workers.recovery_seconds = 0.7, 3
    workers.push(*(b"nap 1 %d " % number + b"x" * 20_000 for number in range(300)))
    workers.start()
    workers.eventually(lambda: workers.told("start"))
    proxy.rate = 0
    workers.eventually(lambda: len(workers.told("start")) - len(workers.told("end")) > 50)
    proxy.close()


@pytest.fixture
def status(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """What a worker's last line for people is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(folder / "notify"))
        listener.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))

        def following() -> str:
            while "STATUS=" not in (message := listener.recv(4096).decode()):
                pass
            return message.partition("STATUS=")[2]

        yield following


def test_the_status_tells_since_when_redis_is_in_trouble(
    status: Callable[[], str], workers: Workers
) -> None:
    workers.start()
    assert status() == "taking from TESTING"
    workers.redis.client.config_set("maxmemory", 1)
    assert re.match(r"Redis refuses since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: .*maxmemory", status())
    workers.redis.client.config_set("maxmemory", 0)
    assert status() == "taking from TESTING"
    workers.redis.kill()
    assert re.match(r"Redis away since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: .*", status())
    workers.redis.start()
    assert status() == "taking from TESTING"
