"""Another plugin for supervisord, which adds a program to a group while everything runs."""

from typing import Any

from supervisor.events import SupervisorRunningEvent, subscribe
from supervisor.options import UnhosedConfigParser

PROGRAM = "[program:added]\ncommand = /bin/sleep 1000\n"


def make(supervisord: Any) -> object:
    def add(_: object) -> None:
        parser = UnhosedConfigParser()
        parser.read_string(PROGRAM)
        group = supervisord.process_groups["logs"]
        for config in supervisord.options.processes_from_section(parser, "program:added", "logs"):
            config.create_autochildlogs()
            group.config.process_configs.append(config)
            group.processes[config.name] = config.make_process(group)

    subscribe(SupervisorRunningEvent, add)
    return object()
