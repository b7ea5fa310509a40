"""Yours: what beat pushes on the queue, and when.

Each entry has a name of its own, by which all beats agree which of its ticks are done.
"""

from .runtime.beat import Every

SCHEDULE = {
    "ok": Every(1, lambda now: f"OK: {now}"),
}
