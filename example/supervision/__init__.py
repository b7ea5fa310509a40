"""What runs inside supervisord and supervisorctl. Nothing here imports your files."""

import os
import sys
from typing import Any

from supervisor import events


def make(supervisord: Any, **config: str) -> object:
    """The rpcinterface factory: install every part in this supervisord."""
    beside = os.path.dirname(sys.executable)
    path = os.environ.get("PATH", os.defpath)
    if beside not in path.split(os.pathsep):
        os.environ["PATH"] = beside + os.pathsep + path
    events.subscribe(events.ProcessLogEvent, _echo)
    return object()


def _echo(event: Any) -> None:
    name = event.process.config.name
    text = event.data if isinstance(event.data, str) else event.data.decode(errors="replace")
    for line in text.splitlines():
        print(f"{name} | {line}", flush=True)
