"""What a set of processes uses: memory and CPU, as Linux accounts them."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from instruments.bench.app import pss

TICKS = os.sysconf("SC_CLK_TCK")


def living(mark: str) -> list[int]:
    """All processes with `mark` (NAME=value) in the environment that they were started with.

    A session or a parent is no such mark: some contenders give each child a session of its own,
    and an orphan has another parent.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def memory(pids: Iterable[int]) -> float:
    """MiB: the sum of their PSS, where a page that several map counts for each by its share."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += pss(pid)
    return total / 2**20


def cpu(pids: Iterable[int]) -> float:
    """Seconds so far: of all threads that live, and of all children that were waited for."""
    total = 0.0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(thread.read_text().split()[0]) / 1e9
        with contextlib.suppress(OSError):
            numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(numbers[13]) + int(numbers[14])) / TICKS
    return total


def share(pids: Callable[[], Iterable[int]], seconds: float) -> float:
    """The share of a core that they use over so many seconds."""
    return shares([pids], seconds)[0]


def shares(sets: list[Callable[[], Iterable[int]]], seconds: float) -> list[float]:
    """The share of a core that each of these sets uses over so many seconds."""
    begun, before = time.monotonic(), [cpu(pids()) for pids in sets]
    time.sleep(seconds)
    took, after = time.monotonic() - begun, [cpu(pids()) for pids in sets]
    return [(new - old) / took for new, old in zip(after, before, strict=True)]
