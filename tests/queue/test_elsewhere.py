"""Redis at an address that may change, or behind sentinels or TLS."""

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from example.settings import Settings

from ..server import Server, free_port, server_programs
from ..waiting import eventually
from .test_trouble import Proxy
from .workers import Workers


def in_step(replica: Server) -> bool:
    info = replica.client.info("replication")
    return bool(info["master_link_status"] == "up")


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
    """rediss:// with a certificate that is checked. What to do about an unknown CA is told."""
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
        workers = at(server, settings_url(f"rediss://localhost:{port}"))
        workers.launch()
        workers.eventually(lambda: "Name the file of its CA: ?ssl_ca_certs=" in workers.log())
