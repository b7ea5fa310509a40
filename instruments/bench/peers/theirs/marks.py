"""What a contender's task leaves behind for who measures: counts, in a file that all have mapped.

A mark takes about 0.2 us. Each process counts in a slot of its own, so it needs no lock.
"""

import mmap
import os
from pathlib import Path

NOOP, NAP, LATE, LOADED, AGAIN = range(5)
SLOTS = 32768
SIZE = 5 * SLOTS * 8


class Marks:
    def __init__(self, folder: str | Path) -> None:
        self.late = Path(folder, "late")
        self.loaded = Path(folder, "loaded")
        self.begun = Path(folder, "begun")
        with open(Path(folder, "marks"), "a+b") as file:
            file.truncate(SIZE)
            self._view = memoryview(mmap.mmap(file.fileno(), SIZE)).cast("Q")

    def add(self, kind: int) -> None:
        self._view[kind * SLOTS + os.getpid() % SLOTS] += 1

    def count(self, kind: int) -> int:
        return sum(self._view[kind * SLOTS : (kind + 1) * SLOTS])
