"""A copy of the package with the test's own api.py, schedule.py or tasks.py."""

from pathlib import Path

from .launchers import Launcher
from .package import package
from .server import Server


class Mine(Launcher):
    """Commands that find the copy: Mine(folder, redis, ["example-worker"], tasks="…")."""

    def __init__(self, folder: Path, redis: Server, *commands: list[str], **files: str) -> None:
        super().__init__(folder, redis, *commands)
        package(folder, **files)
        self.environ["PYTHONPATH"] = str(folder)
        self.redis = redis

    def push(self, *items: str) -> None:
        self.redis.client.lpush("TESTING", *items)

    def says(self, *words: str) -> None:
        """Wait until all of these were said, in this order."""
        self.eventually(lambda: self.said(*words))

    def said(self, *words: str) -> bool:
        found, text = 0, self.stdout()
        for word in words:
            found = text.find(word, found)
            if found < 0:
                return False
        return True

    def ends(self) -> int:
        """Wait until the only command ends by itself; returns its exit status."""
        return self.processes[0].wait(20)
