"""Redis in trouble: no crash, no hang, no busy loop, and nothing lost of what Redis still has."""

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.cluster import RedisCluster
from redis.crc import key_slot
from redis.exceptions import RedisError, ResponseError

from example.runtime.producer import Producer
from example.runtime.queue import SOURCE, Consumer, keys, prefixes
from example.settings import Settings

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


# elsewhere


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


@contextlib.contextmanager
def sentinel(folder: Path, master: Server, *lines: str) -> Iterator[int]:
    """A sentinel that watches over `master` as the service "mine"; its port."""
    port = free_port()
    config = folder / "sentinel.conf"
    own = (f"port {port}", "bind 127.0.0.1", f"dir {folder}")
    watch = (
        f"sentinel monitor mine 127.0.0.1 {master.port} 1",
        "sentinel down-after-milliseconds mine 1000",
        "sentinel failover-timeout mine 4000",
    )
    config.write_text("\n".join([*own, *watch, *lines, ""]))
    command = [master.program, str(config), "--sentinel"]
    with open(folder / "sentinel.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def test_sentinel_leads_to_the_master_also_after_a_fail_over(
    redis: Server, folder: Path, at: Callable[[Server, str], Workers]
) -> None:
    with (
        Server(folder / "b", "--replicaof", "127.0.0.1", str(redis.port)) as replica,
        sentinel(folder, redis) as port,
    ):
        eventually(lambda: in_step(replica))
        workers = at(redis, f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/mine/0")
        workers.start()
        workers.push("before")
        workers.eventually(lambda: workers.told("end") == ["before"])
        redis.client.wait(1, 1000)
        redis.kill()
        eventually(lambda: replica.client.info("replication")["role"] == "master", within=30)
        workers.redis = replica
        workers.push("after")
        workers.eventually(lambda: "after" in workers.told("end"), within=20)


def test_sentinels_may_ask_for_a_password_of_their_own(
    redis: Server, folder: Path, at: Callable[[Server, str], Workers]
) -> None:
    """Without it the line says how to give it."""
    secrets = ("requirepass theirs", "sentinel auth-pass mine ours")
    with sentinel(folder, redis, *secrets) as port:
        workers = at(redis, f"redis+sentinel://:ours@127.0.0.1:{port}/mine")
        redis.client.config_set("requirepass", "ours")
        workers.push("a")
        workers.launch()
        workers.eventually(lambda: "give it the option sentinel_password" in workers.log())
        workers.url = settings_url(f"{workers.url}?sentinel_password=theirs")
        workers.start()
        workers.eventually(lambda: workers.told("end") == ["a"])


def test_a_sentinel_given_as_a_server_is_reported(
    redis: Server, folder: Path, at: Callable[[Server, str], Workers]
) -> None:
    with sentinel(folder, redis) as port:
        workers = at(redis, f"redis://127.0.0.1:{port}")
        workers.launch()
        workers.eventually(lambda: "use redis+sentinel:// in REDIS_URL" in workers.log())


def settings_url(url: str) -> str:
    """What the programs make of REDIS_URL."""
    return Settings.load({"REDIS_URL": url}).redis_url


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
        url = f"rediss://localhost:{port}?ssl_"
        for options in (f"ca_certs={cert}", "cert_reqs=none"):
            workers = at(server, settings_url(url + options))
            worker = workers.start()
            workers.push(options)
            workers.eventually(lambda: workers.told("end")[-1:] == [options])  # noqa: B023
            workers.kill(worker, signal.SIGTERM)


class Cluster:
    """Two nodes; `here` has the queue's slot, until it is moved `there`."""

    def __init__(self, folder: Path, program: str | None = None) -> None:
        options = ["--appendonly", "no", "--cluster-enabled", "yes"]
        options += ["--cluster-require-full-coverage", "no"]
        # The default port of the cluster's bus is 10,000 higher, which may be none.
        self.bus = [free_port(), free_port()]
        self.here, self.there = (
            Server(folder / name, *options, "--cluster-port", str(port), program=program)
            for name, port in zip("ab", self.bus, strict=True)
        )
        self.slot = key_slot(KEY.encode())

    def __enter__(self) -> "Cluster":
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.here)
            stack.enter_context(self.there)
            # Both have another slot that stays: a node that lost its last one becomes a replica.
            self.here.client.cluster("ADDSLOTSRANGE", self.slot, 16383)
            self.there.client.cluster("ADDSLOTSRANGE", 0, self.slot - 1)
            self.here.client.cluster("MEET", "127.0.0.1", self.there.port, self.bus[1])
            eventually(lambda: self.knows_all(self.here) and self.knows_all(self.there), 20)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def knows_all(self, node: Server) -> bool:
        info = node.client.cluster("INFO")
        return (info["cluster_state"], info["cluster_slots_ok"]) == ("ok", "16384")

    def begin(self) -> list[str]:
        """Begin to move the slot, as redis-cli does. Returns its keys."""
        here, there = self.here.client, self.there.client
        there.cluster("SETSLOT", self.slot, "IMPORTING", here.cluster("MYID"))
        here.cluster("SETSLOT", self.slot, "MIGRATING", there.cluster("MYID"))
        return list(here.cluster("GETKEYSINSLOT", self.slot, 1000))

    def move(self, key: str) -> None:
        self.here.client.migrate("127.0.0.1", self.there.port, key, 0, 5000)

    def end(self) -> None:
        """Now the slot is `here`, where it was moved to."""
        assert not self.here.client.cluster("COUNTKEYSINSLOT", self.slot)
        self.here, self.there = self.there, self.here
        for node in (self.here, self.there):
            node.client.cluster("SETSLOT", self.slot, "NODE", self.here.client.cluster("MYID"))


