"""Programs of the tests without the time of their imports: forked from a process that has them."""

import os
from multiprocessing import forkserver, get_context
from pathlib import Path

# One server of forks for all that a process of pytest runs.
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *("tests.quick_ctl", "supervisor.supervisorctl", "example.supervision.ctl"),
        *("tests.queue.workers", "example.runtime.process", "example.runtime.worker"),
    ]
)


def become_program(environ: dict[str, str], out: Path, err: Path) -> None:
    """In a fork: take this environment, and write to these files, which are there."""
    # The server of forks waits until nobody holds this descriptor. It is to end when pytest does,
    # even if this fork goes on.
    os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environ)
