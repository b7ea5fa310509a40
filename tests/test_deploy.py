"""scripts/deploy: a release goes live on a machine, or does not, and nobody notices."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .deployed import Deployed
from .layout import ROOT
from .server import Server
from .supervision.load import Load

Launch = Callable[..., Any]

API = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def hello(request):
    return PlainTextResponse("{}")

app = Starlette(routes=[Route("/", hello)])
"""


@pytest.fixture
def machine(launch: Launch, redis: Server) -> Deployed:
    """With a first release, and supervisord not started."""
    machine: Deployed = launch(Deployed, redis)
    done = machine.deploy()
    assert done.returncode == 0, done.stderr
    assert "nothing runs yet" in done.stderr
    return machine


@pytest.fixture
def running(machine: Deployed) -> Deployed:
    machine.start()
    machine.works()
    machine.eventually(lambda: "no " not in machine.ctl("ready"))
    return machine


@contextmanager
def load(port: int) -> Iterator[Load]:
    load = Load(port)
    thread = threading.Thread(target=lambda: asyncio.run(load.run()))
    thread.start()
    try:
        yield load
    finally:
        load.stop()
        thread.join()


def answer(machine: Deployed) -> str:
    return machine.get("/")


def release(machine: Deployed, name: str) -> None:
    machine.change("example/api.py", API.format(name))
    machine.commit()


def test_a_release_takes_over_and_goes_back_without_failing_a_request(running: Deployed) -> None:
    """All processes are of the new one: code and packages, and the folder they stand in."""
    release(running, "two")
    with load(running.port) as clients:
        done = running.deploy()
        assert done.returncode == 0, done.stderr
        assert answer(running) == "two"
        folders = running.eventually(running.folders)
        del folders["redis"]
        assert set(folders.values()) == {running.current()}
        back = running.deploy("--back")
        assert back.returncode == 0, back.stderr
        assert answer(running) == "Hello, world!"
    assert not clients.failures
    assert clients.done.total() > 100


def test_a_release_that_does_not_get_ready_is_taken_back(running: Deployed) -> None:
    """Its worker cannot even start: what ran before runs again, and no request fails."""
    first = running.current()
    release(running, "two")
    running.change("example/tasks.py", "import nope\n")
    running.commit()
    with load(running.port) as clients:
        done = running.deploy()
        assert done.returncode == 1, done.stderr
        assert answer(running) == "Hello, world!"
    # --back never leads to the broken one.
    assert running.releases() == [running.current()] == [first]
    running.redis.client.lpush("TESTING", "after")
    running.eventually(lambda: "WORKING: after" in running.stdout())
    assert not clients.failures


def test_a_changed_configuration_is_told_and_a_broken_one_taken_back(running: Deployed) -> None:
    """What supervisord itself has not taken over; and at once, not at the next boot, a fault."""
    running.change("supervisord.d/more.conf", "[program:more]\ncommand = sleep 1000\n")
    running.commit()
    done = running.deploy()
    assert done.returncode == 0, done.stderr
    assert "supervisord.d has changed" in done.stderr
    assert "not applied to programs: more: available" in done.stderr
    assert "supervision" not in done.stderr
    second = running.current()
    running.change("supervisord.d/more.conf", "[program:more]\n")
    running.commit()
    done = running.deploy()
    assert done.returncode == 1
    assert "program:more" in done.stderr
    assert running.current() == second


def test_what_fails_beforehand_changes_nothing(machine: Deployed) -> None:
    """Here deploy/before, where migrations belong: it is run with the new release's packages."""
    first = machine.current()
    before = "#!/bin/sh\npython -c 'import uvicorn; print(\"migrated\")' && exit $FAILS\n"
    machine.change("deploy/before", before)
    (machine.checkout / "deploy" / "before").chmod(0o755)
    machine.commit()
    done = machine.deploy(FAILS="1")
    assert done.returncode == 1
    assert "deploy/before failed" in done.stderr
    assert (machine.current(), machine.releases()) == (first, [first])
    done = machine.deploy(FAILS="0")
    assert done.returncode == 0
    assert "migrated" in done.stderr
    assert machine.current() != first


def test_five_are_kept(machine: Deployed) -> None:
    for number in range(6):
        (machine.home / "releases" / f"20000101-00000{number}-old").mkdir()
    release(machine, "two")
    machine.deploy()
    assert len(machine.releases()) == 5
    assert machine.current() in machine.releases()


def test_the_page_deploys_and_goes_back_as_it_says(machine: Deployed) -> None:
    """Its commands, word for word but for the folder; those of root and systemd aside."""
    page = (ROOT / "docs" / "production.md").read_text()
    said = [line for line in page.splitlines() if line.startswith("scripts/deploy ")]
    assert len(said) == 3
    machine.git("archive", "--output", "project.tar.gz", "HEAD")
    for number, line in enumerate(said):
        release(machine, f"release {number}")
        done = machine.deploy(*line.split()[2:])
        assert done.returncode == 0, done.stderr
    unit = (ROOT / "deploy" / "systemd" / "example.service").read_text()
    assert "ExecStart=/srv/example/current/.venv/bin/python -m supervisor.supervisord" in unit


def test_an_archive_is_as_good_as_a_checkout(machine: Deployed) -> None:
    release(machine, "archived")
    archive = machine.home / "project.tar.gz"
    machine.git("archive", "--prefix=project-1/", "--output", str(archive), "HEAD")
    done = machine.deploy(str(archive))
    assert done.returncode == 0, done.stderr
    assert "archived" in (machine.home / "current" / "example" / "api.py").read_text()
