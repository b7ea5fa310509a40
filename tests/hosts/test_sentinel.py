"""Redis with a replica and three sentinels: a fail-over while hosts are at work."""

from pathlib import Path

import pytest

from ..server import server_program
from ..waiting import eventually
from .conftest import AddHost, Store
from .host import Host
from .network import HUB_ADDRESS, Network
from .test_hosts import names, push, worked

PORTS = (26379, 26380, 26381)
URL = f"redis+sentinel://{','.join(f'{HUB_ADDRESS}:{port}' for port in PORTS)}/main"
SENTINEL = """
port {port}
dir {folder}
protected-mode no
sentinel monitor main {address} 6379 2
sentinel down-after-milliseconds main 1000
sentinel failover-timeout main 5000
"""


@pytest.fixture
def replica(network: Network, store: Store, folder: Path) -> Store:
    """Follows `store`, and three sentinels know both."""
    replica = Store(network, folder / "replica", 6380, "--replicaof", HUB_ADDRESS, str(store.port))
    eventually(lambda: replica.client.info()["master_link_status"] == "up")
    for port in PORTS:
        place = folder / f"sentinel{port}"
        place.mkdir()
        (place / "sentinel.conf").write_text(
            SENTINEL.format(port=port, folder=place, address=HUB_ADDRESS)
        )
        command = [server_program(), "sentinel.conf", "--sentinel"]
        network.start(network.on_hub(*command), place)

    def all_know() -> bool:
        logs = [(folder / f"sentinel{port}" / "stdout").read_text() for port in PORTS]
        return all("+slave" in log and log.count("+sentinel ") == 2 for log in logs)

    eventually(all_know, within=20)
    return replica


@pytest.fixture
def hosts(replica: Store, add_host: AddHost) -> list[Host]:
    hosts = [add_host(URL) for _ in range(2)]
    for host in hosts:
        host.only(beat=1, worker=1)
        host.work_slowly(0.2)
        host.start()
    for host in hosts:
        host.ready()
    return hosts


def test_a_fail_over_in_flight_loses_nothing_that_the_replica_had(
    hosts: list[Host], store: Store, replica: Store
) -> None:
    """The master is killed while items are in hand: all are worked, and beats go on."""
    push(store, "before", 200)
    hosts[0].eventually(lambda: len(worked(hosts)) > 20)
    assert store.client.wait(1, 5000) == 1
    store.kill()
    eventually(lambda: replica.client.role()[0] == b"master", within=20)
    push(replica, "after", 20)
    everything = names("before", 200) | names("after", 20)
    hosts[0].eventually(lambda: everything <= worked(hosts).keys(), within=40)
    ticks = sum(host.stdout().count("PUSH") for host in hosts)
    hosts[0].eventually(lambda: sum(host.stdout().count("PUSH") for host in hosts) > ticks + 2)
    store.start()
    eventually(lambda: store.client.role()[0] == b"slave", within=20)
    push(replica, "at last", 20)
    hosts[0].eventually(lambda: names("at last", 20) <= worked(hosts).keys())
    assert "Redis back" in hosts[0].stdout()
