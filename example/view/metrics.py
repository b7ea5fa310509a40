"""The queue and the programs as text for Prometheus.

No name here holds the package's: one dashboard and one file of alerts serve every copy, which the
label `job` tells apart. Format: Prometheus's text exposition, by its own client library.
"""

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily as Counter
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import HistogramMetricFamily as Histogram
from prometheus_client.registry import Collector
from supervisor.states import ProcessStates

from ..runtime.runs import BOUNDS
from . import troubles

if TYPE_CHECKING:
    from prometheus_client import Metric

    from ..runtime.snapshot import Snapshot
    from .programs import Program

CONTENT_TYPE = CONTENT_TYPE_LATEST
STATES = [name for name in vars(ProcessStates) if name.isupper()]
TOTALS = {
    "pushed": "Items pushed",
    "taken": "Items that workers took, repeats included",
    "done": "Items done",
    "failed": "Attempts that failed",
    "retried": "Items put off for another attempt",
    "dead": "Items that went to the dead list",
    "redelivered": "Items taken again because their worker died",
}


def text(snapshot: "Snapshot | None", limit: int, programs: "list[Program] | None") -> bytes:
    """All metrics of this moment; no more than `limit` items may wait.

    None means that Redis, or supervisord, does not answer: then `queue_up` or `supervisord_up` is
    0, and its other metrics are left out.
    """
    return generate_latest(_Moment(snapshot, limit, programs))


class _Moment(Collector):
    def __init__(
        self, snapshot: "Snapshot | None", limit: int, programs: "list[Program] | None"
    ) -> None:
        self.snapshot = snapshot
        self.limit = limit
        self.programs = programs

    def collect(self) -> "Iterator[Metric]":
        there = self.snapshot is not None
        yield _gauge("queue_up", "Whether the Redis that holds the queue answers", there)
        if self.snapshot:
            yield from _queue(self.snapshot, self.limit)
            yield from _schedule(self.snapshot)
        yield _gauge("supervisord_up", "Whether supervisord answers", self.programs is not None)
        if self.programs:
            yield from _states(self.programs)
            yield from _per_process(self.programs)


def _gauge(name: str, about: str, value: float) -> "Metric":
    return Gauge(name, about, value=float(value))


def _queue(now: "Snapshot", limit: int) -> "Iterator[Metric]":
    items = Gauge("queue_items", "Items that the queue holds", labels=["state"])
    for state in ("waiting", "in_hand", "retrying", "later", "dead"):
        items.add_metric([state], getattr(now, state))
    yield items
    yield _gauge("queue_refuses_writes", "Whether Redis refuses to write", bool(now.refusal))
    yield _gauge("queue_full", "Whether pushes are refused", troubles.is_full(now, limit))
    silent = troubles.silent_seconds(now)
    if silent is not None:
        yield _gauge("queue_silent_seconds", "Seconds since a worker or beat reported last", silent)
    oldest = now.oldest_seconds if now.waiting else 0.0
    if oldest is not None:
        yield _gauge("queue_oldest_item_age_seconds", "Seconds that the oldest has waited", oldest)
    yield _gauge("queue_workers", "Worker processes that are known to the queue", now.workers)
    for name, about in TOTALS.items():
        if name in now.totals:
            yield Counter(f"queue_{name}", about, value=now.totals[name])
    if now.run_seconds:
        yield _run_seconds(now)


def _run_seconds(now: "Snapshot") -> "Metric":
    # Prometheus wants cumulative counts.
    bounds = [*map(str, BOUNDS), "+Inf"]
    buckets = list(zip(bounds, accumulate(now.run_counts), strict=True))
    return Histogram("queue_run_seconds", "How long tasks run", buckets, now.run_seconds["sum"])


def _schedule(now: "Snapshot") -> "Iterator[Metric]":
    last = Gauge(
        "schedule_last_tick_timestamp_seconds", "When the entry was last due", labels=["entry"]
    )
    missed = Counter(
        "schedule_missed_ticks", "Ticks of the entry that nobody pushed", labels=["entry"]
    )
    for entry in now.schedule:
        if entry.last is not None:
            last.add_metric([_shown(entry.name)], entry.last)
        missed.add_metric([_shown(entry.name)], entry.missed)
    yield from (last, missed)


def _shown(name: str) -> str:
    """A name from Redis as UTF-8: it may be any bytes, and a surrogate cannot be encoded."""
    return name.encode(errors="replace").decode()


def _states(programs: "list[Program]") -> "Iterator[Metric]":
    family = Gauge(
        "supervisord_process_state",
        "1 for the state that the process is in",
        labels=["process", "program", "state"],
    )
    for each in programs:
        for state in STATES:
            family.add_metric([each.name, each.program, state], float(each.state == state))
    yield family


PER_PROCESS: list[tuple[Any, str, str, "Callable[[Program], float | None]"]] = [
    (Gauge, "up", "Whether a process runs under this name", lambda each: each.pid != 0),
    (Gauge, "ready", "Whether it does its work, or has none to do", lambda each: each.ready),
    (Counter, "restarts", "How often it was started again", lambda each: each.restarts),
    (Gauge, "uptime_seconds", "Seconds since its last start", lambda each: each.uptime_seconds),
    (Gauge, "silent_seconds", "Seconds since its sign of life", lambda each: each.silent_seconds),
    (Gauge, "resident_memory_bytes", "Memory that it holds", lambda each: each.memory),
    (Counter, "cpu_seconds", "CPU time of the process", lambda each: each.cpu_seconds),
    (
        Gauge,
        "last_exit_code",
        "Exit status of the process before, or minus the number of the signal that ended it",
        lambda each: each.last_exit_code,
    ),
    (
        Gauge,
        "last_exit_timestamp_seconds",
        "When the process before ended",
        lambda each: each.last_exit_at,
    ),
]
PER_APP: list[tuple[Any, str, str, "Callable[[Program], float | None]"]] = [
    (Counter, "requests", "Requests answered", lambda each: each.counts.get("requests")),
    (Gauge, "connections", "Connections open", lambda each: each.counts.get("connections")),
]


def _per_process(programs: "list[Program]") -> "Iterator[Metric]":
    for prefix, table in (("supervisord_process", PER_PROCESS), ("app", PER_APP)):
        for kind, name, about, value in table:
            family = kind(f"{prefix}_{name}", about, labels=["process", "program"])
            for each in programs:
                if (number := value(each)) is not None:
                    family.add_metric([each.name, each.program], float(number))
            yield family
