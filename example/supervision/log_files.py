"""A log file that cannot be opened is named, and takes nothing from supervisord.

It may belong to another user, or its folder is gone. supervisord itself says no more than EACCES.
It forgets the pipes that it had opened for the program: at least four descriptors with each
attempt, until none is left and no program can be started any more.
"""

import os
import sys
from typing import Any

from supervisor.options import EventListenerConfig, ProcessConfig, ServerOptions
from supervisor.process import Subprocess

from .startup import around

# Both are None if whoever started us has closed them. supervisord would fail at its end.
sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 until the end
sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115 until the end


@around(ServerOptions, "make_logger")
def _open_own_log(original: Any, self: Any) -> None:
    try:
        original(self)
    except OSError as error:
        self.usage(
            f"[supervisord] logfile = {self.logfile}: {error.strerror};"
            " let this user write there, or set another file"
        )


@around(ServerOptions, "make_pipes")
def _note_the_pipes(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    self.newest_pipes = None
    self.newest_pipes = original(self, *args, **kwargs)
    return self.newest_pipes


def _close_the_pipes(original: Any, self: Any, process: Any) -> Any:
    try:
        return original(self, process)
    except OSError:
        if pipes := self.options.newest_pipes:
            self.options.close_parent_pipes(pipes)
            self.options.close_child_pipes(pipes)
        raise


for each in (ProcessConfig, EventListenerConfig):
    around(each, "make_dispatchers")(_close_the_pipes)


@around(Subprocess, "record_spawnerr")
def _name_the_file(original: Any, self: Any, message: str) -> None:
    file = getattr(sys.exc_info()[1], "filename", None)
    original(self, f"{message}: {file}" if isinstance(file, str) else message)
