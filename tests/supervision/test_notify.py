"""notify, watchdog: programs report their state, and one that hangs is replaced."""

import os
import re
import signal
import socket
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from xmlrpc.client import ServerProxy

import pytest
from supervisor.xmlrpc import SupervisorTransport

from ..launchers import SCRIPTS
from ..waiting import eventually
from .foreign import EVENTS, Foreign

Make = Callable[..., Foreign]


def program(folder: Path, name: str, code: str, more: str = "") -> str:
    """A program of Python lines; `say(message, *descriptors)` speaks sd_notify."""
    (folder / f"{name}.py").write_text(
        textwrap.dedent(
            """
            import os, socket, sys, time
            def say(message, *descriptors):
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                    out.setblocking(False)
                    out.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
                    socket.send_fds(out, [message.encode()], descriptors)
            """
        )
        + textwrap.dedent(code)
    )
    command = f"{SCRIPTS}/python -u {folder}/{name}.py"
    return f"[program:{name}]\ncommand = {command}\n{EVENTS}{more}\n"


STEADY = """
while True:
    say("WATCHDOG=1")
    time.sleep(0.5)
"""
OURS = """
import asyncio, time
from example.runtime.process import Process, run
async def main():
    async with Process("ours") as this:
        this.ready("about to hang")
        await asyncio.sleep(1.5)
        hang_here()
def hang_here():
    print("hanging", flush=True)
    time.sleep(1000)
run(main)
"""


SHOWS_ADDRESS = """
print("address: " + os.environ["NOTIFY_SOCKET"])
time.sleep(1000)
"""
NOBODY = 65534
ALL_USERS_PYTHON = "/usr/bin/python3"


def shown_address(here: Foreign, name: str) -> str:
    found = re.search(rf"{name} \| address: (.+)", here.stdout())
    return found[1].replace("@", "\0", 1) if found else ""


def ready(here: Foreign) -> dict[str, list[str]]:
    """Process -> its cells in the table of `ready`."""
    lines = here.ctl("ready").stdout.splitlines()
    return {cells[0]: cells for cells in (re.split(r" {2,}", line) for line in lines)}


def status(here: Foreign, name: str) -> str:
    return str(here.rows()[name].get("status", ""))


def test_ready_is_what_a_program_says(foreign: Make, folder: Path) -> None:
    """Not merely that it runs. The status line shows, without control characters."""
    code = """
        say("READY=0\\nSTATUS=warming up")
        while not os.path.exists(sys.argv[0] + ".go"):
            time.sleep(0.05)
        say("READY=1\\nSTATUS=at \\x1b[31mwork")
        time.sleep(1000)
    """
    here = foreign(program(folder, "slow", code), "ready = slow").start()
    here.running("slow")
    here.eventually(lambda: status(here, "slow") == "warming up")
    assert ready(here)["slow"][2] == "no"
    (folder / "slow.py.go").touch()
    here.eventually(lambda: status(here, "slow") == "at [31mwork")
    assert re.fullmatch(r"\d+ s", ready(here)["slow"][2])
    assert here.ctl("ready").returncode == 0


def test_ready_again_is_no_news(foreign: Make, folder: Path) -> None:
    """A program may repeat it, in case it got lost: one line, and ready since the first."""
    code = 'for n in range(3): say(f"READY=1\\nSTATUS={n}")\nsay("STATUS=said"); time.sleep(1000)'
    here = foreign(program(folder, "again", code)).start()
    here.eventually(lambda: status(here, "again") == "said")
    assert here.log().count("ready: again") == 1


