"""A program whose log file is supervisord's own stdout or stderr is shown like any other.

supervisord would write there as to a file. It would fail to rotate a pipe, and lose all but the
first piece. It would freeze if the reader stops reading. If the program has events, each line would
come twice.
"""

from collections.abc import Iterable
from typing import Any

from supervisor.options import EventListenerConfig

from .plugin import Plugin

OWN = (
    *("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"),
    *("/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"),
)
"""What supervisord's own output is called as a file."""


def take_over(plugin: Plugin) -> None:
    """Have such output arrive as events, now and whenever the file is read again."""

    def change_all(groups: Iterable[Any]) -> None:
        for group in groups:
            for config in group.process_configs:
                _change(config)

    change_all(group.config for group in plugin.supervisord.process_groups.values())
    plugin.after(plugin.options, "process_groups_from_parser", change_all)
    # supervisord's own lines are in the stream already.
    handlers = plugin.options.logger.handlers
    handlers[:] = [each for each in handlers if getattr(each, "baseFilename", "") not in OWN]


def _change(config: Any) -> None:
    for channel in ("stdout", "stderr"):
        # The stdout of an event listener is its conversation with supervisord.
        talks = isinstance(config, EventListenerConfig) and channel == "stdout"
        if getattr(config, f"{channel}_logfile") in OWN and not talks:
            setattr(config, f"{channel}_logfile", None)
            setattr(config, f"{channel}_events_enabled", True)
