import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .launchers import Launcher, only_app
from .layout import Layout
from .package import package
from .server import Server

Popen = Callable[..., subprocess.Popen[str]]
YOURS = Path(__file__).parent / "yours"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that may take longest. Otherwise all would wait for them at the end.

    Warnings are errors, but not in your tests: there a library's would fail them.
    """
    items.sort(key=_limit, reverse=True)
    for item in items:
        if YOURS not in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("error"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """What scripts/test asks for by --dist loadgroup."""
    if config.getoption("dist") != "loadgroup":
        return None
    from .together import Together

    return Together(config, log)


def _limit(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker else 0.0


@pytest.fixture(scope="session", autouse=True)
def _demo() -> Iterator[None]:
    """Everything that a test starts finds the package with the files of tests/demo/ in it."""
    folder = Path(tempfile.mkdtemp(prefix="ex", dir="/tmp"))
    os.environ["PYTHONPATH"] = package(folder)
    yield
    shutil.rmtree(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary directory with a path short enough for a Unix socket in it."""
    path = Path(tempfile.mkdtemp(prefix="ex", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def ipv6() -> None:
    """Skips if this machine has no IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")


@pytest.fixture
def popen(folder: Path) -> Iterator[Popen]:
    """Starts a program in `folder`, with a pipe for all that it says: popen([command, …], env)."""
    started: list[subprocess.Popen[str]] = []

    def begin(
        command: list[str | Path], env: dict[str, str] | None = None, stdin: int | None = None
    ) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                command,
                cwd=folder,
                stdin=stdin,
                env=os.environ | (env or {}),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return started[-1]

    try:
        yield begin
    finally:
        for program in started:
            with program:
                program.kill()


@pytest.fixture
def redis(folder: Path) -> Iterator[Server]:
    """A real server, started."""
    with Server(folder / "redis") as server:
        yield server


@pytest.fixture
def launch(folder: Path) -> Iterator[Callable[..., Any]]:
    """Prepares a launcher in a folder of its own, not started: launch(parent, server, NAME="x")."""
    made: list[Launcher] = []

    def prepare(
        kind: Callable[[Path, Server], Launcher], server: Server, **environ: str
    ) -> Launcher:
        home = folder / f"l{len(made)}"
        home.mkdir()
        made.append(kind(home, server))
        if "PYTHONPATH" in environ:
            # First what the test brings, then the demo files.
            environ["PYTHONPATH"] += f":{made[-1].environ.get('PYTHONPATH', '')}"
        made[-1].environ |= environ
        return made[-1]

    try:
        yield prepare
    finally:
        for launcher in made:
            launcher.close()


@pytest.fixture
def api(folder: Path) -> Callable[[str], str]:
    """Writes an api.py of the test's own; returns the PYTHONPATH that leads to it."""

    def write(text: str) -> str:
        code = folder / "code"
        if not code.exists():
            package(code)
        (code / "example" / "api.py").write_text(text)
        return str(code)

    return write


@pytest.fixture
def serve(
    launch: Callable[..., Any], redis: Server, api: Callable[[str], str]
) -> Callable[..., Launcher]:
    """Serves an api.py of the test's own: serve("app = …", UVICORN_ROOT_PATH="/x")."""

    def start(text: str, **environ: str) -> Launcher:
        own: Launcher = launch(only_app, redis, PYTHONPATH=api(text), **environ)
        own.start()
        own.eventually(lambda: "app ready: " in own.stdout())
        return own

    return start


@pytest.fixture
def kind() -> type[Layout]:
    """What `layout` and `only` start; a folder or a file may have its own."""
    return Layout


@pytest.fixture
def layout(launch: Callable[..., Any], redis: Server, kind: type[Layout]) -> Layout:
    """Everything up and ready under supervisord."""
    layout: Layout = launch(kind, redis)
    layout.start()
    layout.ready()
    return layout


@pytest.fixture
def only(launch: Callable[..., Any], redis: Server, kind: type[Layout]) -> Callable[..., Layout]:
    """The same, with so many processes of these programs alone: only(app=2, worker=1)."""

    def start(**processes: int) -> Layout:
        layout: Layout = launch(kind, redis)
        layout.only(**processes)
        layout.start()
        layout.ready()
        return layout

    return start
