"""Consumers' names: they tell whether the process behind them still lives.

A name is "host/boot-namespace/pid/birth/random". Processes that share the first two parts can look
at each other.
"""

import os
import secrets
import socket
import sys
from pathlib import Path

UNKNOWN = "unknown"
"""Instead of boot and namespace where a process cannot look at others: there only leases tell."""


def _place() -> str:
    host = "".join(c for c in socket.gethostname() if c.isalnum() or c in "-._") or "host"
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        return f"{host}/{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # no Linux, or a sandbox that hides it
        return f"{host}/{UNKNOWN}"


PLACE = _place()
"""The first two parts of this process's names."""


def new() -> str:
    """A name for a consumer of this process, which no other consumer has or will have."""
    return f"{PLACE}/{_birth(os.getpid())}/{secrets.token_hex(4)}"


def is_dead(name: bytes) -> bool:
    """Whether the consumer `name` is for sure a process of this place that has ended."""
    host, place, pid, start, *_ = [*name.decode(errors="replace").split("/"), "", "", ""]
    if f"{host}/{place}" != PLACE or place == UNKNOWN or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    # /proc may hide the processes of other users: then only the lease tells.
    is_hidden = not Path(f"/proc/{pid}").exists()
    return not is_hidden and _birth(int(pid)) != f"{pid}/{start}"


def _birth(pid: int) -> str:
    """`pid/start time`, which no other process of this boot has; "" if no such process lives."""
    if sys.platform != "linux":
        return f"{pid}/0"
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in b"ZX" else f"{pid}/{int(fields[19])}"
