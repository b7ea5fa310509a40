"""The two lines of the plugin change nothing in the configurations of others."""

import os
import re
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Any

import pytest

from ..launchers import lives
from ..server import free_port
from .foreign import CTL, PLUGIN, Foreign
from .shapes import SHAPES, Shape

OURS = ("NOTIFY_SOCKET=",)
"""What the plugin adds to the environment of programs."""
ABOUT_US = ("RPC interface 'supervision'", "waiting for ")
"""Lines of supervisord that may differ: those on the plugin, and those told after some time."""


class Run(Foreign):
    """One run of a shape: `start`, `ask_all`, `end`, and `seen`, which has no pids and no times."""

    def __init__(self, shape: Shape, folder: Path, more: str):
        self.shape = shape
        self.port = free_port()
        shape.write(folder, more, self.port)
        text = (folder / "supervisord.conf").read_text()
        super().__init__(folder, "", None, **shape.environ)
        self.conf.write_text(text)
        self.seen: dict[str, Any] = {}
        self.supervisord = 0

    def begin(self) -> None:
        """Start, with a pipe for stdout and stderr, as in a container."""
        reader, writer = os.pipe()
        with open(self.folder / "stdout", "wb") as out:
            self.cat = subprocess.Popen(["cat"], stdin=reader, stdout=out)
        os.close(reader)
        self.spawn(stdout=writer, stderr=writer)
        os.close(writer)
        self.eventually(self.answers)
        self.supervisord = int((self.folder / "supervisord.pid").read_text())

    def is_settled(self, states: dict[str, str]) -> bool:
        return self.table() == states

    def ask_all(self) -> None:
        """Ask what the shape asks, and look at all that runs afterwards."""
        answers = self.seen["answers"] = {}
        for question in self.shape.asked:
            done = self.ctl(*question.split())
            answers[question] = done.returncode, sorted(self.plain(done.stdout + done.stderr))
        if self.shape.status is not None:
            self.eventually(lambda: self.is_settled(self.shape.settled | self.shape.after))
            self.seen["processes"] = dict(self.processes())

    def processes(self) -> Iterator[tuple[str, object]]:
        for row in self.ask("getAllProcessInfo"):
            if not row["pid"]:
                continue
            proc = Path(f"/proc/{row['pid']}")
            environ = self.plain((proc / "environ").read_text().replace("\0", "\n"))
            yield (
                f"{row['group']}:{row['name']}",
                {
                    "environ": [each for each in environ if not each.startswith(OURS)],
                    "folder": self.plain(os.readlink(proc / "cwd")),
                    "descriptors": [os.readlink(proc / "fd" / n).split(":")[0] for n in "012"],
                },
            )

    def end(self) -> None:
        """TERM, where it does not end by itself; then look at what was written."""
        assert self.process
        if self.shape.status is not None:
            os.kill(self.supervisord, signal.SIGTERM)
        self.seen["status"] = self.process.wait(20)
        self.eventually(lambda: not lives(self.supervisord))
        self.cat.wait(20)
        written: defaultdict[str, list[str]] = defaultdict(list)
        for file in (*self.folder.rglob("*.log"), self.folder / "stdout", self.folder / "mail"):
            if file.exists():
                # The end of an automatic log's name is chance.
                name = re.sub(r"-\w{8}\.log", "", str(file.relative_to(self.folder)))
                written[name] += sorted(self.plain(file.read_text()))
        self.seen["written"] = dict(written)

    def plain(self, text: str) -> list[str]:
        """The lines without what differs from run to run."""
        for what, instead in (
            (str(self.folder), "FOLDER"),
            (str(self.port), "PORT"),
            (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(,\d+)?", "TIME"),
            (r"\d:\d\d:\d\d", "TIME"),
            (r"(?m)^Date:.*|\bpid:? \d+|^\d+$", "PID"),
            (r"\w+---\w+-\w{8}\.log", "LOG"),
        ):
            text = re.sub(what, instead, text)
        return [line for line in text.splitlines() if not any(each in line for each in ABOUT_US)]

    def close(self) -> None:
        super().close()
        if lives(self.supervisord):  # a daemon
            os.kill(self.supervisord, signal.SIGKILL)
        self.cat.kill()
        self.cat.wait()


def flat(seen: object, where: str = "") -> Iterator[str]:
    """A line for each single thing that was seen."""
    if isinstance(seen, dict):
        for key in sorted(seen):
            yield from flat(seen[key], f"{where}{key}: ")
    elif isinstance(seen, (list, tuple)):
        for each in seen:
            yield from flat(each, where)
    else:
        yield f"{where}{seen}"


@pytest.fixture
def runs(folder: Path) -> Iterator[dict[str, Run]]:
    """To hold runs, which are closed at the end."""
    folder.chmod(0o755)  # programs of other users run in it
    made: dict[str, Run] = {}
    try:
        yield made
    finally:
        for run in made.values():
            run.close()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_shape_is_the_same_with_the_plugin(
    runs: dict[str, Run], folder: Path, shape: Shape
) -> None:
    """States, answers of supervisorctl, environments, users, signals, output, log files, status."""
    for name, more in {"without": "", "with": CTL + PLUGIN}.items():
        runs[name] = Run(shape, folder / name, more)
        runs[name].begin()
    for run in runs.values():
        run.eventually(lambda run=run: run.is_settled(shape.settled))  # type: ignore[misc]
    for run in runs.values():
        run.ask_all()
        run.end()
    without, with_plugin = (list(flat(runs[name].seen)) for name in ("without", "with"))
    assert not list(unified_diff(without, with_plugin, "without", "with", lineterm="", n=0))
