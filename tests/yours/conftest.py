import pytest

from ..layout import ROOT, Layout


@pytest.fixture(autouse=True)
def _your_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the package has your files, and not those of tests/demo/."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


class Yours(Layout):
    """All programs of your supervisord.conf, or some of them."""

    def ready(self) -> None:
        """Wait by their own word, since your code may log as it likes."""
        self.all_ready()


@pytest.fixture
def kind() -> type[Layout]:
    return Yours
