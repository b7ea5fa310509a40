"""docs/control.md: each example, run as the page says, under a real supervisord."""

import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from .layout import ROOT, Layout
from .server import Server

DOCS = ROOT / "docs"
CONTROL = DOCS / "control"
NAMES = sorted(path.stem for path in CONTROL.glob("*.py"))
LINES = 20

STEP = """
[program:{name}]
command = sh -c "echo {name} >>var/night.txt; exit {status}"
directory = %(here)s/..
autostart = false
autorestart = false
startsecs = 0
"""


@pytest.fixture
def with_example(launch: Callable[..., Any], redis: Server) -> Callable[..., Layout]:
    """Starts programs with one example beside them: with_example("crew", worker=1)."""

    def start(name: str, more: str = "", **processes: int) -> Layout:
        layout: Layout = launch(Layout, redis, PYTHONPATH=str(CONTROL))
        layout.only(**processes)
        shutil.copytree(CONTROL, layout.folder / "docs" / "control")
        conf = (CONTROL / f"{name}.conf").read_text()
        if "[ctlplugin:" in conf:
            with open(layout.folder / "supervisord.conf", "a") as main:
                main.write(conf)
        else:
            layout.override(name, conf + more)
        layout.start()
        layout.ready()
        return layout

    return start


def workers(layout: Layout) -> int:
    states = [state for name, (state, _) in layout.table().items() if name.startswith("worker:")]
    assert set(states) == {"RUNNING"}
    return len(states)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_what_is_tested(name: str) -> None:
    """Each file stands in docs/control.md word for word, and an example has at most 20 lines."""
    page = (DOCS / "control.md").read_text()
    blocks = re.findall(r"^```\w+\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    files = [(CONTROL / f"{name}.{suffix}").read_text() for suffix in ("py", "conf")]
    assert all(text in blocks for text in files)
    assert sum(bool(line.strip()) for text in files for line in text.splitlines()) <= LINES


def test_an_event_listener(with_example: Callable[..., Layout]) -> None:
    """It hears of a killed worker, and not of the redis that had nothing to do."""
    layout = with_example("deaths", worker=1, redis=1)
    deaths = layout.folder / "var" / "deaths.txt"
    layout.eventually(lambda: layout.status("deaths") == "RUNNING")
    layout.signal("worker", "KILL")
    layout.eventually(deaths.exists)
    layout.eventually(lambda: deaths.read_text() == "worker_00 PROCESS_STATE_EXITED\n")


def test_a_verb(with_example: Callable[..., Layout]) -> None:
    layout = with_example("who", worker=1)
    pid = layout.pid("worker")
    assert layout.ctl("who", str(pid), check=True).stdout == "worker:worker_00\n"
    nobody = layout.ctl("who", "1")
    assert (nobody.returncode, nobody.stdout) == (1, "1 is no program of ours\n")


def test_an_rpc(with_example: Callable[..., Layout]) -> None:
    """It ends one process of the two, which is replaced."""
    layout = with_example("oldest", app=2)
    before = {name: layout.pid(name) for name in ("app:app_00", "app:app_01")}
    ended = "app:" + str(layout.rpc("oldest.end", "app"))
    layout.eventually(lambda: layout.pid(ended) != before[ended])
    [other] = before.keys() - {ended}
    assert layout.pid(other) == before[other]


@pytest.mark.parametrize(
    ("status", "done"), [(0, "extract\nload\n"), (3, "extract\n")], ids=["well", "badly"]
)
def test_a_program_that_starts_others(
    with_example: Callable[..., Layout], status: int, done: str
) -> None:
    """The second step comes after the first, and only if that ended well."""
    steps = STEP.format(name="extract", status=status) + STEP.format(name="load", status=0)
    layout = with_example("nightly", steps)
    layout.ctl("start", "nightly", check=True)
    layout.eventually(lambda: layout.status("nightly") == "EXITED")
    assert (layout.folder / "var" / "night.txt").read_text() == done
    told = layout.ctl("tail", "nightly", "stderr").stdout
    assert told.strip() == ("extract: EXITED with 3" if status else "")


def test_scaling_by_a_signal(with_example: Callable[..., Layout]) -> None:
    layout = with_example("crew", worker=1)
    layout.eventually(lambda: layout.status("crew") == "RUNNING")
    layout.ctl("signal", "USR1", "crew", check=True)
    layout.eventually(lambda: workers(layout) == 2)
    layout.signal("crew", "USR1")
    layout.eventually(lambda: workers(layout) == 3)
    layout.ctl("signal", "USR2", "crew", check=True)
    layout.eventually(lambda: workers(layout) == 2)


def test_scaling_by_a_measure(with_example: Callable[..., Layout]) -> None:
    """Twenty files are two workers more, none are none."""
    layout = with_example("measure", worker=1)
    # Until then the program has nothing to look at, and is started again.
    inbox = layout.folder / "var" / "inbox"
    inbox.mkdir()
    for number in range(20):
        (inbox / str(number)).touch()
    layout.eventually(lambda: workers(layout) == 3)
    for file in inbox.iterdir():
        file.unlink()
    layout.eventually(lambda: workers(layout) == 1)
