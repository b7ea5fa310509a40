"""A plugin for tests: a program takes its time between fork and exec."""

import time
from typing import Any

SECONDS = 1.0


def make(supervisord: Any) -> object:
    original = supervisord.options.execve

    def execve(*words: Any) -> None:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(0.01)
        original(*words)

    supervisord.options.execve = execve
    return object()
