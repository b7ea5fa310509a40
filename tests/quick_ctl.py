"""supervisorctl without the time that it takes to start."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from .forks import FORKS, become_program
from .launchers import SCRIPTS


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


def _call(command: list[str], cwd: Path, environ: dict[str, str], out: Path, err: Path) -> None:
    from supervisor.supervisorctl import main

    become_program(environ, out, err)
    os.chdir(cwd)
    sys.path[:0] = filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = command
    main()
