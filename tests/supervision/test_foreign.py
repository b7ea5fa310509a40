"""Somebody else's configuration: all parts on, programs that know nothing of us."""

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from example.supervision.parts import PARTS

from ..launchers import open_files
from ..server import free_port
from .foreign import Foreign

Make = Callable[..., Foreign]

INCLUDED = """
[program:included]
command = /bin/sh -c 'echo from the included file; exec sleep 1000'
stdout_events_enabled = true
environment = COLOUR="blue"
"""
# Answers each event by the protocol of supervisor's event listeners.
LISTENER = """
#!/bin/sh
while :; do
    echo READY
    read -r header
    length=${header##*len:}
    dd bs=1 count="$length" 2>/dev/null >/dev/null
    echo heard >&2
    printf 'RESULT 2\\nOK'
done
"""


def programs(folder: Path, port: int) -> str:
    """A group of two, an event listener, a socket, a user, and an included file."""
    (folder / "more").mkdir()
    (folder / "more" / "included.conf").write_text(INCLUDED)
    listener = folder / "listener"
    listener.write_text(LISTENER.lstrip())
    listener.chmod(0o755)
    user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    return f"""
[group:pair]
programs = left,right

[program:left]
command = /bin/sh -c 'trap "exit 0" USR1; echo left; read -r _'
stopsignal = USR1
stdout_events_enabled = true

[program:right]
command = /bin/cat
stderr_logfile = NONE

[program:other]
command = /bin/sh -c 'id -un; exec sleep 1000'
user = {user}
directory = /
stdout_events_enabled = true

[program:by_hand]
command = /bin/sleep 1000
autostart = false

[fcgi-program:web]
command = /bin/sleep 1000
socket = tcp://127.0.0.1:{port}
process_name = web_%(process_num)d
numprocs = 2

[eventlistener:listens]
command = {listener}
events = PROCESS_STATE_RUNNING
stderr_events_enabled = true

[include]
files = more/*.conf
"""


ALL = ["pair:left", "pair:right", "other", "web:web_0", "web:web_1", "listens", "included"]


@pytest.mark.parametrize("plugin", ["critical = all\nconfig_error = 2\nstop = 9\n", ""])
def test_a_foreign_configuration_runs_as_before(foreign: Make, folder: Path, plugin: str) -> None:
    """Groups, listeners, sockets, users, own stop signals and included files."""
    here = foreign(programs(folder, free_port()), plugin).start()
    here.running(*ALL)
    for line in ("left | left", "included | from the included file", "listens | heard"):
        here.eventually(lambda line=line: line in here.stdout())  # type: ignore[misc]
    user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    assert f"other | {user}" in here.stdout()
    environ = Path(f"/proc/{here.pid('included')}/environ").read_bytes()
    assert b"COLOUR=blue" in environ

    # Nobody of them speaks sd_notify: who runs is ready, and who is not meant to start is no fault.
    assert here.ctl("ready").returncode == 0
    assert here.ctl("roll", "pair").returncode == 0
    assert here.ctl("scale", "web", "3").returncode == 0
    assert here.ctl("start", "by_hand").returncode == 0
    assert "No config updates" in here.ctl("reread").stdout
    assert here.ctl("restart", "pair:*").returncode == 0
    assert "(exit status 0)" in next(
        line for line in here.log().splitlines() if "stopped: left" in line
    )
    here.ctl("reload")
    here.eventually(lambda: here.log().count("supervisord started") == 2)
    here.running(*ALL)
    assert here.term() == 0
    assert "Traceback" not in here.log() + here.stdout()


def test_two_servers_share_one_installation(foreign: Make, folder: Path) -> None:
    """The factory is called for each HTTP server; every line comes once all the same."""
    tcp = f"[inet_http_server]\nport = 127.0.0.1:{free_port()}\nusername = a\npassword = b\n"
    here = foreign(programs(folder, free_port()) + tcp).start()
    here.running(*ALL)
    here.eventually(lambda: "left | left" in here.stdout())
    assert here.stdout().count("left | left\n") == 1
    assert here.stdout().count("spawned: 'right'") == 1
    assert here.ctl("ready").returncode == 0


def test_all_off_is_plain_supervisord(foreign: Make, folder: Path) -> None:
    """Nothing of supervisord or its loop is touched."""
    off = "".join(f"{part} = off\n" for part in PARTS)
    here = foreign(programs(folder, free_port()), off).start()
    here.running(*ALL)
    descriptors = own_descriptors(here)
    assert own_descriptors(foreign_without_plugin(here)) == descriptors


def own_descriptors(here: Foreign) -> int:
    """How many descriptors supervisord has open, without the connections to it."""
    assert here.process
    return sum(not each.startswith("socket:") for each in open_files(here.process.pid))


def foreign_without_plugin(here: Foreign) -> Foreign:
    """The same programs again, by stock supervisord."""
    assert here.term() == 0
    text = here.conf.read_text()
    start, end = text.index("[ctlplugin:supervision]"), text.index("\n[group:pair]")
    here.conf.write_text(text[:start] + text[end:])
    here.start()
    here.running(*ALL)
    return here
