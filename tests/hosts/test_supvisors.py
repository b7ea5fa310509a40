"""Three supervisords as one by Supvisors, beside our own plugin, on the shipped example."""

import shutil
import subprocess

import pytest

from ..launchers import SCRIPTS
from ..layout import ROOT
from .conftest import AddHost, Store
from .host import Host
from .test_hosts import worked

pytest.importorskip("supvisors", reason="needs the package supvisors")

JOBS = {"jobs:beat_00", "jobs:worker_00", "jobs:worker_01", "jobs:worker_02"}


@pytest.fixture
def hosts(store: Store, add_host: AddHost) -> list[Host]:
    """Supvisors has started its application; it waits some seconds for all hosts first."""
    hosts = [add_host(store.url) for _ in range(3)]
    for host in hosts:
        for name in ("supvisors.conf", "supvisors.xml"):
            source = ROOT / "supervisord.d" / name
            shipped = source if source.exists() else source.with_suffix(".conf.example")
            shutil.copy(shipped, host.folder / "supervisord.d" / name)
        host.override("few", "[fcgi-program:app]\nnumprocs = 1\n")
        host.start("--identifier", f"host{host.number}")
    hosts[0].eventually(lambda: where(hosts).keys() == JOBS, within=60)
    return hosts


def where(hosts: list[Host]) -> dict[str, int]:
    """Program of the application -> number of the host where it runs; none runs twice."""
    found: dict[str, int] = {}
    for host in hosts:
        for name in host.running() & JOBS:
            assert name not in found
            found[name] = host.number
    return found


def supvisors(host: Host, *words: str) -> str:
    command = [str(SCRIPTS / "supvisorsctl"), "-s", f"http://{host.address}:9001"]
    login = ["-u", "local", "-p", "local"]
    done = subprocess.run(
        host.network.on_hub(*command, *login, *words), capture_output=True, text=True, timeout=60
    )
    return done.stdout + done.stderr


@pytest.mark.timeout(240)  # Supvisors takes its time over each step
def test_all_hosts_are_one_application(hosts: list[Host]) -> None:
    """Asked on any host: each worker runs once, on a host of its own; then none; then all again.

    Our own plugin works meanwhile in the same supervisord. When the host with beat and a worker
    loses its power, Supvisors starts both on the others.
    """
    assert hosts[0].ctl("ready").returncode == 0
    assert hosts[0].ctl("roll", "app:*").returncode == 0
    assert len({where(hosts)[f"jobs:worker_0{number}"] for number in range(3)}) == 3
    hosts[0].eventually(lambda: sum(worked(hosts).values()) >= 3)
    # Refused until all instances agree that the start is over.
    hosts[1].eventually(lambda: "stopped" in supvisors(hosts[1], "stop_application", "jobs"))
    hosts[0].eventually(lambda: not where(hosts))
    start = ("start_application", "LESS_LOADED", "jobs")
    hosts[2].eventually(lambda: "started" in supvisors(hosts[2], *start))
    hosts[0].eventually(lambda: where(hosts).keys() == JOBS)

    lost = hosts[where(hosts)["jobs:beat_00"] - 1]
    others = [host for host in hosts if host is not lost]
    lost.kill()
    others[0].eventually(lambda: where(others).keys() == JOBS, within=40)
    done = sum(worked(others).values())
    others[0].eventually(lambda: sum(worked(others).values()) >= done + 3)
