"""How long tasks run, in a few classes."""

from bisect import bisect_left
from collections.abc import Sequence

BOUNDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # seconds
CLASSES = len(BOUNDS) + 1
"""One up to each of BOUNDS, and one for what runs longer."""


class Runs:
    """Run times that Redis has not heard of yet."""

    def __init__(self) -> None:
        self.counts = [0] * CLASSES
        self.seconds = 0.0

    def add(self, seconds: float, stands_for: int = 1) -> None:
        """A run that stands for so many."""
        self.counts[bisect_left(BOUNDS, seconds)] += stands_for
        self.seconds += seconds * stands_for

    def __bool__(self) -> bool:
        return any(self.counts)

    def copy(self) -> "Runs":
        other = Runs()
        other.counts, other.seconds = self.counts.copy(), self.seconds
        return other

    def subtract(self, other: "Runs") -> None:
        for number, count in enumerate(other.counts):
            self.counts[number] -= count
        self.seconds -= other.seconds


def quantile(counts: Sequence[int], share: float) -> float:
    """The run time, in seconds, below which that share of the runs is; as even within a class.

    What is in the last class counts as the last of BOUNDS, as in Prometheus.
    """
    wanted, below = share * sum(counts), 0
    for number, (bound, count) in enumerate(zip(BOUNDS, counts, strict=False)):
        if count and below + count >= wanted:
            least = BOUNDS[number - 1] if number else 0.0
            return least + (bound - least) * (wanted - below) / count
        below += count
    return BOUNDS[-1]
