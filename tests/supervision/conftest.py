from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .foreign import Foreign


@pytest.fixture
def foreign(folder: Path) -> Iterator[Callable[..., Foreign]]:
    """Makes a supervisord that is not started yet: foreign("[program:x]…", "wake = off")."""
    made: list[Foreign] = []

    def make(programs: str, plugin: str | None = "", **environ: str) -> Foreign:
        made.append(Foreign(folder, programs, plugin, **environ))
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.close()
