"""Yours: every setting, read once from the environment into one frozen object.

To add a setting, add a field: its default, and what it accepts. The variable of `redis_url` is
REDIS_URL, and so on; REDIS_URL_FILE may name a file that holds the value, for secrets.
"""

from dataclasses import dataclass

from .runtime.environment import (
    Environment,
    choice,
    function,
    list_name,
    names,
    redis,
    seconds,
    text,
    token,
    whole,
)


@dataclass(frozen=True)
class Settings(Environment):
    redis_url: str = redis("redis://localhost")
    redis_key: str = list_name("TESTING")
    redis_dir: str = text("var/redis", "a directory for the embedded Redis's data")

    # Where app listens, unless supervisord holds its socket.
    host: str = text("127.0.0.1", "an address of this machine, or a host name")
    port: int = whole(5000, 1, 65535)

    log_level: str = choice("info", "debug", "warning", "error")
    log_format: str = choice("text", "json")

    # What the worker does with an item.
    task: str = function("work", "tasks.py")
    # Items that a worker process works at once, and how long each may take.
    concurrency: int = whole(64, 1, 10_000)
    job_timeout: float = seconds(300, 0.001, 1_000_000)
    # How often an item may fail until it goes to the dead list.
    max_attempts: int = whole(5, 1, 1000)
    # How many items the dead list keeps; beyond that it loses the oldest.
    dead_limit: int = whole(10_000, 1, 1_000_000_000)
    # How many items may wait before beat and Producer push no more.
    queue_limit: int = whole(100_000, 1, 1_000_000_000_000)
    # How long running items and requests may take to end after TERM.
    drain_seconds: float = seconds(5, 0, 3600)

    # The operator's page: where it listens, what opens it, and by which names it is asked for,
    # beside addresses and localhost.
    dashboard_host: str = text("127.0.0.1", "an address of this machine, or a host name")
    dashboard_port: int = whole(5001, 1, 65535)
    dashboard_token: str = token()
    dashboard_hosts: frozenset[str] = names()

    # The scaler: which program, between which numbers of processes; how many items, and how many
    # seconds of work, may wait for each; how long it waits before it stops one.
    scale_program: str = text("worker", "the name of a program")
    scale_min: int = whole(1, 1, 256)
    scale_max: int = whole(4, 1, 256)
    scale_backlog: int = whole(100, 1, 1_000_000_000)
    scale_seconds: float = seconds(60, 0.001, 1_000_000)
    scale_down_seconds: float = seconds(30, 0, 3600)