def test_cluster(folder: Path, at: Callable[[Server, str], Workers]) -> None:
    """All keys of the queue are in one slot; its owner is found through any node."""
    with Cluster(folder) as cluster:
        workers = at(cluster.here, f"redis+cluster://127.0.0.1:{cluster.there.port}")
        worker = workers.start()
        workers.push("nap 60", "b", "c")
        workers.eventually(lambda: len(workers.told("start")) == 3 and workers.in_hand() == 1)
        workers.kill(worker)
        again = workers.start()
        workers.eventually(lambda: workers.told("start", again.pid) == ["nap 60"], within=2)


def test_a_cluster_given_as_one_server_is_reported(
    folder: Path, at: Callable[[Server, str], Workers]
) -> None:
    with Cluster(folder) as cluster:
        workers = at(cluster.there, cluster.there.url)
        workers.launch()
        workers.eventually(lambda: "use redis+cluster:// in REDIS_URL" in workers.log())


def fill(client: Any) -> None:
    """See to it that every key is there that a script names, as on a busy day."""
    _, _, retry, suspects, alone, dead, ticks, *_, later, once = keys(KEY)
    waiting = {retry: "x#1 0 1 late", suspects: "x#2 2 0 nap 0.01 suspect", later: "x#3 0 0 later"}
    for key, member in waiting.items():
        client.zadd(key, {member: 1e15})
    client.hset(once, "digest", "key")
    client.set(alone, "nobody")
    client.xadd(dead, {"item": "former"})
    client.hset(ticks, "entry", 1)


@pytest.mark.parametrize("program", server_programs().values(), ids=server_programs().keys())
@pytest.mark.parametrize(("first", "want"), [("", 8), ("next", 1), ("hand", 1)])
def test_a_script_meets_a_slot_half_moved(
    folder: Path, program: str, first: str, want: int
) -> None:
    """It is refused before it does anything: all that is not done is there, once."""
    with Cluster(folder, program) as cluster:
        client: Any = cluster.here.client
        client.script_load(SOURCE)
        consumer = Consumer(KEY)
        client.execute_command(*consumer.join())
        fill(client)
        client.lpush(KEY, *"abcdef")
        consumer.took(client.execute_command(*consumer.step(2, 100, [])))
        done = consumer.start(client.execute_command(*consumer.wait(1)))  # c

        names = cluster.begin()
        gone = [name for name in names if f":{first}:" in name]
        for name in gone:
            cluster.move(name)
        try:
            # Of `want` 8, it takes d and e, and puts back f, which is too much.
            consumer.took(client.execute_command(*consumer.step(want, 2, [])))
        except ResponseError:
            consumer = Consumer(KEY, consumer)
        for name in set(names) - set(gone):
            cluster.move(name)
        cluster.end()

        client = cluster.here.client
        client.script_load(SOURCE)
        client.execute_command(*consumer.join())
        consumer.joined()
        client.execute_command(*consumer.step(0, 0, [done]))
        nexts, hands = (prefix + consumer.name for prefix in prefixes(KEY))
        held = client.hgetall(hands)
        held.pop(b"n")
        left = [value.rpartition(b" ")[2] for value in held.values()]
        left += client.lrange(KEY, 0, -1) + client.lrange(nexts, 0, -1)
        assert sorted(left) == [b"a", b"b", b"d", b"e", b"f"]


