import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .launchers import Launcher
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
def launch(folder: Path) -> Iterator[Callable[..., Any]]:
    """Prepares a launcher in a folder of its own, not started: launch(parent, server, NAME="x")."""
    made: list[Launcher] = []

    def prepare(
        kind: Callable[[Path, Server], Launcher], server: Server, **environ: str
    ) -> Launcher:
        home = folder / f"l{len(made)}"
        home.mkdir()
        made.append(kind(home, server))
        made[-1].environ |= environ
        return made[-1]

    try:
        yield prepare
    finally:
        for launcher in made:
            launcher.close()


@pytest.fixture
def layout(launch: Callable[..., Any], redis: Server) -> Layout:
    """Everything up and ready under supervisord."""
    layout: Layout = launch(Layout, redis)
    layout.start()
    layout.ready()
    return layout
