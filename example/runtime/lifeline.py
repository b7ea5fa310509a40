"""What ties a process to the one that started it: signals to stop, and the parent's death."""

import ctypes
import multiprocessing
import os
import signal
import sys

STOP = (signal.SIGTERM, signal.SIGINT)
"""The signals that ask for a stop. A parent may block them until its child handles them."""


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere nothing).

    Does so only below supervisord or multiprocessing: a shell may end before its jobs do.
    """
    parent = multiprocessing.parent_process()
    supervised = "SUPERVISOR_ENABLED" in os.environ
    if sys.platform != "linux" or not (parent or supervised):
        return
    before = os.getppid()
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    # The parent may have died before the kernel was told: then no signal comes.
    if os.getppid() != before or (parent and not parent.is_alive()):
        sys.exit(1)
