"""The shipped supervisord.conf, started for real in a short temporary directory."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from . import asking, quick_ctl
from .launchers import Launcher
from .server import Server

ROOT = Path(__file__).parent.parent
SHIPPED = {"app": 2, "beat": 2, "worker": 1, "redis": 1}


def only(**processes: int) -> str:
    """A drop-in for so many processes of these programs, and none of the others."""
    programs = re.findall(
        r"(?m)^\[((?:fcgi-)?program):([\w-]+)\]", (ROOT / "supervisord.conf").read_text()
    )
    return "".join(
        f"[{kind}:{name}]\nnumprocs = {processes.get(name, 0)}\n" for kind, name in programs
    )


class Layout(Launcher):
    """supervisord on the project's own configuration, in words of the domain.

    Programs are named as supervisorctl does: beat:beat_00, app:app_00, worker:worker_00; where any
    of a group will do, app, beat and worker mean the first.
    """

    def __init__(self, folder: Path, redis: Server) -> None:
        super().__init__(folder, redis, ["supervisord", "-c", f"{folder}/supervisord.conf"])
        self.redis = redis
        self.socket = folder / "var" / "supervisor.sock"
        self.socket.parent.mkdir()
        (folder / "supervisord.d").mkdir()
        shutil.copy(ROOT / "supervisord.conf", folder)
        # In the file, since supervisord binds before any program reads PORT.
        del self.environ["PORT"]
        self.override("port", f"[fcgi-program:app]\nsocket = tcp://127.0.0.1:{self.port}\n")
        self.counts = SHIPPED

    # what a person does

    def override(self, name: str, text: str) -> None:
        """Add a drop-in before start."""
        (self.folder / "supervisord.d" / f"{name}.conf").write_text(text)

    def only(self, **processes: int) -> None:
        """Before start: so many processes of these programs, and none of the others."""
        self.counts = processes
        self.override("only", only(**processes))

    def start(self, stdout: int | None = None) -> None:
        super().start(stdout)
        self.eventually(lambda: asking.answers(self.socket))

    def ctl(self, *words: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """supervisorctl from the layout's folder, without flags."""
        done = quick_ctl.ctl(*words, cwd=self.folder, environ=self.environ)
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def rpc(self, method: str, *words: Any) -> Any:
        """Ask what supervisorctl asks, without the time that supervisorctl takes to start."""
        return asking.ask(self.socket, method, *words)

    def push(self, item: bytes) -> None:
        self.redis.client.lpush("TESTING", item)

    def signal(self, program: str, name: str) -> None:
        os.kill(self.pid(program), signal.Signals[f"SIG{name}"])

    def shutdown(self) -> int:
        """TERM to supervisord; returns its exit status."""
        return self.stop()[0]

    # what a person sees

    def table(self) -> dict[str, tuple[str, int]]:
        """Program -> (state, pid or 0), as `supervisorctl status` shows them."""
        return asking.table(self.socket)

    def status(self, program: str) -> str:
        return self.table()[_full(program)][0]

    def running(self) -> set[str]:
        return {name for name, (state, _) in self.table().items() if state == "RUNNING"}

    def replaced(self, program: str, old: int) -> None:
        """Wait until another process than `old` runs under this name."""
        name = _full(program)
        self.eventually(lambda: self.table().get(name, ("", 0))[1] not in (0, old))

    def pid(self, program: str) -> int:
        """Of a program that runs, or soon will: in its first second one that is ready may not."""
        return self.eventually(lambda: self.table()[_full(program)][1])

    def log(self, program: str) -> str:
        """All that the program's log file holds so far."""
        log = self.folder / "var" / f"{_full(program).rpartition(':')[2]}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def said(self, program: str, text: str) -> bool:
        return text in self.log(program)

    def report(self) -> str:
        logs = [self.out, *sorted((self.folder / "var").glob("*.log"))]
        tails = (
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            for log in logs
        )
        return "\n".join([self.ctl("status").stdout, *tails])

    def ready(self) -> None:
        """Wait until every program runs and has said that it is ready."""
        names = {
            f"{program}:{program}_{number:02d}"
            for program, count in self.counts.items()
            for number in range(count)
            if program != "redis"
        }
        self.eventually(lambda: names <= self.running())
        self.eventually(lambda: all(self.said(each, "ready: ") for each in names))

    def all_ready(self, *programs: str) -> None:
        """Wait until supervisorctl calls all ready, or these."""
        self.eventually(lambda: asking.ready(self.socket, *programs), within=30)


def _full(program: str) -> str:
    return f"{program}:{program}_00" if program in ("app", "beat", "worker") else program
