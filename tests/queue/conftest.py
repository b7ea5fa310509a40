from collections.abc import Iterator
from pathlib import Path

import pytest

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
