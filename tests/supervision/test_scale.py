"""scale: more or fewer processes of a program, while all others go on."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from xmlrpc.client import Fault, ServerProxy

import pytest

from .. import asking
from ..server import free_port
from .foreign import Foreign

Make = Callable[..., Foreign]

PROGRAMS = """
[program:work]
command = /bin/sleep 1000
process_name = work_%(process_num)02d
numprocs = 2

[program:single]
command = /bin/sleep 1000

[program:left]
command = /bin/sleep 1000
process_name = left_%(process_num)d

[program:right]
command = /bin/sleep 1000

[group:several]
programs = left,right

[eventlistener:listens]
command = /bin/cat
events = TICK_60
"""


def names(here: Foreign) -> list[str]:
    return sorted(name for name in here.table() if name.startswith("work:"))


def first(number: int) -> list[str]:
    return [f"work:work_{n:02d}" for n in range(number)]


def test_up_and_down(foreign: Make) -> None:
    """The lowest numbers stay, with their process ids; `reread` and `update` see no change."""
    here = foreign(PROGRAMS).start()
    here.running(*first(2))
    kept = here.pid("work:work_00")
    assert here.ctl("scale", "work", "5").returncode == 0
    here.running(*first(5))
    assert "No config updates" in here.ctl("reread").stdout
    assert here.ctl("update").stdout == ""
    assert here.ctl("scale", "work", "1").stdout == "work: 1\n"
    assert names(here) == first(1)
    assert here.pid("work:work_00") == kept
    assert "No config updates" in here.ctl("reread").stdout
    here.ctl("update")
    assert here.pid("work:work_00") == kept


def scale(here: Foreign, program: str, number: int) -> None:
    """As supervisorctl's verb does it, without the time that supervisorctl takes to start."""
    assert asking.ask(here.socket, "supervision.scale", program, number) == number


def test_many_quick_changes(foreign: Make) -> None:
    """Thirty in a row, then one: none is left over, none is lost."""
    here = foreign(PROGRAMS).start()
    here.running(*first(2))
    kept = here.pid("work:work_00")
    draw = random.Random(7)  # noqa: S311
    for _ in range(30):
        number = draw.randint(1, 8)
        scale(here, "work", number)
        assert len(names(here)) == number
    scale(here, "work", 1)
    here.eventually(lambda: names(here) == first(1))
    assert here.pid("work:work_00") == kept
    assert here.term() == 0


def test_an_edit_of_another_key_keeps_the_number(foreign: Make) -> None:
    """`update` restarts for the edit, at the scaled number; an edit of the number wins."""
    here = foreign(PROGRAMS).start()
    scale(here, "work", 3)
    here.write(PROGRAMS.replace("/bin/sleep 1000", "/bin/sleep 2000"))
    assert "work: updated process group" in here.ctl("update").stdout
    here.running(*first(3))
    here.write(PROGRAMS.replace("numprocs = 2", "numprocs = 4"))
    here.ctl("update")
    here.running(*first(4))


def test_an_edit_is_not_hidden_by_scaling(foreign: Make) -> None:
    """After a `scale`, `update` still restarts what runs the old command."""
    here = foreign(PROGRAMS).start()
    here.running(*first(2))
    here.write(PROGRAMS.replace("/bin/sleep 1000", "/bin/sleep 2000"))
    scale(here, "work", 3)
    assert "work: changed" in here.ctl("reread").stdout


def test_a_program_in_a_group(foreign: Make) -> None:
    """The others of the group go on, and `update` sees no change."""
    here = foreign(PROGRAMS).start()
    here.running("several:left_0", "several:right")
    kept = here.pid("several:left_0"), here.pid("several:right")
    scale(here, "left", 3)
    here.running("several:left_1", "several:left_2")
    assert "No config updates" in here.ctl("reread").stdout
    scale(here, "left", 1)
    assert [name for name in here.table() if name.startswith("several:")] == [
        "several:left_0",
        "several:right",
    ]
    assert kept == (here.pid("several:left_0"), here.pid("several:right"))


def test_a_program_that_is_not_here_yet_is_reported(foreign: Make) -> None:
    """A program that is in the file, but that no `update` has started."""
    here = foreign(PROGRAMS).start()
    here.write(PROGRAMS + "[program:late]\ncommand = /bin/sleep 1000\n")
    here.ctl("reread")
    done = here.ctl("scale", "late", "1")
    assert done.returncode == 1
    assert "supervisorctl update" in done.stdout


def test_a_reload_returns_to_the_file(foreign: Make) -> None:
    here = foreign(PROGRAMS).start()
    scale(here, "work", 4)
    here.reload()
    here.running(*first(2))
    assert names(here) == first(2)


def test_clear_errors(foreign: Make) -> None:
    """Wrong names and numbers change nothing and say what is right."""
    here = foreign(PROGRAMS).start()
    for words, message in (
        (["wrok", "2"], "wrok; the programs are left, right, single, work"),
        (["work"], "scale takes a program and a number"),
        (["work", "many"], "scale takes a program and a number"),
        (["work", "99999999999999999999"], "expected a number from 1 to 256"),
    ):
        done = here.ctl("scale", *words)
        assert done.returncode != 0
        assert message in done.stdout, words
    for program, number, message in (
        ("listens", 2, "listens; the programs are left, right, single, work"),
        ("several", 2, "several; the programs are left, right, single, work"),
        ("work", 0, "expected a number from 1 to 256"),
        ("work", 257, "expected a number from 1 to 256"),
        ("single", 2, "process_num"),
    ):
        with pytest.raises(Fault, match=message):
            scale(here, program, number)
    assert names(here) == first(2)
    assert "No config updates" in here.ctl("reread").stdout


def test_a_socket_is_shared_by_the_new_ones(foreign: Make, folder: Path) -> None:
    """An fcgi-program scales as well: all have the same descriptor 0."""
    program = f"""
[fcgi-program:work]
command = /bin/sleep 1000
process_name = work_%(process_num)02d
socket = unix://{folder}/held.sock
"""
    here = foreign(program).start()
    scale(here, "work", 3)
    here.running(*first(3))
    assert len({os.readlink(f"/proc/{here.pid(name)}/fd/0") for name in first(3)}) == 1


def test_help_tells_of_every_verb(foreign: Make) -> None:
    here = foreign(PROGRAMS).start()
    told = here.ctl("help").stdout
    for verb in ("scale", "roll", "ready"):
        assert verb in told
        assert here.ctl("help", verb).stdout.startswith(verb)


def test_off_is_stock(foreign: Make) -> None:
    here = foreign(PROGRAMS, "scale = off").start()
    assert "does not offer it" in here.ctl("scale", "work", "3").stdout
    assert names(here) == first(2)


def test_nothing_of_ours_is_published_on_tcp(foreign: Make) -> None:
    """The verbs work through the Unix socket only."""
    port = free_port()
    tcp = f"[inet_http_server]\nport = 127.0.0.1:{port}\nusername = a\npassword = b\n"
    here = foreign(PROGRAMS + tcp).start()
    here.running(*first(2))
    with ServerProxy(f"http://a:b@127.0.0.1:{port}/RPC2") as proxy:
        assert proxy.supervisor.getPID()
        with pytest.raises(Fault, match="UNKNOWN_METHOD"):
            proxy.supervision.scale("work", 3)
    assert here.ctl("scale", "work", "3").returncode == 0
