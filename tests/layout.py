"""The shipped supervisord.conf, started for real in a short temporary directory."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.request import urlopen

from .server import Server, free_port
from .waiting import eventually

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(sys.executable).parent
T = TypeVar("T")


class Layout:
    """supervisord on the project's own configuration, in words of the domain.

    Programs are named as supervisorctl does: beat, app:app_00, worker:worker_00; where a group
    has one process, or any will do, app and worker mean the first.
    """

    def __init__(self, folder: Path, redis: Server, environ: dict[str, str]) -> None:
        self.folder = folder
        self.redis = redis
        self.port = free_port()
        self.environ = {
            "PATH": f"{SCRIPTS}:/usr/local/bin:/usr/bin:/bin",
            "REDIS_URL": redis.url,
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
            **environ,
        }
        (folder / "var").mkdir()
        (folder / "supervisord.d").mkdir()
        shutil.copy(ROOT / "supervisord.conf", folder)
        self.override("port", f"[fcgi-program:app]\nsocket = tcp://127.0.0.1:{self.port}\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.pids: set[int] = set()

    # what a person does

    def override(self, name: str, text: str) -> None:
        """Add a drop-in before start."""
        (self.folder / "supervisord.d" / f"{name}.conf").write_text(text)

    def start(self) -> None:
        with open(self.folder / "stdout", "ab") as out:
            self.process = subprocess.Popen(
                ["supervisord", "-c", str(self.folder / "supervisord.conf")],
                executable=SCRIPTS / "supervisord",
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.eventually(lambda: self.ctl("status").returncode != 4)

    def ctl(self, *words: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """supervisorctl from the layout's folder, without flags."""
        done = subprocess.run(
            ["supervisorctl", *words],
            executable=SCRIPTS / "supervisorctl",
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def get(self, path: str = "/") -> str:
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def push(self, item: bytes) -> None:
        self.redis.client.lpush("TESTING", item)

    def signal(self, program: str, name: str) -> None:
        os.kill(self.pid(program), signal.Signals[f"SIG{name}"])

    def shutdown(self, within: float = 20.0) -> int:
        """TERM to supervisord; returns its exit status."""
        assert self.process
        self.remember_pids()
        self.process.terminate()
        return self.process.wait(within)

    # what a person sees

    def table(self) -> dict[str, tuple[str, int]]:
        """Program -> (state, pid or 0), as `supervisorctl status` shows them."""
        rows: dict[str, tuple[str, int]] = {}
        for line in self.ctl("status").stdout.splitlines():
            name, state, *rest = line.split()
            pid = int(rest[1].rstrip(",")) if rest[:1] == ["pid"] else 0
            rows[name] = (state, pid)
        return rows

    def status(self, program: str) -> str:
        return self.table()[_full(program)][0]

    def pid(self, program: str) -> int:
        pid = self.table()[_full(program)][1]
        assert pid, f"{program} is not running"
        self.pids.add(pid)
        return pid

    def stdout(self) -> str:
        """All that supervisord has written to its own stdout so far."""
        return (self.folder / "stdout").read_text(errors="replace")

    def said(self, program: str, text: str) -> bool:
        """Whether the program's log file holds `text`."""
        log = self.folder / "var" / f"{_full(program).rpartition(':')[2]}.log"
        return log.exists() and text in log.read_text(errors="replace")

    def eventually(self, check: Callable[[], T], within: float = 15.0) -> T:
        return eventually(check, within, self.report)

    def report(self) -> str:
        logs = [self.folder / "stdout", *sorted((self.folder / "var").glob("*.log"))]
        tails = (
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            for log in logs
        )
        return "\n".join([self.ctl("status").stdout, *tails])

    def ready(self) -> None:
        """Wait until every program runs and has said that it is ready."""
        names = ("app:app_00", "app:app_01", "beat", "worker:worker_00")
        self.eventually(lambda: all(self.status(each) == "RUNNING" for each in names))
        self.eventually(lambda: all(self.said(each, "ready: ") for each in names))
        self.remember_pids()

    # the end

    def remember_pids(self) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.pids |= {pid for _, pid in self.table().values() if pid}

    def living(self) -> set[int]:
        """Those processes of this layout that have not ended."""
        return {pid for pid in self.pids if _lives(pid)}

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.remember_pids()
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _full(program: str) -> str:
    return {"app": "app:app_00", "worker": "worker:worker_00"}.get(program, program)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
