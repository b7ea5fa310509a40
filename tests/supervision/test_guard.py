"""A fault in a part is logged, and supervisord lives on."""

from collections.abc import Callable
from pathlib import Path

import pytest

import example.supervision
from example.supervision.parts import PARTS

from ..layout import ROOT
from .foreign import EVENTS, Foreign

Make = Callable[..., Foreign]

PROGRAMS = f"""
[program:steady]
command = /bin/sh -c 'echo here; exec sleep 1000'
{EVENTS}
[program:dies]
command = /bin/false
startretries = 0
{EVENTS}
[program:ends]
command = /bin/sh -c 'exit 1'
startsecs = 0
autorestart = false
"""
ALL_ON = """config_error = 2
descendants = on
crash_loop = 10/120/5
watchdog = 30
stop = 9
after = ends: steady
history = history.jsonl
memory = 1GB
"""
MODULES = sorted({install.__module__.rpartition(".")[2] for install, _, _ in PARTS.values()})


@pytest.mark.parametrize("part", sorted(set(MODULES) - {"path"}))  # path only installs
def test_a_fault_in_a_part_is_logged_and_survived(foreign: Make, part: str) -> None:
    """Programs start, fail, stop and start again as ever; TERM ends with 0."""
    here = faulty(foreign, part, installs=True)
    # What the child's end of the fork reports goes to that program's log.
    logs = live(here) + here.log()
    assert f"{part} raises on purpose" in logs


def test_no_part_can_be_installed(foreign: Make) -> None:
    """Plain supervisord is what is left."""
    here = faulty(foreign, "all", installs=False)
    live(here)
    for part in MODULES:
        assert f"{part} raises on purpose" in here.log()


def faulty(foreign: Make, part: str, installs: bool) -> Foreign:
    """A supervisord with all parts on, of which one raises, or all."""
    critical = "critical = dies\n" if part in ("exit_status", "all") else ""
    # NOTIFY_SOCKET: without one nothing is done for it.
    environ = {"PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": "@nobody"}
    here = foreign(PROGRAMS, f"{critical}{ALL_ON}", **environ)
    ours = "[rpcinterface:supervision]"
    fault = f"""
[rpcinterface:fault]
supervisor.rpcinterface_factory = tests.supervision.fault:make
part = {part}
installs = {"yes" if installs else "no"}
"""
    here.conf.write_text(here.conf.read_text().replace(ours, fault + ours))
    return here.start()


def live(here: Foreign) -> str:
    """All that programs may go through; returns what they wrote themselves."""
    here.running("steady")
    here.eventually(lambda: here.table()["dies"] == "FATAL")
    here.restart("steady")
    assert here.ask("reloadConfig") == [[[], [], []]]
    said = "".join(
        here.ask(f"readProcess{channel}Log", "steady", -1600, 0) for channel in ("Stdout", "Stderr")
    )
    assert here.lives()
    assert here.term() == 0
    return said


def test_nothing_reaches_the_loop_unguarded() -> None:
    """Parts hand their functions to the plugin, which guards them: none goes round it."""
    folder = example.supervision.__path__[0]
    for module in MODULES:
        source = Path(folder, f"{module}.py").read_text()
        for way_round in ("events.subscribe(", "get_socket_map", "options.close_logger"):
            assert way_round not in source, module
