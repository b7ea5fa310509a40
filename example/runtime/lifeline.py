"""What ties a process to the one that started it: signals to stop, and the parent's death."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from typing import NoReturn

STOP = (signal.SIGTERM, signal.SIGINT)
"""The signals that ask for a stop. A parent may block them until its child handles them."""
AFTER_DRAIN = 2.5
"""Seconds that a stop takes beyond its drain: to tell Redis, to close the lifespan, to end."""


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
    # If the parent died before prctl took effect, no signal comes.
    if os.getppid() != before or (parent and not parent.is_alive()):
        sys.exit(1)


class Reaper:
    """A process that kills process groups once this one has died, whatever killed it.

    The kernel signals only children when their parent dies, and not what these have started, such
    as a pool.
    """

    def __init__(self) -> None:
        ours, self._pipe = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._pipe)
            _reap(ours)
        os.close(ours)

    def watch(self, group: int) -> None:
        """Kill the process group `group`, too, when this process has died."""
        self._tell(group)

    def forget(self, group: int) -> None:
        """The process group `group` has ended: its number may belong to another one later."""
        self._tell(group)

    def leave(self) -> None:
        """To be called in each forked child: the pipe must have no other end than the parent's."""
        os.close(self._pipe)

    def close(self) -> None:
        """End the reaper, which kills the groups that were not forgotten."""
        os.close(self._pipe)
        os.waitpid(self._pid, 0)

    def _tell(self, group: int) -> None:
        with contextlib.suppress(BrokenPipeError):  # the reaper was killed
            os.write(self._pipe, f"{group}\n".encode())


def _reap(pipe: int) -> NoReturn:
    os.setpgid(0, 0)  # so that a signal to our parent's group spares us
    groups: set[int] = set()
    with open(pipe, "rb") as lines:
        for line in lines:
            groups ^= {int(line)}
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    os._exit(0)
