"""A web API, a cron and a queue worker: `app`, `beat`, `worker`, and what starts each of them.

`app` is the ASGI application of api.py. For each function NAME of programs.py, `start_NAME()` runs
that program as the only thing that its process does, and `await NAME()` in the caller's event loop.
All are imported on first use: beat and worker never load the web framework.
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "app":
        return importlib.import_module(".api", __name__).app
    if not name.startswith("__"):
        programs = importlib.import_module(".programs", __name__).PROGRAMS
        program = programs.get(name.removeprefix("start_"))
        if program and name.startswith("start_"):
            return program.start
        if program and program.run:
            return program.run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
