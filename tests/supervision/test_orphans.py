"""orphans: nothing outlives a supervisord that was killed."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from ..launchers import lives
from ..server import free_port
from ..waiting import eventually
from .foreign import Foreign

Make = Callable[..., Foreign]


def family(folder: Path) -> str:
    """A plain program, one behind a shell with a child of its own, one with a held socket."""
    return f"""
[program:plain]
command = /bin/sleep 1000
[program:shell]
command = /bin/sh -c 'sleep 1000 & echo $! > {folder}/grandchild; wait; true'
stopasgroup = true
[fcgi-program:socket]
command = /bin/sleep 1000
socket = tcp://127.0.0.1:{free_port()}
"""


def killed(here: Foreign, folder: Path) -> set[int]:
    """Start, kill supervisord by -9; returns who was alive before."""
    here.start().running("plain", "shell", "socket")
    grandchild = int((folder / "grandchild").read_text())
    here.pids.add(grandchild)
    assert here.process
    here.process.kill()
    here.process.wait()
    return here.pids


def test_all_die_with_a_killed_supervisord(foreign: Make, folder: Path) -> None:
    """Within a second, grandchildren too; and the next start works at once."""
    here = foreign(family(folder))
    pids = killed(here, folder)
    assert len(pids) == 4
    here.process = None
    eventually(lambda: not any(map(lives, pids)), within=1)
    here.start().running("plain", "shell", "socket")
    assert here.term() == 0


def test_children_die_even_without_the_watch(foreign: Make, folder: Path) -> None:
    """The kernel kills supervisord's own children even if the watching shell is gone."""
    here = foreign(family(folder)).start()
    here.running("plain", "shell", "socket")
    here.pids.add(int((folder / "grandchild").read_text()))
    assert here.process
    children = Path(f"/proc/{here.process.pid}/task/{here.process.pid}/children").read_text()
    [watch] = set(map(int, children.split())) - here.pids
    own = here.pids - {int((folder / "grandchild").read_text())}
    os.kill(watch, signal.SIGKILL)
    here.eventually(lambda: "reaped unknown pid" in here.log())
    here.process.kill()
    here.process.wait()
    here.process = None
    eventually(lambda: not any(map(lives, own)), within=1)


def test_off_is_stock(foreign: Make, folder: Path) -> None:
    here = foreign(family(folder), "orphans = off")
    assert all(map(lives, killed(here, folder)))


def test_a_plain_stop_kills_nobody_by_force(foreign: Make, folder: Path) -> None:
    """The watch sees an orderly exit, and a reload, and stays quiet."""
    here = foreign(family(folder)).start()
    here.running("plain", "shell", "socket")
    here.reload()
    here.running("plain", "shell", "socket")
    assert here.term() == 0
    assert "SIGKILL" not in here.log()
    assert "Traceback" not in here.log()
