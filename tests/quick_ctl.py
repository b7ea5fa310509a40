"""supervisorctl without the time that it takes to start: each call forks what has imported it."""

import os
import subprocess
import sys
from multiprocessing import forkserver, get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from .launchers import SCRIPTS

FORKS = get_context("forkserver")
# Also what tests/queue forks: there is one server of forks for all that a process of pytest runs.
FORKS.set_forkserver_preload(
    [
        *(__name__, "supervisor.supervisorctl", "example.supervision.ctl"),
        *("tests.queue.workers", "example.runtime.process", "example.runtime.worker"),
    ]
)


def ctl(
    *words: str | Path, cwd: Path, environ: dict[str, str], timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run supervisorctl itself with these words, in this folder and environment.

    Raises:
        subprocess.TimeoutExpired: it has not ended after so many seconds.
    """
    command = [str(SCRIPTS / "supervisorctl"), *map(str, words)]
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        out.touch()
        err.touch()
        call = FORKS.Process(target=_call, args=(command, cwd, environ, out, err))
        call.start()
        call.join(timeout)
        if call.exitcode is None:
            call.kill()
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, call.exitcode, out.read_text(), err.read_text())


def hold_no_server() -> None:
    """In a fork: let the server of forks end when pytest does, even if this fork goes on.

    The server waits until nobody holds this descriptor, and each fork has it too.
    """
    os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]


def _call(command: list[str], cwd: Path, environ: dict[str, str], out: Path, err: Path) -> None:
    from supervisor.supervisorctl import main

    hold_no_server()
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    sys.path[:0] = filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = command
    main()
