"""descendants: what a program has started ends with it."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ..launchers import lives
from ..layout import Layout
from ..package import demo, package
from ..server import Server
from .foreign import Foreign

Make = Callable[..., Foreign]

AS_NOBODY = "setpriv --reuid=65534 --clear-groups"


def parent(folder: Path, name: str = "parent", first: str = "") -> str:
    """A program that starts one process in its own group, and one in a session of that one's."""
    started = f"& echo $! >> {folder}/{name}.started"
    script = folder / f"{name}.sh"
    script.write_text(
        f"#!/bin/sh\n{first}\nsleep 1000 {started}\nsetsid sleep 1000 {started}\n"
        f"touch {folder}/{name}.up\nexec sleep 1000\n"
    )
    script.chmod(0o755)
    return f"[program:{name}]\ncommand = {script}\nautorestart = true\n"


def started(here: Foreign, name: str = "parent") -> list[int]:
    """What the program has started so far, once it has started all."""
    here.eventually(lambda: (here.folder / f"{name}.up").exists())
    pids = [int(line) for line in (here.folder / f"{name}.started").read_text().split()]
    here.pids.update(pids)
    return pids


def gone(here: Foreign, pids: list[int]) -> None:
    assert len(pids) == 2
    here.eventually(lambda: not any(map(lives, pids)))


@pytest.mark.parametrize("how", ["KILL", "stop", "restart", "reload", "shutdown"])
def test_they_end_with_it(foreign: Make, folder: Path, how: str) -> None:
    """However it ends; what another program has started goes on."""
    here = foreign(parent(folder) + parent(folder, "other"), "descendants = on").start()
    theirs, others = started(here), started(here, "other")
    if how == "KILL":
        here.running("parent")
        os.kill(here.pid("parent"), signal.SIGKILL)
    elif how in ("stop", "restart"):
        here.ctl(how, "parent")
    else:
        here.ctl(how)
        others = []
    gone(here, theirs)
    assert all(map(lives, others))


def test_who_does_not_heed_term_is_killed(foreign: Make, folder: Path) -> None:
    here = foreign(parent(folder, first="trap '' TERM"), "descendants = on").start()
    left = started(here)
    here.running("parent")
    os.kill(here.pid("parent"), signal.SIGKILL)
    gone(here, left)
    assert "ends with parent: 2 that it had started" in here.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
def test_who_may_not_be_signalled_spares_no_other(foreign: Make, folder: Path) -> None:
    """As what sudo has started where supervisord is not root: here, root without that right."""
    other = parent(folder, "other")
    script = folder / "other.sh"
    script.write_text(script.read_text().replace("sleep 1000 &", f"{AS_NOBODY} sleep 1000 &"))
    deaf = parent(folder, first="trap '' TERM")
    here = foreign(deaf + other, "descendants = on")
    here.command = ["setpriv", "--bounding-set=-kill", *here.command]
    here.start()
    left, others = started(here), started(here, "other")
    here.running("parent", "other")
    here.ctl("stop", "other")
    os.kill(here.pid("parent"), signal.SIGKILL)
    gone(here, left)
    here.eventually(lambda: here.log().count("may not end") == 1)
    assert any(map(lives, others))
    assert "Traceback" not in here.log()


def test_they_end_with_a_killed_supervisord(foreign: Make, folder: Path) -> None:
    here = foreign(parent(folder), "descendants = on").start()
    left = started(here)
    assert here.process
    here.process.kill()
    here.process.wait()
    gone(here, left)


def test_each_program_may_differ(foreign: Make, folder: Path) -> None:
    """A program may be meant to leave something behind."""
    here = foreign(parent(folder) + parent(folder, "daemon"), "descendants = on daemon=off")
    here.start()
    theirs, left = started(here), started(here, "daemon")
    here.ctl("stop", "all")
    gone(here, theirs)
    assert all(map(lives, left))


def test_off_is_stock(foreign: Make, folder: Path) -> None:
    here = foreign(parent(folder)).start()
    left = started(here)
    here.ctl("stop", "parent")
    assert all(map(lives, left))


POOL = """
import multiprocessing, subprocess
from concurrent.futures import ProcessPoolExecutor

pool = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))

def work(item: str) -> None:
    logger.info("CHILD: %d", pool.submit(os.getpid).result())
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as child:
        logger.info("CHILD: %d", child.pid)
"""


@pytest.mark.parametrize("how", ["KILL", "restart", "shutdown"])
def test_a_tasks_processes_end_with_the_worker(
    launch: Callable[..., Layout], redis: Server, how: str
) -> None:
    """By the shipped configuration: a pool's, and one in a session of its own."""
    layout = launch(Layout, redis)
    layout.only(worker=1)
    code = package(layout.folder / "code", tasks=demo("tasks") + "import os\n" + POOL)
    layout.override(
        "code",
        f'[program:worker]\nenvironment = PYTHONPATH="{code}",DRAIN_SECONDS="0"\n',
    )
    layout.start()
    layout.push(b"starts some")
    layout.eventually(lambda: layout.log("worker").count("CHILD: ") == 2)
    children = [
        int(line.split()[-1]) for line in layout.log("worker").splitlines() if "CHILD" in line
    ]
    redis.client.delete("TESTING")
    layout.eventually(lambda: layout.status("worker") == "RUNNING")
    if how == "KILL":
        layout.signal("worker", "KILL")
    else:
        layout.ctl(*{"restart": ["restart", "worker:*"], "shutdown": ["shutdown"]}[how])
    layout.eventually(lambda: not any(map(lives, children)))
