"""Redis in trouble: no crash, no hang, no busy loop, and nothing lost of what Redis still has."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..server import Server, free_port, server_programs
from ..waiting import eventually
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
    """A password that is wrong is no absence."""
    client = workers.redis.client
    client.config_set("requirepass", "hunter2")
    workers.launch()
    workers.eventually(lambda: "Redis refuses at" in workers.log())
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


def test_a_list_that_is_no_list(workers: Workers) -> None:
    """WRONGTYPE: what waits for another attempt is done, and the rest once the key is gone."""
    client = workers.redis.client
    client.set(KEY, "not a list")
    client.zadd(workers.key("retry"), {"x#1 0 1 retry": 1})
    worker = workers.start()
    workers.eventually(lambda: workers.told("end") == ["retry"])
    workers.eventually(lambda: re.search("Redis refuses at .*WRONGTYPE", workers.log()))
    calm(workers, worker.pid)
    client.delete(KEY)
    workers.push("after")
    all_done_once(workers, 2)


def test_giving_back_to_a_list_that_is_no_list(workers: Workers) -> None:
    """What cannot go back to the list waits with the retries, and is not lost."""
    worker = workers.start(drain_seconds=0.2)
    workers.push("nap 60 back")
    workers.eventually(lambda: workers.told("start"))
    workers.redis.client.set(KEY, "not a list")
    assert workers.kill(worker, signal.SIGTERM) == 0
    workers.redis.client.delete(KEY)
    other = workers.start()
    workers.eventually(lambda: workers.told("start", other.pid))


def test_a_dead_list_that_is_no_stream(workers: Workers) -> None:
    """What should be given up waits, its mates are done once, and nothing is lost."""
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


# elsewhere


class Proxy:
    """A name whose address changes: connections to `port` go to where `target` says."""

    def __init__(self, target: int) -> None:
        self.target = target
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
            for a, b in ((here, there), (there, here)):
                threading.Thread(target=self._copy, args=(a, b), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
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


def in_step(replica: Server) -> bool:
    info = replica.client.info("replication")
    return bool(info["master_link_status"] == "up")


@pytest.fixture
def at(folder: Path) -> Iterator[Callable[[Server, str], Workers]]:
    """Workers that find a server by some URL: at(server, url)."""
    made: list[Workers] = []

    def make(server: Server, url: str) -> Workers:
        made.append(Workers(folder, server, url))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_fail_over_to_a_new_address_behind_the_same_name(
    redis: Server, folder: Path, at: Callable[[Server, str], Workers]
) -> None:
    """The replica is promoted: items that it has are done, those in hand are acknowledged."""
    with Server(folder / "b", "--replicaof", "127.0.0.1", str(redis.port)) as replica:
        eventually(lambda: in_step(replica))
        proxy = Proxy(redis.port)
        workers = at(redis, f"redis://127.0.0.1:{proxy.port}")
        workers.start(concurrency=2)
        workers.push(*(f"nap 0.05 {number}" for number in range(100)))
        workers.eventually(lambda: len(workers.ended()) > 20)
        redis.client.wait(1, 1000)
        redis.kill()
        replica.client.replicaof("NO", "ONE")
        proxy.move(replica.port)
        workers.redis = replica
        workers.push("after")
        workers.eventually(lambda: len(workers.ended()) == 101, within=30)
        workers.eventually(workers.at_rest)
        proxy.close()


def test_sentinel_leads_to_the_master_also_after_a_fail_over(
    redis: Server, folder: Path, at: Callable[[Server, str], Workers]
) -> None:
    port = free_port()
    config = folder / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor mine 127.0.0.1 {redis.port} 1\n"
        "sentinel down-after-milliseconds mine 1000\nsentinel failover-timeout mine 4000\n"
    )
    with Server(folder / "b", "--replicaof", "127.0.0.1", str(redis.port)) as replica:
        eventually(lambda: in_step(replica))
        with open(folder / "sentinel.log", "wb") as log:
            sentinel = subprocess.Popen(
                [redis.program, str(config), "--sentinel"], stdout=log, stderr=log
            )
        try:
            nobody = free_port()
            hosts = f"127.0.0.1:{nobody},127.0.0.1:{port}"
            workers = at(redis, f"redis+sentinel://{hosts}/mine/0")
            workers.start()
            workers.push("before")
            workers.eventually(lambda: workers.told("end") == ["before"])
            redis.client.wait(1, 1000)
            redis.kill()
            eventually(lambda: replica.client.info("replication")["role"] == "master", within=30)
            workers.redis = replica
            workers.push("after")
            workers.eventually(lambda: "after" in workers.told("end"), within=20)
        finally:
            sentinel.kill()
            sentinel.wait()


def test_tls(folder: Path, at: Callable[[Server, str], Workers]) -> None:
    """rediss:// with a certificate that is checked."""
    program = server_programs().get("redis-server")
    if not program or not shutil.which("openssl"):
        pytest.skip("needs a redis-server that speaks TLS, and openssl")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
        f" -addext subjectAltName=DNS:localhost -keyout {key} -out {cert}".split(),
        check=True,
        capture_output=True,
    )
    port = free_port()
    options = f"--tls-port {port} --tls-cert-file {cert} --tls-key-file {key}"
    server = Server(folder / "tls", *options.split(), "--tls-auth-clients", "no", program=program)
    with server:
        workers = at(server, f"rediss://localhost:{port}?ssl_ca_certs={cert}")
        workers.start()
        workers.push("secret")
        workers.eventually(lambda: workers.told("end") == ["secret"])


def test_cluster(folder: Path, at: Callable[[Server, str], Workers]) -> None:
    """All keys of the queue are in one slot; its owner is found through any node."""
    # The default port of the cluster's bus is 10,000 higher, which may be none.
    bus = [free_port(), free_port()]
    options = ("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
    a_options = (*options, "--cluster-port", str(bus[0]))
    b_options = (*options, "--cluster-port", str(bus[1]))
    with Server(folder / "a", *a_options) as a, Server(folder / "b", *b_options) as b:
        slot = a.client.cluster("KEYSLOT", KEY)
        a.client.cluster("ADDSLOTSRANGE", 0, 5000)
        b.client.cluster("ADDSLOTSRANGE", 5001, 16383)
        a.client.cluster("MEET", "127.0.0.1", b.port, bus[1])
        owner, other = (a, b) if slot <= 5000 else (b, a)
        for node in (a, b):
            eventually(
                lambda node=node: node.client.cluster("INFO")["cluster_state"] == "ok"  # type: ignore[misc]
            )
        workers = at(owner, f"redis+cluster://127.0.0.1:{other.port}")
        worker = workers.start()
        workers.push("nap 60", "b", "c")
        workers.eventually(lambda: len(workers.told("start")) == 3 and workers.in_hand() == 1)
        workers.kill(worker)
        again = workers.start()
        workers.eventually(lambda: workers.told("start", again.pid) == ["nap 60"], within=2)
