"""memory: a process that holds too much is replaced without loss, and not silently for ever."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from supervisor.states import ProcessStates

from example.supervision.memory import Watch, size
from example.supervision.values import PerProgram

from ..launchers import SCRIPTS
from .foreign import EVENTS, Foreign

Make = Callable[..., Foreign]

# Holds 100 MB from its second line on, once; ends what it has in hand before it goes.
HOG = """
import os, signal, sys, time
def stop(*_):
    print("drains")
    time.sleep(0.5)
    print("drained")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
if not os.path.exists(sys.argv[0] + ".once"):
    open(sys.argv[0] + ".once", "w").close()
    much = bytearray(100 << 20)
print("works")
while True:
    time.sleep(0.1)
"""


def test_the_one_over_its_limit_is_drained_and_replaced(foreign: Make, folder: Path) -> None:
    """Once its successor is ready. It is logged, counts as no death, and the other goes on."""
    (folder / "hog.py").write_text(HOG)
    hog = f"command = {SCRIPTS}/python -u {folder}/hog.py\n{EVENTS}"
    here = foreign(
        f"[program:worker]\n{hog}process_name = %(program_name)s_%(process_num)d\n"
        "[program:small]\ncommand = /bin/sleep 1000\n",
        "memory = 1GB worker=80MB\nhistory = history.jsonl\ncrash_loop = 1/120/5",
    ).start()
    here.running("small", "worker:worker_0")
    small, old = here.pid("small"), here.pid("worker:worker_0")
    here.replaced("worker:worker_0", old)
    assert "drained" in here.stdout()
    log = here.log()
    order = ["success: worker_0.next", "stopped: worker_0 ", "ready after"]
    assert sorted(order, key=log.index) == order
    assert here.pid("small") == small
    why = "exit status 0, replaced: 1"
    assert why in here.ctl("ready", "worker").stdout
    history = here.ctl("history", "worker").stdout
    assert why in history
    assert " MiB of memory, over 80 MiB, had run for " in history
    assert history.endswith("    works\n    drains\n    drained\n")


class Plugin:
    """As far as `Watch` knows it, with one process of ours that is always over; counts rolls."""

    def __init__(self, status: int = 0) -> None:
        self.said: list[str] = []
        self.rolls: list[float] = []
        self.now = 0.0
        self.status = status
        self.blame: dict[str, str] = {}
        self.successors: set[str] = set()
        say = self.said.append
        self.options = SimpleNamespace(logger=SimpleNamespace(warn=say, critical=say))
        self.methods = {"roll": self.roll, "rolled": lambda *_: {"status": self.status}}
        config = SimpleNamespace(name="hog", program="hog")
        self.process = SimpleNamespace(
            group=SimpleNamespace(config=config),
            config=config,
            pid=os.getpid(),
            state=ProcessStates.RUNNING,
            laststart=time.time(),
        )

    def key(self, process: Any) -> str:
        return str(process.config.name)

    def processes(self) -> list[Any]:
        return [self.process]

    def roll(self, *_: object) -> None:
        self.rolls.append(self.now)

    def live(self, seconds: int) -> list[float]:
        """The times between two replacements."""
        watch = Watch(self, PerProgram("1MB", size))  # type: ignore[arg-type]
        for now in range(seconds):
            self.now = float(now)
            watch.check(self.now)
            if self.rolls[-1:] == [self.now] and not self.status:
                watch.over.clear()  # another process is here now
        return [later - sooner for sooner, later in zip(self.rolls, self.rolls[1:], strict=False)]


def test_a_process_that_needs_more_is_reported_once_and_replaced_less_and_less_often() -> None:
    plugin = Plugin()
    assert [round(each, -1) for each in plugin.live(5000)] == [60, 120, 240, 480, *[600] * 6]
    assert sum("raise it if the program needs so much" in line for line in plugin.said) == 1


def test_a_process_that_grows_late_is_replaced_each_time() -> None:
    plugin = Plugin()
    plugin.process.laststart = time.time() - 3600
    assert set(plugin.live(100)) == {5.0}
    assert not any("raise it" in line for line in plugin.said)


def test_a_successor_that_does_not_start_is_tried_again_later() -> None:
    plugin = Plugin(status=1)
    assert plugin.live(200)[0] >= 60
    assert plugin.blame == {}, "whatever ends it next, it is not this"


@pytest.mark.parametrize("text", ["500", "1KB", "a lot", "500M"])
def test_a_limit_is_a_size(foreign: Make, text: str) -> None:
    here = foreign("", f"memory = worker={text}")
    assert here.spawn().wait(20) == 2
    assert "expected a size of 1MB or more, such as 500MB or 2GB" in here.stdout()
