from collections.abc import Callable

import pytest

from ..layout import ROOT, Layout
from ..server import Server


@pytest.fixture(autouse=True)
def _your_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the package has your files, and not those of tests/demo/."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def layout(launch: Callable[..., Layout], redis: Server) -> Layout:
    """All programs of your supervisord.conf, up and ready, however your code logs."""
    return started(launch(Layout, redis))


@pytest.fixture
def only(launch: Callable[..., Layout], redis: Server) -> Callable[..., Layout]:
    """The same, with so many processes of these programs alone: only(app=2, worker=1)."""

    def start(**processes: int) -> Layout:
        layout = launch(Layout, redis)
        layout.only(**processes)
        return started(layout)

    return start


def started(layout: Layout) -> Layout:
    layout.start()
    layout.all_ready()
    return layout
