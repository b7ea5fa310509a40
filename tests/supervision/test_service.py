"""supervisord as a service of systemd's."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .foreign import Foreign

Make = Callable[..., Foreign]


@pytest.fixture
def manager(folder: Path) -> Iterator[socket.socket]:
    """What systemd hands to a service of Type=notify."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(f"{folder}/systemd")
        inbox.settimeout(20)
        yield inbox


def heard(manager: socket.socket, word: str) -> None:
    """Wait for it; TimeoutError if it does not come."""
    while word not in manager.recv(4096).decode().splitlines():
        pass


def test_it_is_ready_when_all_programs_are_and_says_when_it_stops(
    foreign: Make, manager: socket.socket
) -> None:
    """Not before: the socket is silent until the last of them."""
    late = "[program:late]\ncommand = sleep 1000\nstartsecs = 2\n"
    quick = "[program:quick]\ncommand = sleep 1000\n"
    here = foreign(quick + late, NOTIFY_SOCKET=manager.getsockname()).start()
    heard(manager, "READY=1")
    assert here.table() == {"late": "RUNNING", "quick": "RUNNING"}
    assert here.term() == 0
    heard(manager, "STOPPING=1")


def test_a_reload_is_no_stop(foreign: Make, manager: socket.socket) -> None:
    """systemd would kill all that still runs some time after STOPPING=1."""
    here = foreign("[program:one]\ncommand = sleep 1000\n", NOTIFY_SOCKET=manager.getsockname())
    here.start()
    heard(manager, "READY=1")
    here.ctl("reload")
    said = ""
    while "READY=1" not in said:
        said = manager.recv(4096).decode()
        assert "STOPPING=1" not in said


def test_programs_do_not_talk_to_systemd(foreign: Make, manager: socket.socket) -> None:
    where = manager.getsockname()
    program = "[program:one]\ncommand = sh -c 'env; exec sleep 1000'\nstdout_events_enabled=true\n"
    watched = {"WATCHDOG_PID": str(os.getpid()), "WATCHDOG_USEC": "60000000"}
    here = foreign(program, NOTIFY_SOCKET=where, **watched).start()
    heard(manager, "READY=1")
    here.eventually(lambda: "NOTIFY_SOCKET=" in here.stdout())
    assert f"NOTIFY_SOCKET={where}\n" not in here.stdout()
    assert "WATCHDOG_USEC" not in here.stdout()
