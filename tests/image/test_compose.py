"""compose.yaml, brought up for real."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from ..server import free_port
from ..waiting import eventually
from .conftest import STORE
from .container import LIMITS, run, tool

ROOT = Path(__file__).parent.parent.parent

# The server that compose.yaml names comes from a registry; this one is in our image already.
OVERRIDE = """
services:
  redis:
    image: {image}
    ulimits: {limits}
    command: {store}
  web: {{image: {image}, ulimits: {limits}}}
  beat: {{image: {image}, ulimits: {limits}}}
  worker: {{image: {image}, ulimits: {limits}}}
"""


class Compose:
    def __init__(self, folder: Path, image: str) -> None:
        pairs = [each.removeprefix("--ulimit=").split("=") for each in LIMITS]
        limits = {name: int(value.partition(":")[0]) for name, value in pairs}
        override = folder / "override.yaml"
        override.write_text(OVERRIDE.format(image=image, store=json.dumps(STORE), limits=limits))
        self.project = folder.name
        self.port = free_port()
        command = {
            "docker": ["docker", "compose"],
            "podman": [sys.executable, "-m", "podman_compose"],
        }[tool()]
        files = ["-f", str(ROOT / "compose.yaml"), "-f", str(override)]
        self.command = [*command, "-p", self.project, *files]

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            [*self.command, *words],
            env=os.environ | {"PORT": str(self.port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def remove(self) -> None:
        self("down", "--volumes", "--timeout=10")
        # podman-compose's own `down` forgets the containers that --scale has added.
        for each in self.containers():
            run("rm", "--force", "--volumes", each)
        self("down", "--volumes")

    def containers(self, service: str = "") -> list[str]:
        labels = [f"project={self.project}"] + [f"service={service}"] * bool(service)
        filters = [f"--filter=label=com.docker.compose.{label}" for label in labels]
        return run("ps", "--quiet", *filters).stdout.split()

    def ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.read() == b"ok")
        except OSError:
            return False

    def logs(self, service: str) -> list[str]:
        return [run("logs", each).stdout for each in self.containers(service)]


@pytest.fixture
def compose(folder: Path, image: str) -> Iterator[Compose]:
    if tool() == "podman" and "cni" in run("info", "--format={{.Host.NetworkBackend}}").stdout:
        pytest.skip("containers do not find each other by name: install netavark and aardvark-dns")
    compose = Compose(folder, image)
    try:
        yield compose
    finally:
        compose.remove()


def test_the_roles_work_together_and_three_workers_share(compose: Compose) -> None:
    """`up --scale worker=3`: the API answers, and where one worker stops, another goes on.

    Which idle worker gets the one item a second is Redis's choice: it may be the same each time.
    """
    compose("up", "--detach", "--no-build", "--scale", "worker=3")
    workers = set(compose.containers("worker"))
    assert len(workers) == 3
    eventually(compose.ready, within=20)

    def at_work() -> set[str]:
        return {each for each in workers if "WORKING: OK: " in run("logs", each).stdout}

    def report() -> str:
        return "\n".join(compose.logs("worker"))

    eventually(
        lambda: all("worker ready: " in log for log in compose.logs("worker")),
        within=20,
        report=report,
    )
    stopped = eventually(at_work, within=20, report=report)
    for each in stopped:
        run("stop", each)
    if stopped < workers:
        eventually(lambda: at_work() > stopped, within=20, report=report)
