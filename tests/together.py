"""Which tests run in one process: those of a file whose fixtures are made once for all of them.

xdist's own `loadgroup` does not see its marker under pytest 9.2, and each process made them anew.
"""

import functools

import pytest
from xdist.scheduler import LoadScopeScheduling


class Together(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out such files as a whole, and all other tests one by one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return file if _shares(self.config, file) else nodeid


@functools.cache
def _shares(config: pytest.Config, file: str) -> bool:
    return 'scope="module"' in (config.rootpath / file).read_text()
