"""Yours: what beat pushes on the queue, and when.

Each entry has a name of its own, by which all beats agree which of its ticks are done. It is
Every(seconds, push) or Cron(expression, time zone, push), for instance
Cron("0 3 * * MON-FRI", "Europe/Berlin", "nightly"). What to push is a str, bytes, or a function
of the tick's time in seconds since the epoch, plain or async. Each beat that runs calls it; one
of them pushes. What it needs is opened by `lifespan()`, as in docs/tasks.md.
"""

from .runtime.schedule import Every

SCHEDULE = {
    "ok": Every(1, lambda now: f"OK: {now}"),
}
