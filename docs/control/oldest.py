"""Your own RPC: `oldest.end("app")` ends the group's oldest process; supervisord replaces it."""

import signal


class Oldest:
    def __init__(self, supervisord):
        self._supervisord = supervisord

    def end(self, group):
        processes = self._supervisord.process_groups[group].processes.values()
        oldest = min((each for each in processes if each.pid), key=lambda each: each.laststart)
        oldest.signal(signal.SIGTERM)
        return oldest.config.name


def make(supervisord, **config):
    return Oldest(supervisord)
