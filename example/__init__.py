"""A web API, a cron and a queue worker: `app`, `beat`, `worker`, and what starts each of them.

The names here are imported on first use, so that beat and worker never load the web framework.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import app
    from .programs import beat, start_app, start_beat, start_redis, start_worker, worker

__all__ = ["app", "beat", "start_app", "start_beat", "start_redis", "start_worker", "worker"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = ".api" if name == "app" else ".programs"
    return getattr(importlib.import_module(home, __name__), name)
