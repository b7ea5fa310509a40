"""No signal is lost in the first moments of supervisord or of a program.

The kernel drops a signal to PID 1 that has no handler for it. So whoever starts supervisord may
block signals, by `env --block-signal=TERM`, and supervisord unblocks them once it has its handlers.
Between fork and exec a program still has supervisord's handlers, which would take a stop and forget
it. So there a signal does what it does right after exec.
"""

import signal

from .plugin import Plugin

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2)
"""The signals that supervisord has handlers for, except SIGCHLD."""


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
