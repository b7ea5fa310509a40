"""supervisord's start: each fault is named in one line, and the exit status is 2."""

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ..launchers import lives
from ..server import free_port
from .foreign import BASE, Foreign

Make = Callable[..., Foreign]

SLEEPER = "[program:sleeper]\ncommand = /bin/sleep 1000\n"
SERVER = BASE[BASE.index("[unix_http_server]") : BASE.index("[rpcinterface:supervisor]")]


def refusal(here: Foreign) -> str:
    """What supervisord says on stderr before it exits with 2."""
    done = subprocess.run(here.command, env=here.environ, capture_output=True, text=True)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr


def test_all_wrong_keys_and_values_are_reported_at_once(foreign: Make) -> None:
    keys = "wakes = on\nwake = maybe\ncrash_loop = 5\nwatchdog = soon\nconfig_error = two\nstop =\n"
    said = refusal(foreign(SLEEPER, keys))
    for message in (
        "[rpcinterface:supervision] unknown part: wakes; the parts are path, logs, wake",
        "wake = maybe: expected on or off",
        "crash_loop = 5: expected deaths/seconds/longest delay",
        "watchdog = soon: expected a positive number of seconds",
        "config_error = two: expected an exit status from 1 to 255",
        "stop = : expected a positive number of seconds",
    ):
        assert message in said


def test_a_taken_address_is_reported(foreign: Make) -> None:
    """Of an fcgi-program, whose socket supervisord itself opens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        web = f"[fcgi-program:web]\ncommand = /bin/sleep 1000\nsocket = {where}\n"
        said = refusal(foreign(web))
    assert f"[fcgi-program:web] socket = {where}: Address already in use; another" in said


def test_an_update_to_a_taken_address_ends_nothing(foreign: Make) -> None:
    here = foreign(SLEEPER).start()
    here.running("sleeper")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        here.write(f"{SLEEPER}[fcgi-program:web]\ncommand = /bin/sleep 1000\nsocket = {where}\n")
        done = here.ctl("update")
    assert done.returncode != 0
    assert f"socket = {where}: Address already in use" in done.stdout
    assert here.lives()
    assert "Traceback" not in here.log()


def test_a_path_too_long_for_a_socket_is_reported(foreign: Make) -> None:
    here = foreign(SLEEPER)
    path = here.folder / ("long" * 25) / "s.sock"
    here.conf.write_text(here.conf.read_text().replace("%(here)s/s.sock", str(path)))
    assert f"[unix_http_server] file = {path}: longer than" in refusal(here)


def test_without_any_server_the_parts_work(foreign: Make, folder: Path) -> None:
    """supervisord itself would never make the plugin then."""
    fails = "[program:fails]\ncommand = /bin/false\nstartretries = 0\n"
    here = foreign(fails, "critical = fails")
    here.conf.write_text(here.conf.read_text().replace(SERVER, ""))
    with open(folder / "stdout", "wb") as out:
        done = subprocess.run(here.command, env=here.environ, stdout=out, timeout=20)
    assert done.returncode == 70
    assert "supervision: the file has no [unix_http_server]" in here.log()
    assert "supervisord | " in here.stdout()


def test_with_a_tcp_server_only_the_verbs_tell_what_they_need(foreign: Make) -> None:
    port = free_port()
    tcp = f"[inet_http_server]\nport = 127.0.0.1:{port}\n\n"
    here = foreign(SLEEPER)
    ctl = f"[supervisorctl]\nserverurl = http://127.0.0.1:{port}\n\n"
    here.conf.write_text(here.conf.read_text().replace(SERVER, tcp + ctl))
    here.answers = lambda: here.ctl("pid").returncode == 0  # type: ignore[method-assign]
    here.start()
    done = here.ctl("ready")
    assert done.returncode == 1
    assert "needs a [unix_http_server]" in done.stdout
    assert "supervision: the file has no [unix_http_server]" in here.log()
    pid = int(here.ctl("pid", "sleeper").stdout)
    assert here.term() == 0
    assert not lives(pid)


@pytest.mark.parametrize("key", ["critical", "ready", "config_error", "crash_loop", "watchdog"])
def test_a_name_that_matches_nothing_is_reported(foreign: Make, key: str) -> None:
    """A program in a group, a process and a group are known by their names."""
    values = {"config_error": "=2", "crash_loop": "=9/60/1", "watchdog": "=30"}
    names = ("left", "pair", "pair:left_0", "left_1", "listens", "wrnog")
    here = foreign(
        "[group:pair]\nprograms = left\n"
        "[program:left]\ncommand = /bin/sleep 1000\nnumprocs = 2\n"
        "process_name = left_%(process_num)d\n"
        "[eventlistener:listens]\ncommand = /bin/cat\nevents = TICK_60\n",
        f"{key} = {' '.join(name + values.get(key, '') for name in names)}",
    ).start()
    assert f"{key}: no program, process or group is called wrnog\n" in here.log()


@pytest.mark.parametrize("secret", ["p%40ss", "p%!"])
def test_a_lone_percent_is_reported_without_the_value(foreign: Make, secret: str) -> None:
    """The first is a valid, and meaningless, place to fill in: supervisord itself says nothing."""
    here = foreign(f'{SLEEPER}environment = REDIS_URL="redis://:{secret}@host"\n')
    here.spawn()
    advice = "[program:sleeper] environment: a % that stands for itself must be written %%"
    here.eventually(lambda: advice in here.stdout())
    assert secret not in here.stdout()


def test_a_percent_that_is_written_twice_is_right(foreign: Make) -> None:
    env = 'environment = A="100%%",B="%%(b)s",C="%(program_name)s"'
    here = foreign(f"{SLEEPER}{env}\n").start()
    assert "must be written" not in here.log()


def test_a_folder_that_is_a_pattern_is_reported(foreign: Make, folder: Path) -> None:
    """Its drop-ins are not found."""
    odd = folder / "a[1]"
    odd.mkdir()
    here = foreign(f"{SLEEPER}[include]\nfiles = more/*.conf\n")
    moved = odd / "supervisord.conf"
    moved.write_text(here.conf.read_text().replace("%(here)s", str(folder)))
    here.command = [*here.command[:-1], moved]
    here.start()
    assert f"[include] files: nothing below {odd} is found" in here.log()
