"""python -m example: the programs as children of one multiprocessing parent.

TERM, HUP or Ctrl-C stops all of them, Redis last. When one dies the rest are stopped too, and
the parent's exit status is 1. supervisord does more: this is for a terminal.
"""

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable

from . import start_app, start_beat, start_redis, start_worker
from .console import take_no_arguments
from .runtime import log
from .runtime.lifeline import STOP
from .runtime.store import NOT_NEEDED
from .settings import Settings, SettingsError

PROGRAMS = {"redis": start_redis, "app": start_app, "beat": start_beat, "worker": start_worker}
SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM}

logger = logging.getLogger(__name__)


def main() -> int:
    try:
        settings = Settings.load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    log.configure(settings.log_level, settings.log_format)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    return Family().live(kill_after=settings.drain_seconds + 2)


class Family:
    """The children, from start to end."""

    def __init__(self) -> None:
        # Forked, so that this process itself is their parent, and gets their SIGCHLD.
        fork = multiprocessing.get_context("fork")
        self.alive = [
            fork.Process(target=_child, args=(program,), name=name)
            for name, program in PROGRAMS.items()
        ]
        self.stopping = False
        self.told: set[str] = set()
        self.status = 0
        for child in self.alive:
            child.start()
            logger.info("%s started with pid %s", child.name, child.pid)

    def live(self, kill_after: float) -> int:
        """Wait until all children have ended; `kill_after` seconds of stopping, kill the rest."""
        while self.alive:
            number = signal.sigwait(SIGNALS)
            if number == signal.SIGALRM:
                self._kill()
            elif number != signal.SIGCHLD:
                # Whoever was told before hears it again: a second one means "at once".
                self.told.clear()
                self.stopping = True
            self._bury()
            if self.stopping:
                self._tell(kill_after)
        return self.status

    def _tell(self, kill_after: float) -> None:
        if not signal.getitimer(signal.ITIMER_REAL)[0]:
            signal.setitimer(signal.ITIMER_REAL, kill_after)
        first = [child for child in self.alive if child.name != "redis"]
        for child in first or self.alive:
            if child.name not in self.told:
                self.told.add(child.name)
                child.terminate()

    def _kill(self) -> None:
        for child in self.alive:
            logger.error("%s does not stop: killed", child.name)
            child.kill()
            child.join()
        self.alive.clear()
        self.status = 1

    def _bury(self) -> None:
        for child in [child for child in self.alive if not child.is_alive()]:
            self.alive.remove(child)
            redis = child.name == "redis"
            expected = (
                (child.exitcode == 0 and self.stopping)
                or (child.exitcode == NOT_NEEDED and redis)
                # Until it listens to signals it ends by them.
                or (child.exitcode == -signal.SIGTERM and self.stopping and redis)
            )
            if not expected:
                logger.error("%s died with %s: stopping the rest", child.name, child.exitcode)
                self.status = 1
                self.stopping = True


def _child(program: Callable[[], None]) -> None:
    # Out of the terminal's group: its Ctrl-C is for the parent, who passes it on once.
    os.setpgid(0, 0)
    # A stop may come before the program listens to signals: it waits until Process unblocks it.
    signal.pthread_sigmask(signal.SIG_SETMASK, STOP)
    program()


if __name__ == "__main__":
    take_no_arguments(__doc__, "python -m example")
    sys.exit(main())
