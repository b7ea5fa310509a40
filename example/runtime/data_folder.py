"""REDIS_DIR: it must be writable, and one server at a time may use it."""

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path

EMPTY_BYTES = 200
"""A snapshot without keys is smaller than this."""


class NoPlaceError(Exception):
    """The folder cannot be used; the message says why."""


class DataFolder:
    """The folder with the embedded Redis's data. Its server keeps it locked."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Make the folder if need be, and check that the server can write all its files.

        Raises:
            NoPlaceError: it cannot.
        """
        path = self.path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for each in (path, path / "lock", *path.glob("appendonly*"), *self._data()):
                path = each
                if path.is_dir():
                    tempfile.TemporaryFile(dir=path).close()
                else:
                    path.open("ab").close()
        except OSError as error:
            raise NoPlaceError(
                f"wrong setting: REDIS_DIR: cannot write {str(path)!r}: {error.strerror}"
            ) from error

    def lock(self, address: str) -> str | None:
        """Lock the folder for a server at `address`: until this process ends, also after exec.

        Returns None, or the address of the server that holds the lock.
        """
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 1000).decode(errors="replace")
            os.close(lock)
            return holder or "an address of its own"
        os.set_inheritable(lock, True)
        # A full disk costs the name only: the server is needed to work off what is there.
        with contextlib.suppress(OSError):
            os.ftruncate(lock, 0)
            os.write(lock, address.encode())
        return None

    def is_idle(self) -> bool:
        """Whether the folder may hold items and no server uses it."""
        try:
            with open(self.path / "lock", "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            sizes = [(each.suffix, each.stat().st_size) for each in self._data()]
        except OSError:
            return False
        return any(size > (EMPTY_BYTES if suffix == ".rdb" else 0) for suffix, size in sizes)

    def _data(self) -> list[Path]:
        # Redis 6 has one file, all others a folder.
        places = ("appendonlydir/*.rdb", "appendonlydir/*.aof", "appendonly.aof")
        return [file for place in places for file in self.path.glob(place)]
