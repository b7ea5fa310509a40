import pytest

from ..layout import ROOT


@pytest.fixture(autouse=True)
def _your_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the package has your files, and not those of tests/demo/."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
