"""A copy of the project under a name of one's own: what a person does first."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .launchers import Launcher
from .layout import ROOT
from .server import Server

MADE_HERE = shutil.ignore_patterns(".git", ".venv", "*.log", "*.sock", "*.pid", "redis", "*_cache")


def rename(copy: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [copy / "scripts" / "rename", *words], capture_output=True, text=True, timeout=60
    )


@pytest.mark.timeout(400)
def test_a_renamed_copy_installs_itself_and_serves(
    launch: Callable[..., Any], redis: Server, folder: Path
) -> None:
    copy = folder / "shop"
    shutil.copytree(ROOT, copy, ignore=MADE_HERE)
    assert rename(copy, "shop").returncode == 0
    assert not list(copy.rglob("example*"))

    def serve(folder: Path, redis: Server) -> Launcher:
        return Launcher(folder, redis, [str(copy / "scripts" / "serve")])

    started = launch(serve, redis)
    # An index, a proxy or certificates for pip may be there.
    started.environ = os.environ | started.environ
    port = f"[fcgi-program:app]\nsocket = tcp://127.0.0.1:{started.port}\n"
    (copy / "supervisord.d" / "port.conf").write_text(port)
    started.start()
    (serving,) = started.processes
    started.eventually(lambda: started.answers() or serving.poll() is not None, within=300)
    started.works()
    assert started.stop() == [0]


@pytest.mark.parametrize(
    "words", [[], ["a b"], ["Shop"], ["class"], ["json"], ["redis"], ["tests"]]
)
def test_a_name_that_cannot_be_imported_changes_nothing(folder: Path, words: list[str]) -> None:
    for part in ("scripts", "tests"):
        shutil.copytree(ROOT / part, folder / part)
    for part in ("pyproject.toml", "requirements-dev.txt"):
        shutil.copy(ROOT / part, folder)
    done = rename(folder, *words)
    assert done.returncode == 1
    assert done.stderr.startswith(("usage: scripts/rename NAME", "rename: "))
    assert (folder / "pyproject.toml").read_bytes() == (ROOT / "pyproject.toml").read_bytes()