def test_a_slot_moved_under_load(folder: Path, at: Callable[[Server, str], Workers]) -> None:
    """There and back, key by key while all go on asking: nothing is lost, or done twice.

    But for what a worker has in hand that is killed meanwhile, or that is late to come back.
    """
    confirmed: list[str] = []
    stop = threading.Event()

    async def push(url: str, port: int) -> None:
        # One takes a refusal for an answer, the other follows the slot at once.
        ours, theirs = Producer(url, KEY, 1_000_000), RedisCluster("127.0.0.1", port)
        for number in itertools.count():
            item = f"nap 0.02 {'fail' if number % 20 == 19 else ''} {number}"
            with contextlib.suppress(RedisError):
                await ours.push(f"{item} ours")
                confirmed.append(f"{item} ours")
            theirs.lpush(KEY, f"{item} theirs")
            confirmed.append(f"{item} theirs")
            if stop.wait(0.01):
                break
        await ours.close()
        theirs.close()

    with Cluster(folder) as cluster:
        url = f"redis+cluster://127.0.0.1:{cluster.there.port}"
        workers = at(cluster.here, url)
        for _ in range(3):
            workers.start(concurrency=4, max_attempts=2)
        fill(cluster.here.client)
        load = threading.Thread(
            target=asyncio.run, args=(push(url, cluster.there.port),), daemon=True
        )
        load.start()

        def asked() -> int:
            """How often a worker has asked the node that the slot leaves."""
            stats = cluster.here.client.info("commandstats")["cmdstat_evalsha"]
            return int(stats["calls"] + stats["rejected_calls"])

        def flowing(so_far: int) -> bool:
            """Whether an item of each producer is done that was pushed since."""
            done = workers.ended().keys() & set(confirmed[so_far:])
            return len({item.split()[-1] for item in done}) == 2

        try:
            for first in ("hand", "next"):
                so_far = len(confirmed)
                workers.eventually(lambda so_far=so_far: flowing(so_far), within=30)  # type: ignore[misc]
                for name in sorted(cluster.begin(), key=lambda name: f":{first}" not in name):
                    cluster.move(name)
                    before = asked()
                    workers.eventually(lambda before=before: asked() > before)  # type: ignore[misc]
                if first == "next":
                    workers.kill(workers.all[0])
                cluster.end()
                workers.redis = cluster.here
            so_far = len(confirmed)
            workers.eventually(lambda: flowing(so_far), within=30)
        finally:
            stop.set()
            load.join()

        waiting = {"x#1 0 1 late": 1.0}, {"x#2 2 0 nap 0.01 suspect": 1.0}
        for key, members in zip(keys(KEY)[2:4], waiting, strict=True):
            cluster.here.client.zadd(key, members)
        workers.eventually(workers.at_rest, within=30)
        ended = workers.ended()
        failed = Counter(entry[b"item"].decode() for entry in workers.dead())
        assert {*confirmed, "late", "nap 0.01 suspect"} <= {*ended, *failed}
        twice = {item for item, count in (ended + failed).items() if count > 1}
        excused = {
            item
            for worker, log in zip(workers.all, workers.logs, strict=True)
            if worker.returncode is not None or "taken for dead" in log.read_text()
            for item in workers.told("start", worker.pid)
        }
        assert twice <= excused, workers.report()
        assert len(confirmed) >= 20
