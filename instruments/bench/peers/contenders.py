"""Who takes part in the queue's measures: a line for each contender and setting."""

from dataclasses import dataclass, field

ONCE, LEAST = "at most once", "at least once"
HERE, PEERS, ARQ = "dev", "peers", "peers-arq"
"""The set of packages, as scripts/install names it."""


@dataclass(frozen=True)
class Contender:
    name: str
    setting: str
    """What it is set to, in words; as its documentation starts it, if "default"."""
    module: str
    command: str
    """The worker's, found in the set's bin; {number} differs between its processes."""
    noops: int
    """How many no-op items it drains in about a second."""
    naps: int
    promise: str
    """What becomes of an item that was being worked when its worker was killed."""
    again: str = ""
    """When it is worked again, by the documentation. Empty: this row isn't killed."""
    venv: str = PEERS
    environ: dict[str, str] = field(default_factory=dict)
    processes: int = 1

    @property
    def title(self) -> str:
        return f"{self.name}, {self.setting}"


BEST = {"BEST": "1"}
STREAM = {"STREAM": "1"}
LATE = {"LATE": "1"}
SYNC = {"SYNC": "1"}
OURS = "python on_ours.py"
TASKIQ = "taskiq worker on_taskiq:broker"
CELERY = "celery -A on_celery worker"
LEAN = "--no-parse --log-level WARNING"
BEST_DRAMATIQ = {"dramatiq_queue_prefetch": "256", "dramatiq_worker_timeout": "10"}
BEST_CELERY = (
    f"{CELERY} -n worker{{number}}@%h -P threads -c 16 --prefetch-multiplier 16"
    " --without-gossip --without-mingle --without-heartbeat"
)

CONTENDERS = [
    Contender("ours", "default", "on_ours", OURS, 200_000, 30_000, LEAST, "within 2 s", HERE),
    Contender(
        "ours", "two workers; pushed by SyncProducer", "on_ours", OURS,
        200_000, 40_000, LEAST, "", HERE, SYNC, 2,
    ),
    Contender(
        "the article's loop", "BRPOP", "on_article", "python on_article.py", 4_000, 500,
        ONCE, "never", HERE,
    ),
    Contender(
        "arq", "default", "on_arq", "arq on_arq.Default", 300, 200,
        LEAST, "job_timeout and 10 s: 310 s", ARQ,
    ),
    Contender(
        "arq", "two quiet workers of 64, poll 10 ms, uvloop, no results", "on_arq",
        "arq --custom-log-dict on_arq.quiet on_arq.Best", 2_000, 2_000, LEAST, "", ARQ, BEST, 2,
    ),
    Contender(
        "saq", "default", "on_saq", "saq on_saq.settings", 1_200, 1_200,
        ONCE, "never: retries is 1; with more, within timeout (10 s) and sweep (60 s)",
    ),
    Contender(
        "saq", "two workers of 64, uvloop, no results", "on_saq",
        "saq --quiet --workers 2 on_saq.best", 2_500, 2_500, ONCE, "", environ=BEST,
    ),
    Contender(
        "streaq", "default", "on_streaq", "streaq run on_streaq:worker", 1_000, 1_000,
        LEAST, "idle_timeout: 60 s",
    ),
    Contender(
        "streaq", "two workers of 64, uvloop, no results", "on_streaq",
        "streaq run --workers 2 on_streaq:worker", 2_000, 2_000, LEAST, "", environ=BEST,
    ),
    Contender(
        "taskiq, list", "default", "on_taskiq", TASKIQ, 4_000, 4_000,
        ONCE, "never: the list has it no more",
    ),
    Contender(
        "taskiq, list", "quiet, no parsing", "on_taskiq",
        f"{TASKIQ} {LEAN}", 4_000, 4_000, ONCE,
    ),
    Contender(
        "taskiq, stream", "default", "on_taskiq", TASKIQ, 3_000, 3_000,
        LEAST, "idle_timeout: 600 s", environ=STREAM,
    ),
    Contender(
        "taskiq, stream", "quiet, no parsing", "on_taskiq",
        f"{TASKIQ} {LEAN}", 4_000, 4_000, LEAST, "", environ=STREAM,
    ),
    Contender(
        "rq", "default: a fork for each", "on_rq", "rq worker -u {url}", 60, 40,
        ONCE, "on the list of failed jobs after 60 to 1800 s; Retry works it again",
    ),
    Contender(
        "rq", "two SimpleWorkers, no results", "on_rq",
        "rq worker-pool -q -n 2 -w rq.worker.SimpleWorker -u {url}", 600, 500,
        ONCE, "", environ=BEST,
    ),
    Contender(
        "celery, early ack", "default", "on_celery", CELERY, 1_200, 1_000,
        ONCE, "never",
    ),
    Contender(
        "celery, early ack", "two workers of 16 threads, prefetch 16, no events", "on_celery",
        BEST_CELERY, 1_500, 1_500, ONCE, "", environ=BEST, processes=2,
    ),
    Contender(
        "celery, late ack", "default", "on_celery", CELERY, 1_200, 1_000,
        LEAST, "visibility_timeout: 3600 s", environ=LATE,
    ),
    Contender(
        "celery, late ack", "two workers of 16 threads, prefetch 16, no events", "on_celery",
        BEST_CELERY, 1_500, 1_500, LEAST, "", environ=BEST | LATE, processes=2,
    ),
    Contender(
        "dramatiq", "default: 2 processes of 8 threads", "on_dramatiq", "dramatiq on_dramatiq",
        4_000, 4_000, LEAST,
        "heartbeat_timeout: 60 s, and then by chance, at one fetch in a thousand",
    ),
    Contender(
        "dramatiq", "2 processes of 16 threads, prefetch 256, poll 10 ms", "on_dramatiq",
        "dramatiq -t 16 on_dramatiq", 6_000, 6_000, LEAST, environ=BEST_DRAMATIQ,
    ),
    Contender(
        "huey", "default: one thread", "on_huey", "huey_consumer on_huey.huey", 4_000, 500,
        ONCE, "never",
    ),
    Contender(
        "huey", "two quiet consumers of 8 threads, no results", "on_huey",
        "huey_consumer -k thread -w 8 -q -n on_huey.huey", 6_000, 4_000, ONCE, "", environ=BEST,
        processes=2,
    ),
]  # fmt: skip
