import os
from collections.abc import Callable, Iterator

import pytest

from .container import Container

STORE = ("valkey-server", "--bind", "*", "--protected-mode", "no", "--save", "")

Start = Callable[..., Container]


@pytest.fixture(scope="session")
def image() -> str:
    if "IMAGE" not in os.environ:
        pytest.skip("no image: scripts/test --image builds it where docker or podman runs")
    return os.environ["IMAGE"]


@pytest.fixture
def start(image: str) -> Iterator[Start]:
    """Starts a container: start("--read-only", command=("true",), BEAT="0")."""
    started: list[Container] = []

    def begin(*options: str, command: tuple[str, ...] = (), **environ: str) -> Container:
        started.append(Container(image, *options, command=command, **environ))
        return started[-1]

    try:
        yield begin
    finally:
        for container in started:
            container.remove()


@pytest.fixture
def store_url(start: Start) -> str:
    """REDIS_URL of a server in a container of its own."""
    store = start(command=STORE)
    store.eventually(lambda: "Ready to accept connections" in store.logs())
    return f"redis://{store.address()}"
