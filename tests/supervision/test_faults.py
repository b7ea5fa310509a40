"""A fault in a part is logged, and supervisord lives on."""

from collections.abc import Callable
from pathlib import Path

import pytest

import example.supervision
from example.supervision import PARTS

from ..layout import ROOT
from .foreign import EVENTS, Foreign

Make = Callable[..., Foreign]

PROGRAMS = f"""
[program:steady]
command = /bin/sh -c 'echo here; exec sleep 1000'
{EVENTS}
[program:dies]
command = /bin/false
startretries = 1
{EVENTS}
[program:ends]
command = /bin/sh -c 'exit 1'
startsecs = 0
autorestart = false
"""
MODULES = sorted({install.__module__.rpartition(".")[2] for install, _, _ in PARTS.values()})


def fault(part: str, installs: str) -> str:
    """A section that comes before ours: it makes `part` raise."""
    return f"""
[rpcinterface:fault]
supervisor.rpcinterface_factory = tests.supervision.fault:make
part = {part}
installs = {installs}
"""


@pytest.mark.parametrize("part", MODULES)
@pytest.mark.parametrize("installs", ["yes", "no"])
def test_supervisord_survives(foreign: Make, part: str, installs: str) -> None:
    """Whatever a part does: programs start, fail, stop and start again; TERM ends with 0."""
    critical = "critical = dies" if part == "exit_status" else ""
    here = foreign(PROGRAMS, critical, PYTHONPATH=str(ROOT))
    conf = here.conf.read_text()
    ours = "[rpcinterface:supervision]"
    here.conf.write_text(conf.replace(ours, fault(part, installs) + "\n" + ours))
    here.start()
    here.running("steady")
    here.eventually(lambda: here.table()["dies"] == "FATAL")
    assert here.ctl("restart", "steady").returncode == 0
    assert here.ctl("update").returncode == 0
    # What the child's end of the fork reports goes to that program's log.
    logs = here.ctl("tail", "steady").stdout + here.ctl("tail", "steady", "stderr").stdout
    assert here.lives()
    assert here.term() == 0
    if (part, installs) != ("path", "yes"):  # path only installs
        assert f"{part} raises on purpose" in logs + here.log()


def test_nothing_reaches_the_loop_unguarded() -> None:
    """Parts hand their functions to the plugin, which guards them: none goes round it."""
    folder = example.supervision.__path__[0]
    for module in MODULES:
        source = Path(folder, f"{module}.py").read_text()
        for way_round in ("events.subscribe(", "get_socket_map", "options.close_logger"):
            assert way_round not in source, module