def test_only_processes_of_supervisord_are_heard(foreign: Make, folder: Path) -> None:
    """The kernel names the sender: a message of a grandchild does not count."""
    code = 'say("READY=1\\nSTATUS=not mine to say"); print("sent"); time.sleep(1000)'
    programs = program(folder, "behind", code).replace("command = ", "command = /bin/sh -c '")
    here = foreign(programs.replace("behind.py", "behind.py; true'\nstopasgroup = true")).start()
    here.eventually(lambda: "behind | sent" in here.stdout())
    here.running("behind")
    assert "not mine" not in here.ctl("ready").stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_cannot_send(foreign: Make, folder: Path) -> None:
    """A user who could fill the socket could make healthy programs look silent."""
    here = foreign(program(folder, "steady", SHOWS_ADDRESS)).start()
    address = here.eventually(lambda: shown_address(here, "steady"))
    folder.chmod(0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        os.seteuid(NOBODY)
        try:
            with pytest.raises(PermissionError):
                out.sendto(b"", address)
        finally:
            os.seteuid(0)
    assert here.term() == 0
    assert not os.path.exists(address)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.skipif(not os.path.exists(ALL_USERS_PYTHON), reason="it may not run ours")
def test_a_program_of_another_user_is_heard(foreign: Make, folder: Path) -> None:
    """It cannot open the socket of the others, and gets one that it can."""
    code = 'say("READY=1\\nSTATUS=I am %d" % os.geteuid()); time.sleep(1000)'
    own = program(folder, "nobody", code, f"user = {NOBODY}")
    own = own.replace(f"{SCRIPTS}/python", ALL_USERS_PYTHON)
    folder.chmod(0o755)
    here = foreign(own).start()
    here.eventually(lambda: status(here, "nobody") == f"I am {NOBODY}")


@pytest.mark.parametrize("left", ["a socket", "a folder"])
def test_a_name_that_is_taken(foreign: Make, folder: Path, left: str) -> None:
    """What a killed supervisord has left is replaced. If it cannot be, another name is used."""
    here = foreign(program(folder, "steady", STEADY))
    address = folder / "s.sock.notify"
    if left == "a socket":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as old:
            old.bind(str(address))
    else:
        address.mkdir()
    here.start()
    here.running("steady")
    here.eventually(lambda: "silent_seconds" in here.rows()["steady"])
    assert ("notify: " in here.log()) == (left == "a folder")


def test_descriptors_that_come_along_do_not_leak(foreign: Make, folder: Path) -> None:
    code = """
        for n in range(200):
            try:
                say("STATUS=%d" % n, 0, 1, 2)
            except BlockingIOError:
                time.sleep(0.01)
        say("STATUS=all sent")
        time.sleep(1000)
    """
    here = foreign(program(folder, "giver", code)).start()
    here.eventually(lambda: status(here, "giver") == "all sent")
    assert here.process
    assert len(os.listdir(f"/proc/{here.process.pid}/fd")) < 40


def test_senders_do_not_wait_for_supervisord(foreign: Make, folder: Path) -> None:
    """Ours go on while supervisord is stopped; when it is back it kills nobody for its own gap."""
    code = """
        from example.runtime.notify import notify
        n = 0
        while True:
            n += 1
            notify("WATCHDOG=1")
            with open(sys.argv[0] + ".count", "w") as file: file.write(str(n))
            time.sleep(0.01)
    """
    here = foreign(program(folder, "busy", code), "watchdog = 3").start()
    here.running("busy")
    pid = here.pid("busy")
    count = folder / "busy.py.count"
    assert here.process
    here.process.send_signal(signal.SIGSTOP)
    target = int(count.read_text() or 0) + 400
    eventually(lambda: int(count.read_text() or 0) > target, within=20)
    here.process.send_signal(signal.SIGCONT)
    here.eventually(lambda: here.lives())
    assert here.pid("busy") == pid


def test_a_stopped_process_is_replaced_and_others_are_not(foreign: Make, folder: Path) -> None:
    """SIGSTOP: it cannot even show its stacks. The other process on the socket goes on."""
    many = "numprocs = 2\nprocess_name = %(program_name)s_%(process_num)d\n"
    here = foreign(program(folder, "steady", STEADY, many), "watchdog = 3").start()
    here.running("steady:steady_0", "steady:steady_1")
    stopped, other = here.pid("steady:steady_0"), here.pid("steady:steady_1")
    here.eventually(lambda: "silent_seconds" in here.rows()["steady:steady_0"])
    os.kill(stopped, signal.SIGSTOP)
    here.replaced("steady:steady_0", stopped)
    assert here.pid("steady:steady_1") == other
    assert "hangs: steady_0: silent for 3 s" in here.log()
    assert "SIGKILL, silent for 3 s" in here.ctl("ready").stdout


def test_a_blocked_loop_tells_where_and_is_replaced(foreign: Make, folder: Path) -> None:
    """Our programs write their stacks to the log before they go."""
    here = foreign(program(folder, "ours", OURS, "stopwaitsecs = 1\n"), "watchdog = 3").start()
    here.eventually(lambda: "ours | hanging" in here.stdout())
    pid = here.pid("ours")
    here.replaced("ours", pid)
    said = [line for line in here.stdout().splitlines() if line.startswith("ours | ")]
    assert any("in hang_here" in line for line in said)


def test_a_program_that_never_sent_a_watchdog_is_not_watched(foreign: Make, folder: Path) -> None:
    """One that did is watched, by its own deadline: `off` is a deadline too."""
    silent = program(folder, "silent", 'say("READY=1"); time.sleep(1000)')
    once = program(folder, "once", 'say("WATCHDOG=1"); time.sleep(1000)')
    never = program(folder, "never", 'say("WATCHDOG=1"); time.sleep(1000)')
    here = foreign(silent + once + never, "watchdog = 3 never=off").start()
    here.running("silent", "once", "never")
    pids = here.pid("silent"), here.pid("never")
    here.eventually(lambda: "hangs: once" in here.log())
    here.eventually(lambda: "WATCHDOG" in here.ctl("ready").stdout)
    assert (here.pid("silent"), here.pid("never")) == pids


def test_a_program_that_drains_in_silence_is_healthy(foreign: Make, folder: Path) -> None:
    """For the health check. While it runs, its silence is a fault."""
    code = """
        import signal
        signal.signal(signal.SIGTERM, lambda *_: (time.sleep(4), sys.exit(0)))
        say("READY=1\\nWATCHDOG=1")
        time.sleep(1000)
    """
    here = foreign(program(folder, "mute", code), "health = 1").start()
    transport = SupervisorTransport("local", "local", f"unix://{folder}/s.sock")
    with ServerProxy("http://127.0.0.1", transport) as server:
        here.eventually(lambda: "wrong mute has been silent" in str(server.supervision.health()))
        server.supervisor.stopProcess("mute", False)
        assert server.supervision.health() == "waits mute"
        assert here.table() == {"mute": "STOPPING"}


def test_a_planned_end_is_shown_with_its_reason(foreign: Make, folder: Path) -> None:
    """It is no fault: a line of `ready` and none of `history`, unless its status says failure."""
    code = 'time.sleep(1.2); say("X_END=did its \x1b[1mwork"); sys.exit(int(sys.argv[1]))'
    good = program(folder, "good", code, "autorestart = true")
    bad = program(folder, "bad", code, "autorestart = true")
    good, bad = good.replace("good.py", "good.py 0"), bad.replace("bad.py", "bad.py 3")
    here = foreign(good + bad, f"history = {folder}/history.jsonl").start()
    here.eventually(lambda: "bad  exit status 3, did its [1mwork" in here.ctl("history").stdout)
    here.eventually(lambda: "exit status 0, did its [1mwork" in here.ctl("ready").stdout)
    assert "good" not in here.ctl("history").stdout


def test_a_program_that_hangs_while_it_ends_by_itself_is_replaced(
    foreign: Make, folder: Path
) -> None:
    """Nothing else watches it, unlike a process that was told to stop."""
    code = 'say("READY=1\\nWATCHDOG=1"); say("STOPPING=1\\nX_END=so many"); time.sleep(1000)'
    here = foreign(program(folder, "ends", code), "watchdog = 3").start()
    here.running("ends")
    here.replaced("ends", here.pid("ends"))
    assert "hangs: ends: silent for 3 s" in here.log()


def test_a_program_that_is_held_up_by_another_has_more_time_to_start(
    foreign: Make, folder: Path
) -> None:
    """For the health check, as long as it says so."""
    code = """
        while not os.path.exists(sys.argv[0] + ".go"):
            say("EXTEND_TIMEOUT_USEC=3000000")
            time.sleep(0.1)
        time.sleep(1000)
    """
    here = foreign(program(folder, "waits", code), "health = 0.3\nready = waits").start()
    transport = SupervisorTransport("local", "local", f"unix://{folder}/s.sock")
    with ServerProxy("http://127.0.0.1", transport) as server:
        here.eventually(lambda: time.time() - here.ask("getProcessInfo", "waits")["start"] > 3)
        assert server.supervision.health() == "waits waits"
        (folder / "waits.py.go").touch()
        here.eventually(lambda: "has not become ready for" in str(server.supervision.health()))


def test_update_sees_no_change_by_us(foreign: Make, folder: Path) -> None:
    """Variables that we add for programs are not taken for an edit of the file."""
    here = foreign(program(folder, "steady", STEADY)).start()
    here.running("steady")
    assert "No config updates" in here.ctl("reread").stdout


def test_off_is_stock(foreign: Make, folder: Path) -> None:
    code = 'print("address:", os.environ.get("NOTIFY_SOCKET")); time.sleep(1000)'
    here = foreign(program(folder, "plain", code), "notify = off\nwatchdog = off").start()
    here.eventually(lambda: "plain | address: None" in here.stdout())
