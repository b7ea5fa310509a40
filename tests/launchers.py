"""The ways to start the programs, each as a person would: `start`, `output`, `stop`."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .api import Api
from .server import Server, free_port
from .waiting import eventually

# Where .venv leads to now, as the scripts in it name their Python.
SCRIPTS = Path(sys.executable).parent.resolve()
T = TypeVar("T")

# The article's main.py, word for word.
ARTICLE = """\
import multiprocessing as mp

import example

if __name__ == "__main__":
    app = mp.Process(target=example.start_app)
    beat = mp.Process(target=example.start_beat)
    worker = mp.Process(target=example.start_worker)
    app.start()
    beat.start()
    worker.start()
    app.join()
    beat.join()
    worker.join()
"""


def handed_on() -> dict[str, str]:
    """What programs inherit from the tests' environment: coverage, and the demo files."""
    return {
        name: value
        for name, value in os.environ.items()
        if name == "PYTHONPATH" or name.startswith("COVERAGE_")
    }


class Launcher(Api):
    """Commands that run together in one folder, with their output in one file."""

    def __init__(self, folder: Path, redis: Server, *commands: list[str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.commands = [[word.format(port=self.port) for word in each] for each in commands]
        self.environ = {
            "PATH": f"{SCRIPTS}:/usr/bin:/bin",
            "REDIS_URL": redis.url,
            "PORT": str(self.port),
            **handed_on(),
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.out = folder / "stdout"

    def start(self, stdout: int | None = None) -> None:
        """Start the commands, their output to `stdout` or else into the file `out`."""
        for command in self.commands:
            with open(self.out, "ab") as out:
                process = subprocess.Popen(
                    command,
                    executable=SCRIPTS / command[0],
                    cwd=self.folder,
                    env=self.environ,
                    stdin=subprocess.DEVNULL,
                    stdout=out if stdout is None else stdout,
                    stderr=out if stdout is None else stdout,
                    # Its number is on all that come of the command, orphans too: see living().
                    start_new_session=True,
                )
            self.processes.append(process)

    def stdout(self) -> str:
        """All that the commands have written so far."""
        return self.out.read_text(errors="replace")

    def works(self) -> None:
        """Wait until the API answers, and pushes are made and worked."""
        self.eventually(self.answers)
        self.eventually(lambda: self.stdout().count("PUSH") >= 2)
        self.eventually(lambda: "WORKING: OK: " in self.stdout())

    def eventually(self, check: Callable[[], T], within: float = 15.0) -> T:
        return eventually(check, within, self.report)

    def report(self) -> str:
        return "\n".join(self.stdout().splitlines()[-40:])

    def living(self) -> set[int]:
        """All processes that live: those started here, and their descendants."""
        started = {process.pid for process in self.processes}
        found = set()
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat", "rb") as stat:
                    state, _, _, session = stat.read().rpartition(b")")[2].split()[:4]
            except OSError:
                continue
            if int(session) in started and state != b"Z":
                found.add(int(pid))
        return found

    def stop(self, number: int = signal.SIGTERM) -> list[int]:
        """Signal what was started; returns each one's exit status once all have ended."""
        for process in self.processes:
            process.send_signal(number)
        return [process.wait(20) for process in self.processes]

    def close(self) -> None:
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()


def lives(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def open_files(pid: int) -> list[str]:
    """What the process has open, in words of /proc; some of it may be closed meanwhile."""
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(each))
    return found


def scripts(folder: Path, redis: Server) -> Launcher:
    """Each console script alone."""
    return Launcher(folder, redis, ["example-app"], ["example-beat"], ["example-worker"])


def sandboxed(folder: Path, redis: Server) -> Launcher:
    """Each console script where a sandbox hides the kernel's random numbers and boot's name."""
    hide = "mount -t tmpfs none /proc/sys/kernel/random && exec"
    names = ("example-app", "example-beat", "example-worker")
    return Launcher(
        folder, redis, *(["/usr/bin/unshare", "-m", "sh", "-c", f"{hide} {name}"] for name in names)
    )


def only_app(folder: Path, redis: Server) -> Launcher:
    """The console script of app alone."""
    return Launcher(folder, redis, ["example-app"])


def uvicorn(folder: Path, redis: Server) -> Launcher:
    """The uvicorn command for app, console scripts for the others."""
    app = ["uvicorn", "example:app", "--port", "{port}"]
    return Launcher(folder, redis, app, ["example-beat"], ["example-worker"])


def parent(folder: Path, redis: Server) -> Launcher:
    """python -m example."""
    return Launcher(folder, redis, [Path(sys.executable).name, "-m", "example"])


def article(folder: Path, redis: Server) -> Launcher:
    """The article's main.py."""
    (folder / "main.py").write_text(ARTICLE)
    return Launcher(folder, redis, [Path(sys.executable).name, "main.py"])
