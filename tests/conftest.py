import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .layout import Layout
from .server import Server


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary directory with a path short enough for a Unix socket in it."""
    path = Path(tempfile.mkdtemp(prefix="ex", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def redis(folder: Path) -> Iterator[Server]:
    """A real server, started."""
    with Server(folder / "redis") as server:
        yield server


@pytest.fixture
def make_layout(folder: Path) -> Iterator[Callable[..., Layout]]:
    """Makes a layout that is not started yet: make_layout(server, NAME="value", …)."""
    made: list[Layout] = []

    def make(server: Server, **environ: str) -> Layout:
        home = folder / f"layout{len(made)}"
        home.mkdir()
        made.append(Layout(home, server, environ))
        return made[-1]

    try:
        yield make
    finally:
        for layout in made:
            layout.close()


@pytest.fixture
def layout(make_layout: Callable[..., Layout], redis: Server) -> Layout:
    """Everything up and ready."""
    layout = make_layout(redis)
    layout.start()
    layout.ready()
    return layout
