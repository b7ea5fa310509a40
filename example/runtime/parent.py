"""Runs all programs as children of one process, for `python -m`."""

import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess

from .lifeline import STOP, Reaper
from .store import NOT_NEEDED

logger = logging.getLogger(__name__)

SIGNALS = {*STOP, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM}


class Parent:
    """Starts a process for each program, and waits until all have ended.

    TERM, HUP or INT stops them all. `last` is stopped when the others have ended. When a program
    ends by itself, the others are stopped too, except that `last` may exit with NOT_NEEDED.
    """

    def __init__(self, programs: Mapping[str, Callable[[], None]], last: str) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self.last = last
        # Before any child, and with the signals blocked: its end is this process's end.
        self._reaper = Reaper()
        # Python 3.14's default unblocks TERM and INT here, and starts one more process.
        fork = multiprocessing.get_context("fork")
        self.alive = [
            fork.Process(target=_child, args=(start, self._reaper), name=name)
            for name, start in programs.items()
        ]
        self.stopping = False
        self.told: set[str] = set()
        self.status = 0
        for child in self.alive:
            child.start()
            assert child.pid
            self._reaper.watch(child.pid)
            logger.info("%s started with pid %s", child.name, child.pid)

    def live(self, kill_after: float) -> int:
        """Wait until all children have ended. Returns the exit status.

        After `kill_after` seconds of stopping, those that are left are killed. The status is 0, or
        1 if one ended by itself or was killed.
        """
        while self.alive:
            number = signal.sigwait(SIGNALS)
            if number == signal.SIGALRM:
                self._kill()
            elif number != signal.SIGCHLD:
                # Children that were told get it again: a second TERM means "at once".
                self.told.clear()
                self.stopping = True
            self._bury()
            if self.stopping:
                self._tell(kill_after)
        self._reaper.close()
        return self.status

    def _tell(self, kill_after: float) -> None:
        if not signal.getitimer(signal.ITIMER_REAL)[0]:
            signal.setitimer(signal.ITIMER_REAL, kill_after)
        first = [child for child in self.alive if child.name != self.last]
        for child in first or self.alive:
            if child.name not in self.told:
                self.told.add(child.name)
                child.terminate()

    def _kill(self) -> None:
        for child in self.alive:
            logger.error("%s does not stop: killed", child.name)
            child.kill()
            child.join()
            self._kill_group(child)
        self.alive.clear()
        self.status = 1

    def _bury(self) -> None:
        for child in [child for child in self.alive if not child.is_alive()]:
            self.alive.remove(child)
            self._kill_group(child)
            if not self._may_end(child):
                logger.error("%s died with %s: stopping the rest", child.name, child.exitcode)
                self.status = 1
                self.stopping = True

    def _may_end(self, child: BaseProcess) -> bool:
        last = child.name == self.last
        if child.exitcode == NOT_NEEDED:
            return last
        # TERM kills a server that has not installed its signal handlers yet.
        ends = {0, -signal.SIGTERM} if last else {0}
        return self.stopping and child.exitcode in ends

    def _kill_group(self, child: BaseProcess) -> None:
        """Kill what a child has started, such as a pool."""
        assert child.pid
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        self._reaper.forget(child.pid)


def _child(start: Callable[[], None], reaper: Reaper) -> None:
    reaper.leave()
    # In a group of its own, a child does not get the terminal's Ctrl-C a second time.
    os.setpgid(0, 0)
    # A stop that comes early stays pending until the program has its handlers and unblocks it.
    signal.pthread_sigmask(signal.SIG_SETMASK, STOP)
    start()
