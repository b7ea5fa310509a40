"""A real supervisord on a configuration that is not the project's: plain shell programs."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .. import asking, quick_ctl
from ..launchers import SCRIPTS, handed_on, lives
from ..waiting import eventually

T = TypeVar("T")

BASE = """
[supervisord]
nodaemon = true
logfile = %(here)s/supervisord.log
pidfile = %(here)s/supervisord.pid
childlogdir = %(here)s

[unix_http_server]
file = %(here)s/s.sock
username = local
password = local

[supervisorctl]
serverurl = unix://%(here)s/s.sock
username = local
password = local

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

"""
CTL = """
[ctlplugin:supervision]
supervisor.ctl_factory = example.supervision.ctl:make
"""
PLUGIN = """
[rpcinterface:supervision]
supervisor.rpcinterface_factory = example.supervision:make
"""
EVENTS = "stdout_events_enabled = true\nstderr_events_enabled = true\n"


class Foreign:
    """supervisord with these programs; `plugin` are the lines of our section, None for none.

    `logs` is on unless those lines say otherwise: tests read in stdout what programs say.
    """

    def __init__(self, folder: Path, programs: str, plugin: str | None = "", **environ: str):
        self.folder = folder
        self.conf = folder / "supervisord.conf"
        self.socket = folder / "s.sock"
        self.write(programs, plugin)
        self.environ = {
            "PATH": f"{SCRIPTS}:/usr/local/bin:/usr/bin:/bin",
            **handed_on(),
            **environ,
        }
        self.command: list[str | Path] = [SCRIPTS / "supervisord", "-c", self.conf]
        self.process: subprocess.Popen[bytes] | None = None
        self.pids: set[int] = set()

    def write(self, programs: str, plugin: str | None = "") -> None:
        own = "" if plugin is None else CTL + PLUGIN + plugin
        logs = "" if plugin is None or "logs =" in plugin else "\nlogs = on"
        self.conf.write_text(BASE + own + logs + "\n" + programs)

    def start(self, stdout: int | None = None, stderr: int | None = None) -> "Foreign":
        """Start, and wait until supervisorctl has an answer."""
        self.spawn(stdout, stderr)
        self.eventually(self.answers)
        return self

    def spawn(
        self, stdout: int | None = None, stderr: int | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start, and wait for nothing."""
        with open(self.folder / "stdout", "ab") as out:
            self.process = subprocess.Popen(
                self.command,
                cwd="/",
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=stderr or (subprocess.STDOUT if stdout is None else out),
            )
        return self.process

    def answers(self) -> bool:
        return asking.answers(self.socket)

    def ctl(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return quick_ctl.ctl(
            "-c", self.conf, *words, cwd=self.folder, environ=self.environ, timeout=timeout
        )

    def ctl_popen(self, *words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start supervisorctl without waiting. It heeds Ctrl-C even if the tests do not."""
        return subprocess.Popen(
            [SCRIPTS / "supervisorctl", "-c", self.conf, *words],
            env=self.environ,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def ask(self, method: str, *words: Any) -> Any:
        """Ask what supervisorctl asks, without the time that supervisorctl takes to start."""
        return asking.ask(self.socket, f"supervisor.{method}", *words)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Process -> what `supervisorctl ready` makes its line of."""
        return {row["name"]: row for row in asking.ask(self.socket, "supervision.ready")}

    def ready(self, *names: str) -> None:
        """Wait until all are ready, or these programs or processes."""
        self.eventually(lambda: asking.ready(self.socket, *names))

    def restart(self, *names: str) -> None:
        for name in names:
            self.ask("stopProcess", name)
            self.ask("startProcess", name)

    def reload(self) -> None:
        """Wait until supervisord has begun anew, once more than so far."""
        so_far = self.log().count("supervisord started")
        self.ask("restart")
        self.eventually(lambda: self.log().count("supervisord started") > so_far)

    def table(self) -> dict[str, str]:
        """Process -> state; nothing while supervisord is away."""
        return {name: state for name, (state, _) in asking.table(self.socket).items()}

    def pid(self, name: str) -> int:
        pid = int(self.ask("getProcessInfo", name)["pid"])
        assert pid, f"{name} is not running"
        self.pids.add(pid)
        return pid

    def running(self, *names: str) -> None:
        """Wait until these processes are RUNNING."""
        self.eventually(lambda: all(self.table().get(name) == "RUNNING" for name in names))
        for name in names:
            self.pid(name)

    def replaced(self, name: str, old: int) -> None:
        """Wait until another process than `old` runs under this name."""
        self.eventually(lambda: self.table().get(name) == "RUNNING" and self.pid(name) != old)

    def stdout(self) -> str:
        return (self.folder / "stdout").read_text(errors="replace")

    def log(self) -> str:
        """supervisord's own log file."""
        return (self.folder / "supervisord.log").read_text(errors="replace")

    def term(self, within: float = 20) -> int:
        """TERM to supervisord; returns its exit status."""
        assert self.process
        self.process.terminate()
        return self.process.wait(within)

    def wait(self, within: float = 20) -> int:
        """Wait until supervisord ends by itself; returns its exit status."""
        assert self.process
        return self.process.wait(within)

    def lives(self) -> bool:
        """Whether supervisord is there and answers."""
        assert self.process
        return self.process.poll() is None and self.answers()

    def eventually(self, check: Callable[[], T], within: float = 15.0) -> T:
        return eventually(check, within, self.report)

    def report(self) -> str:
        parts = (self.ctl("status").stdout, self.log()[-4000:], self.stdout()[-4000:])
        return "\n---\n".join(parts)

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in self.pids:
            if lives(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
