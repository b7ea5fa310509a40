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
    layout = launch(Layout, redis)
    layout.start()
    layout.all_ready()
    # In its first second also a program that is ready may be STARTING.
    layout.eventually(lambda: "STARTING" not in dict(layout.table().values()))
    return layout
