from collections.abc import Iterator
from pathlib import Path

import pytest

from ..server import Server, server_programs


@pytest.fixture(params=server_programs())
def redis(request: pytest.FixtureRequest, folder: Path) -> Iterator[Server]:
    """A real server, started; of each kind that is here in turn."""
    with Server(folder / "redis", program=server_programs()[request.param]) as server:
        yield server
