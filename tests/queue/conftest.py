import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from example.runtime import producer

from ..server import Server, server_programs
from .workers import Workers


@pytest.fixture(params=server_programs())
def each_redis(request: pytest.FixtureRequest, folder: Path) -> Iterator[Server]:
    """A real server, started; of each kind that is here in turn."""
    with Server(folder / "redis", program=server_programs()[request.param]) as server:
        yield server


@pytest.fixture
def workers(folder: Path, redis: Server) -> Iterator[Workers]:
    """For worker processes on `redis`."""
    made = Workers(folder, redis)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def frozen(redis: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A Redis that accepts connections and answers nothing; a push has half a second."""
    monkeypatch.setattr(producer, "PUSH_SECONDS", 0.5)
    redis.signal(signal.SIGSTOP)
    yield redis
    redis.signal(signal.SIGCONT)


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
