"""sockets: a listening socket outlives its programs."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ..launchers import SCRIPTS
from ..layout import Layout
from ..server import Server, free_port
from .foreign import Foreign

Make = Callable[..., Foreign]

PAUSE = 0.01
"""Seconds between two clients: what they connect to needs the machine too."""


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
    """Clients that connect meanwhile are answered after the start."""
    port = free_port()
    here = foreign(echo(folder, port)).start()
    here.running("echo")
    here.ask("stopProcess", "echo")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as early:
        here.ask("startProcess", "echo")
        assert early.recv(2) == b"hi"


def test_a_group_that_had_no_process_at_first_refuses_nobody(foreign: Make, folder: Path) -> None:
    port = free_port()
    none = "numprocs = 0\nprocess_name = echo_%(process_num)d\n"
    here = foreign(echo(folder, port) + none).start()
    here.ctl("scale", "echo", "1")
    here.running("echo:echo_0")
    here.ask("stopProcessGroup", "echo")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as early:
        here.ask("startProcessGroup", "echo")
        assert early.recv(2) == b"hi"


def test_it_closes_when_the_group_goes_and_at_the_end(foreign: Make, folder: Path) -> None:
    port = free_port()
    here = foreign(echo(folder, port)).start()
    here.running("echo")
    here.write("[program:other]\ncommand=/bin/sleep 1000\n")
    here.ctl("update")
    here.eventually(lambda: refuses(port))
    here.write(echo(folder, port))
    here.ctl("update")
    here.running("echo")
    assert here.term() == 0
    assert refuses(port)


@pytest.mark.parametrize("way", ["update", "reload"])
def test_an_address_may_become_one_that_holds_the_old(
    way: str, foreign: Make, folder: Path
) -> None:
    """The old socket is not kept in the way of the new one."""
    port = free_port()
    program = echo(folder, port)
    here = foreign(program).start()
    for host in ("0.0.0.0", "localhost", "[::]"):  # noqa: S104
        here.running("echo")
        pid = here.pid("echo")
        here.write(program.replace("127.0.0.1", host))
        said = here.ctl(way).stdout
        here.replaced("echo", pid)
        assert "ERROR" not in said
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            assert client.recv(2) == b"hi"


def test_a_group_that_is_updated_to_no_process(foreign: Make, folder: Path) -> None:
    """Its socket closes, and one that is scaled up again opens its own."""
    port = free_port()
    some = echo(folder, port) + "process_name = echo_%(process_num)d\n"
    here = foreign(some).start()
    here.running("echo:echo_0")
    here.write(some + "numprocs = 0\n")
    here.ctl("update")
    assert refuses(port)
    assert here.ctl("scale", "echo", "1").returncode == 0
    here.running("echo:echo_0")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        assert client.recv(2) == b"hi"


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_an_update_of_a_changed_group_refuses_nobody(
    kind: str, foreign: Make, folder: Path
) -> None:
    """Also if the program has another name from then on."""
    port = free_port()
    where = {"tcp": f"tcp://127.0.0.1:{port}", "unix": f"unix://{folder}/echo.sock"}[kind]
    program = echo(folder, port).replace(f"tcp://127.0.0.1:{port}", where)
    here = foreign(program).start()
    here.running("echo")
    done: list[bool] = []
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(greet, where, done)
        try:
            for edited in (program + 'environment = A="1"\n', program.replace(":echo]", ":hello]")):
                here.write(edited)
                here.ctl("update")
            here.running("hello")
        finally:
            done.append(True)
        assert asked.result() > 10


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_reload_refuses_nobody(kind: str, foreign: Make, folder: Path) -> None:
    """By supervisorctl and by HUP; what the file has no longer is closed."""
    port, other = free_port(), free_port()
    where = {"tcp": f"tcp://127.0.0.1:{port}", "unix": f"unix://{folder}/echo.sock"}[kind]
    program = echo(folder, port).replace(f"tcp://127.0.0.1:{port}", where)
    second = echo(folder, other).replace("echo", "other")
    here = foreign(program + second).start()
    here.running("echo", "other")
    here.write(program)
    done: list[bool] = []
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(greet, where, done)
        try:
            here.ctl("reload")
            here.eventually(lambda: here.log().count("supervisord started") == 2)
            here.running("echo")
            assert here.process
            here.process.send_signal(signal.SIGHUP)
            here.eventually(lambda: here.log().count("supervisord started") == 3)
            here.running("echo")
        finally:
            done.append(True)
        assert asked.result() > 10
    assert refuses(other)
    assert "Traceback" not in here.log()


@pytest.mark.skipif(not shutil.which("ss"), reason="needs ss")
@pytest.mark.parametrize("kind", ["tcp", "tcp6", "unix"])
def test_the_files_backlog_is_that_of_app(
    kind: str, launch: Callable[..., Any], redis: Server
) -> None:
    """Although a server listens on its socket once more; unless it is told another."""
    layout: Layout = launch(Layout, redis)
    layout.only(app=1)
    where = {
        "tcp": f"tcp://127.0.0.1:{layout.port}",
        "tcp6": f"tcp://[::]:{layout.port}",
        "unix": f"unix://{layout.folder}/app.sock",
    }[kind]
    mine = f"[fcgi-program:app]\nsocket = {where}\nsocket_backlog = 77\n"
    layout.override("port", mine)
    layout.start()
    layout.ready()
    assert backlog(where) == 77
    layout.override("port", f'{mine}environment = UVICORN_BACKLOG="88"\n')
    layout.ctl("update", check=True)
    layout.eventually(lambda: backlog(where) == 88)


def backlog(where: str) -> int:
    """How many connections may wait there, by ss: Send-Q of a listening socket."""
    command = ["ss", "--no-header", "--numeric", "--listening", "--tcp", "--unix"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    name = where.partition("://")[2]
    names = {name, name.replace("[::]", "*")}
    [found] = [cells for cells in map(str.split, lines.splitlines()) if names & {*cells}]
    return int(found[3])


def test_a_reload_that_switches_it_off(foreign: Make, folder: Path) -> None:
    """Nothing is left of it in the new run."""
    port = free_port()
    here = foreign(echo(folder, port)).start()
    here.running("echo")
    here.write(echo(folder, port), "sockets = off")
    here.ctl("reload")
    here.eventually(lambda: here.log().count("supervisord started") == 2)
    here.running("echo")
    here.ask("stopProcess", "echo")
    assert refuses(port)
    here.ask("startProcess", "echo")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        assert client.recv(2) == b"hi"


def greet(where: str, done: list[bool]) -> int:
    """Connect again and again, and wait for a greeting; returns how many came."""
    url = urlsplit(where)
    address: Any = (url.hostname, url.port) if url.port else url.path
    family = socket.AF_INET if url.port else socket.AF_UNIX
    count = 0
    while not done:
        with socket.socket(family) as client:
            client.settimeout(10)
            client.connect(address)
            # Nothing where TERM struck between its accept and its send.
            count += client.recv(2) == b"hi"
        time.sleep(PAUSE)
    return count


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_off_is_stock(foreign: Make, folder: Path) -> None:
    port = free_port()
    here = foreign(echo(folder, port), "sockets = off").start()
    here.running("echo")
    here.ask("stopProcess", "echo")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
