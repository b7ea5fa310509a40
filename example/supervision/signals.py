"""No signal is lost in the first moments: of supervisord itself, or of what it starts.

As PID 1 a process does not get what it has no handler for: whoever starts supervisord may hold
signals back, by `env --block-signal=TERM`, and they are let in once it listens. A program has
supervisord's own handlers between fork and exec, which take a stop and forget it: there a signal
does what it would do right after exec.
"""

import signal

from .plugin import Plugin

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2)
"""What supervisord has handlers for, but SIGCHLD."""


def install(plugin: Plugin, _: object) -> None:
    original = plugin.options.fork

    def fork() -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            pid: int = original()
            if pid == 0:
                for each in HANDLED:
                    signal.signal(each, signal.SIG_DFL)
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    plugin.options.fork = fork
    plugin.after(plugin.options, "setsignals", _let_in)


def _let_in(_: object) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
