"""The schedule of the machinery's tests."""

from example.runtime.schedule import Every

SCHEDULE = {
    "ok": Every(1, lambda now: f"OK: {now}"),
}
