"""sockets: a listening socket outlives its programs."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ..launchers import SCRIPTS
from ..server import free_port
from .foreign import Foreign

Make = Callable[..., Foreign]


GREETER = """
import socket
listener = socket.socket(fileno=0)
while True:
    listener.accept()[0].send(b"hi")
"""


def echo(folder: Path, port: int) -> str:
    """A program that greets each connection on descriptor 0."""
    (folder / "greeter.py").write_text(GREETER)
    return f"""
[fcgi-program:echo]
command = {SCRIPTS}/python {folder}/greeter.py
socket = tcp://127.0.0.1:{port}
"""


def test_a_stopped_group_refuses_nobody(foreign: Make, folder: Path) -> None:
    """Who connects meanwhile is answered after the start."""
    port = free_port()
    here = foreign(echo(folder, port)).start()
    here.running("echo")
    here.ctl("stop", "echo")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as early:
        here.ctl("start", "echo")
        assert early.recv(2) == b"hi"


def test_a_group_that_had_no_process_at_first_refuses_nobody(foreign: Make, folder: Path) -> None:
    port = free_port()
    none = "numprocs = 0\nprocess_name = echo_%(process_num)d\n"
    here = foreign(echo(folder, port) + none).start()
    here.ctl("scale", "echo", "1")
    here.running("echo:echo_0")
    here.ctl("stop", "echo:*")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as early:
        here.ctl("start", "echo:*")
        assert early.recv(2) == b"hi"


def test_it_closes_when_the_group_goes_and_at_the_end(foreign: Make, folder: Path) -> None:
    port = free_port()
    here = foreign(echo(folder, port)).start()
    here.running("echo")
    here.write("[program:other]\ncommand=/bin/sleep 1000\n")
    here.ctl("update")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    here.write(echo(folder, port))
    here.ctl("update")
    here.running("echo")
    assert here.term() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_off_is_stock(foreign: Make, folder: Path) -> None:
    port = free_port()
    here = foreign(echo(folder, port), "sockets = off").start()
    here.running("echo")
    here.ctl("stop", "echo")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
