"""Test-only, the programs' sitecustomize: their clock jumps while the file `clock` exists."""

import os
import time

_JUMP = 3600
_FILE = f"{os.environ.get('FAULTS', '')}/clock"
_time, _time_ns = time.time, time.time_ns


def _jumped() -> int:
    return _JUMP if os.path.exists(_FILE) else 0


time.time = lambda: _time() + _jumped()
time.time_ns = lambda: _time_ns() + _jumped() * 10**9
