"""The shipped deploy/haproxy.cfg in front of three hosts."""

import csv
import json
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..layout import ROOT
from ..waiting import eventually
from .conftest import AddHost, Store
from .host import Host
from .network import HUB_ADDRESS, Network


class Load:
    """Requests through the balancer, from now on."""

    def __init__(self, network: Network, folder: Path, *methods: str) -> None:
        self.folder = folder
        script = str(Path(__file__).parent / "clients.py")
        client = [sys.executable, script, HUB_ADDRESS, "8080", *methods]
        self.process = network.start(network.on_hub(*client), folder)

    def counts(self) -> dict[str, int]:
        """Status, or the error that came instead of an answer -> how often."""
        lines = (self.folder / "stdout").read_text().splitlines()
        counts: dict[str, int] = json.loads(lines[-1]) if lines else {}
        return counts

    def goes_on(self) -> None:
        """Wait for another fifty answers."""
        before = self.counts().get("200", 0)
        eventually(
            lambda: self.counts().get("200", 0) > before + 50, 30, lambda: repr(self.counts())
        )

    def end(self) -> dict[str, int]:
        self.process.terminate()
        self.process.wait(30)
        return self.counts()


class Balancer:
    """haproxy on the hub, with the shipped file."""

    def __init__(self, network: Network, folder: Path, program: str) -> None:
        folder.mkdir()
        self.socket = str(folder / "admin.sock")
        shipped = (ROOT / "deploy" / "haproxy.cfg").read_text()
        text = shipped.replace(
            "stats socket /run/haproxy/admin.sock", f"stats socket {self.socket}"
        )
        (folder / "haproxy.cfg").write_text(text)
        network.start(network.on_hub(program, "-f", "haproxy.cfg"), folder)
        eventually(self.knows_all_hosts, report=(folder / "stdout").read_text)

    def knows_all_hosts(self) -> bool:
        try:
            return all(row["status"] == "UP" for row in self.rows())
        except OSError:
            return False

    def rows(self) -> list[dict[str, str]]:
        """What it says of each host."""
        table = self("show stat").removeprefix("# ").splitlines()
        return [row for row in csv.DictReader(table) if row["svname"].startswith("host")]

    def __call__(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(self.socket)
            admin.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode()

    def takes_out(self, host: Host) -> None:
        self(f"set server hosts/host{host.number} state drain")
        eventually(lambda: self.sessions(host) == 0, 30, lambda: self("show stat"))

    def takes_in(self, host: Host) -> None:
        self(f"set server hosts/host{host.number} state ready")

    def sessions(self, host: Host) -> int:
        """Requests that the host has in hand."""
        return sum(int(row["scur"]) for row in self.rows() if row["svname"] == f"host{host.number}")


@pytest.fixture
def start_balancer(network: Network, folder: Path) -> Callable[[], Balancer]:
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if not program:
        pytest.skip("no balancer: needs haproxy")
    return lambda: Balancer(network, folder / "haproxy", program)


@pytest.fixture
def hosts(store: Store, add_host: AddHost) -> list[Host]:
    """Three hosts, all ready."""
    hosts = [add_host(store.url) for _ in range(3)]
    for host in hosts:
        host.only(app=1)
        host.start()
    for host in hosts:
        host.ready()
    return hosts


@pytest.fixture
def balancer(hosts: list[Host], start_balancer: Callable[[], Balancer]) -> Balancer:
    return start_balancer()


@pytest.fixture
def load(network: Network, folder: Path, balancer: Balancer) -> Callable[..., Load]:
    """Starts requests of these methods: load("GET", "POST")."""
    (folder / "load").mkdir()
    return lambda *methods: Load(network, folder / "load", *methods)


def test_a_rolling_restart_of_all_hosts_fails_no_request(
    hosts: list[Host], balancer: Balancer, load: Callable[..., Load]
) -> None:
    """Each host in turn is taken out, restarts as a whole and is taken in again."""
    requests = load("GET", "POST")
    for host in hosts:
        requests.goes_on()
        balancer.takes_out(host)
        assert host.stop() == 0
        requests.goes_on()
        host.start()
        host.ready()
        balancer.takes_in(host)
    requests.goes_on()
    # 405: what POST is answered.
    assert requests.end().keys() == {"200", "405"}, requests.counts()


def test_a_killed_host_costs_at_most_what_it_had_in_hand(
    hosts: list[Host], load: Callable[..., Load]
) -> None:
    """Its power goes: one request for each connection at most fails, then the others do it all."""
    requests = load("GET")
    requests.goes_on()
    hosts[0].kill()
    requests.goes_on()
    failed = {kind: count for kind, count in requests.end().items() if kind != "200"}
    assert sum(failed.values()) <= 6, failed


DOWNLOAD = """
from urllib.request import urlopen
with urlopen("http://{address}:8080/download?seconds=6", timeout=30) as answer:
    print("begun", flush=True)
    print(answer.read()[-3:].decode(), flush=True)
"""


def test_a_restart_of_all_of_app_cuts_off_nothing(
    network: Network,
    store: Store,
    add_host: AddHost,
    folder: Path,
    api: Callable[[str], str],
    start_balancer: Callable[[], Balancer],
) -> None:
    """On each host, while running requests drain for so long that checks have to wait."""
    code = api((ROOT / "tests" / "web" / "everything.py").read_text())
    hosts = [add_host(store.url, PYTHONPATH=code, DRAIN_SECONDS="8") for _ in range(3)]
    for host in hosts:
        host.only(app=1)
        host.start()
    for host in hosts:
        host.ready()
    balancer = start_balancer()
    (folder / "client").mkdir()
    script = DOWNLOAD.format(address=HUB_ADDRESS)
    client = network.start(network.on_hub(sys.executable, "-c", script), folder / "client")
    said = folder / "client" / "stdout"
    eventually(lambda: "begun" in said.read_text(), report=said.read_text)
    for host in hosts:
        assert host.ctl("restart", "app:*").returncode == 0
    assert client.wait(30) == 0, said.read_text()
    assert said.read_text().endswith("END\n")
    assert balancer.knows_all_hosts()
