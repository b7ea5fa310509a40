"""What ties a process to the one that started it: signals to stop, and the parent's death."""

import ctypes
import multiprocessing
import os
import signal
import sys

STOP = (signal.SIGTERM, signal.SIGINT)
"""The signals that ask for a stop. Who starts a program may block them until it listens."""


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere nothing).

    Only below a parent that is there to watch over us: a shell may go before its jobs.
    """
    parent = multiprocessing.parent_process()
    supervised = "SUPERVISOR_ENABLED" in os.environ
    if sys.platform != "linux" or not (parent or supervised):
        return
    before = os.getppid()
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    # The parent may have died before the kernel was told.
    if os.getppid() != before or (parent and not parent.is_alive()):
        sys.exit(1)
