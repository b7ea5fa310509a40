"""A container of the image, driven from outside as an operator would."""

import functools
import json
import shutil
import subprocess
from collections.abc import Callable
from typing import Any, TypeVar

from ..api import Api
from ..server import free_port
from ..waiting import eventually

T = TypeVar("T")

HARDENED = [
    "--read-only",
    "--tmpfs=/srv/var",
    "--tmpfs=/data",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
]
# The runtime's own limits may be above what it is allowed to set, where it is itself contained.
LIMITS = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"]


@functools.cache
def hardened() -> list[str]:
    """The hardest flags. Docker's --read-only gives no /tmp; podman's does, unless told."""
    return HARDENED + ["--read-only-tmpfs=false"] * (tool() == "podman")


@functools.cache
def tool() -> str:
    """The same choice as scripts/image makes."""
    docker = shutil.which("docker")
    works = docker and subprocess.run([docker, "info"], capture_output=True).returncode == 0
    return "docker" if works else "podman"


def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """One call of docker or podman; stderr is kept with stdout."""
    done = subprocess.run(
        [tool(), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=60,
    )
    assert not check or done.returncode == 0, f"{words}: {done.stdout}"
    return done


class Container(Api):
    """Programs are named as supervisorctl does: beat:beat_00, app:app_00, worker:worker_00."""

    def __init__(self, image: str, *options: str, command: tuple[str, ...] = (), **environ: str):
        self.port = free_port()
        self.inner_port = environ.get("PORT", "5000")
        variables = [f"--env={name}={value}" for name, value in environ.items()]
        published = f"--publish=127.0.0.1:{self.port}:{self.inner_port}"
        words = ["run", "--detach", *LIMITS, published, *variables, *options, image, *command]
        self.id = run(*words).stdout.split()[-1]

    def ctl(self, *words: str, check: bool = False) -> str:
        """supervisorctl inside the container, without flags."""
        return self.exec("supervisorctl", *words, check=check).stdout

    def exec(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run("exec", self.id, *words, check=check)

    def table(self) -> dict[str, str]:
        """Program -> state."""
        rows = [line.split() for line in self.ctl("status").splitlines()]
        return {row[0]: row[1] for row in rows if len(row) > 1}

    def pid(self, program: str) -> int:
        """The program's pid, as it is inside the container."""
        return int(self.ctl("pid", program, check=True))

    def logs(self) -> str:
        return run("logs", self.id).stdout

    def healthy(self) -> bool:
        """Whether the image's HEALTHCHECK passes now."""
        command = self.inspect("Config.Healthcheck.Test")[1:]
        return self.exec(*command, check=False).returncode == 0

    def works(self) -> None:
        """Wait until the API answers, and pushes are made and worked."""
        self.eventually(self.answers)
        self.eventually(lambda: self.logs().count("PUSH") >= 2)
        self.eventually(lambda: "WORKING: OK: " in self.logs())

    def inspect(self, path: str) -> Any:
        found = json.loads(run("inspect", self.id).stdout)[0]
        return functools.reduce(lambda value, key: value[key], path.split("."), found)

    def address(self) -> str:
        """Where other containers reach this one."""
        networks = self.inspect("NetworkSettings.Networks")
        return str(next(iter(networks.values()))["IPAddress"])

    def exit_status(self) -> int:
        """Wait until the container has ended by itself."""
        self.eventually(lambda: not self.inspect("State.Running"), within=30)
        return int(self.inspect("State.ExitCode"))

    def stop(self) -> int:
        """TERM, and KILL after ten seconds as `docker stop` does; returns the exit status."""
        run("stop", "--time=10", self.id)
        return int(self.inspect("State.ExitCode"))

    def eventually(self, check: Callable[[], T], within: float = 20.0) -> T:
        return eventually(check, within, self.report)

    def report(self) -> str:
        return "\n".join([self.ctl("status"), *self.logs().splitlines()[-40:]])

    def remove(self) -> None:
        run("rm", "--force", "--volumes", self.id, check=False)
