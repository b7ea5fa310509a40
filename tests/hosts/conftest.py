from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from ..server import server_program
from ..waiting import eventually
from .host import Host
from .network import HUB_ADDRESS, Network, missing

AddHost = Callable[..., Host]


class Store:
    """A server on the hub; the test itself reaches it through a socket file."""

    def __init__(self, network: Network, folder: Path, port: int = 6379, *options: str) -> None:
        self.network = network
        self.folder = folder
        self.address = HUB_ADDRESS
        self.port = port
        self.url = f"redis://{HUB_ADDRESS}:{port}"
        self.options = options
        self.client = redis.Redis(unix_socket_path=f"{folder}/s")
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        options = f"--bind {HUB_ADDRESS} --port {self.port} --unixsocket {self.folder}/s"
        safety = ["--protected-mode", "no", "--appendonly", "yes", "--save", ""]
        command = [server_program(), *options.split(), *safety, *self.options]
        self.process = self.network.start(self.network.on_hub(*command), self.folder)
        eventually(self.answers, report=(self.folder / "stdout").read_text)

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def network(folder: Path) -> Iterator[Network]:
    if reason := missing():
        pytest.skip(f"no hosts: {reason}")
    network = Network(folder)
    try:
        yield network
    finally:
        network.close()


@pytest.fixture
def store(network: Network, folder: Path) -> Iterator[Store]:
    store = Store(network, folder / "redis")
    yield store
    store.client.close()


@pytest.fixture
def add_host(network: Network, folder: Path) -> AddHost:
    """Prepares a host that is not started yet: add_host(store.url, LOG_LEVEL="debug")."""

    def add(redis_url: str, **environ: str) -> Host:
        return Host(network, folder / f"h{network.hosts + 1}", redis_url, **environ)

    return add


@pytest.fixture
def hosts(store: Store, add_host: AddHost) -> list[Host]:
    """Three hosts with one Redis, all ready; an item takes two seconds, eight at a time."""
    hosts = [add_host(store.url, CONCURRENCY="8") for _ in range(3)]
    for host in hosts:
        host.only(beat=1, worker=1)
        host.work_slowly(2)
        host.start()
    for host in hosts:
        host.ready()
    return hosts
