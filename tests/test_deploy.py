"""scripts/deploy: a release goes live on a machine, or does not, and nobody notices."""

import asyncio
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from .deployed import Deployed
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


def released(machine: Deployed) -> Deployed:
    done = machine.deploy()
    assert done.returncode == 0, done.stderr
    assert "nothing runs yet" in done.stderr
    return machine


@pytest.fixture
def machine(launch: Launch, redis: Server) -> Deployed:
    """With a first release, and nothing in it that could run: to compile that takes its time."""
    return released(launch(partial(Deployed, whole=False), redis))


@pytest.fixture
def running(launch: Launch, redis: Server) -> Deployed:
    return started(released(launch(Deployed, redis)))


@pytest.fixture
def as_shipped(launch: Launch, redis: Server) -> Deployed:
    """With several processes of a program, too."""
    return started(released(launch(partial(Deployed, shipped=True), redis)))


def started(machine: Deployed) -> Deployed:
    machine.start()
    machine.eventually(machine.answers)
    machine.eventually(lambda: "no " not in machine.ctl("ready"))
    machine.eventually(machine.folders)
    return machine


def is_between(machine: Deployed, first: str) -> bool:
    """Whether a deploy waits for a program to get ready."""
    return machine.current() != first and "STARTING" in {
        each for each, _ in machine.table().values()
    }


@contextmanager
def load(port: int) -> Iterator[Load]:
    # Busy without a pause they would take the machine from the deploy.
    load = Load(port, rest=0.2)
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


def test_a_release_takes_over_and_goes_back_without_failing_a_request(as_shipped: Deployed) -> None:
    """All processes run the new release: its code, its packages, in its folder."""
    release(as_shipped, "two")
    with load(as_shipped.port) as clients:
        done = as_shipped.deploy()
        assert done.returncode == 0, done.stderr
        assert answer(as_shipped) == "two"
        folders = as_shipped.eventually(as_shipped.folders)
        folders.pop("redis", None)
        assert set(folders.values()) == {as_shipped.current()}
        back = as_shipped.deploy("--back")
        assert back.returncode == 0, back.stderr
        assert answer(as_shipped) == "Hello, world!"
    assert not clients.failures
    assert clients.done.total() > 100


def test_a_release_that_does_not_get_ready_is_taken_back(running: Deployed) -> None:
    """Its worker cannot even start: the old release runs again, and no request fails."""
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


def test_a_changed_configuration_is_reported_and_a_broken_one_taken_back(running: Deployed) -> None:
    """It says what supervisord has not applied. A fault shows at once, not at the next boot."""
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


def test_an_archive_is_as_good_as_a_checkout(machine: Deployed) -> None:
    release(machine, "archived")
    archive = machine.home / "project.tar.gz"
    machine.git("archive", "--prefix=project-1/", "--output", str(archive), "HEAD")
    done = machine.deploy(str(archive))
    assert done.returncode == 0, done.stderr
    assert "archived" in (machine.home / "current" / "example" / "api.py").read_text()


def test_only_what_is_committed_is_released_also_from_a_checkout_of_another_user(
    machine: Deployed,
) -> None:
    """What git says to root, or to the machine's user, whose checkout it is not."""
    release(machine, "two")
    machine.change(".env", "PASSWORD=secret\n")
    done = machine.deploy(GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert done.returncode == 0, done.stderr
    assert not (machine.home / "current" / ".env").exists()
    (machine.checkout / ".git" / "HEAD").write_text("broken")
    done = machine.deploy()
    assert done.returncode == 1
    assert "git cannot read this checkout" in done.stderr


def test_back_leads_to_what_ran_and_never_to_what_was_left(machine: Deployed) -> None:
    first = machine.current()
    for name in ("bad", "worse"):
        release(machine, name)
        assert machine.deploy().returncode == 0
        assert machine.deploy("--back").returncode == 0
        assert machine.current() == first
    assert len(machine.releases()) == 3
    assert "no release before" in machine.deploy("--back").stderr


def test_a_file_in_shared_wins(machine: Deployed) -> None:
    release(machine, "two")
    (machine.home / "shared" / "pyproject.toml").write_text("# the machine's\n")
    done = machine.deploy()
    assert done.returncode == 0, done.stderr
    assert (machine.home / "current" / "pyproject.toml").read_text() == "# the machine's\n"


def test_a_deploy_that_is_interrupted_goes_back(running: Deployed) -> None:
    """By TERM, also to supervisorctl. What has been replaced by then is replaced again."""
    first = running.current()
    running.change("example/tasks.py", "import time\ntime.sleep(5)\n")
    running.commit()
    deploy = running.begin_deploy()
    running.eventually(lambda: is_between(running, first))
    os.killpg(deploy.pid, signal.SIGTERM)
    said = deploy.communicate(timeout=100)[1]
    assert deploy.returncode == 1, said
    assert "was interrupted" in said
    assert running.releases() == [running.current()] == [first]
    folders = running.eventually(running.folders)
    folders.pop("redis", None)
    assert set(folders.values()) == {first}


WAITS = "#!/bin/sh\ntouch {0}/waits; until [ -e {0}/go ]; do sleep 0.1; done\n"


def kill(deploy: "subprocess.Popen[str]") -> None:
    """With all that it has started, as when the machine's power goes."""
    os.killpg(deploy.pid, signal.SIGKILL)
    deploy.communicate()


def test_one_deploy_at_a_time_and_a_killed_one_leaves_nothing(machine: Deployed) -> None:
    first = machine.current()
    machine.change("deploy/before", WAITS.format(machine.home))
    (machine.checkout / "deploy" / "before").chmod(0o755)
    machine.commit()
    deploy = machine.begin_deploy()
    machine.eventually((machine.home / "waits").exists)
    second = machine.deploy()
    assert (second.returncode, "another deploy is at work" in second.stderr) == (1, True)
    kill(deploy)
    assert len(machine.releases()) == 2
    (machine.home / "go").touch()
    release(machine, "two")
    done = machine.deploy()
    assert done.returncode == 0, done.stderr
    assert len(machine.releases()) == 2
    assert first in machine.releases()


def test_back_does_not_lead_to_a_release_whose_deploy_was_killed(running: Deployed) -> None:
    """Whatever the killed deploy has replaced, everything then runs the last good release."""
    first = running.current()
    running.change("example/tasks.py", "import time\ntime.sleep(60)\n")
    running.commit()
    deploy = running.begin_deploy(READY_SECONDS="5")
    running.eventually(lambda: is_between(running, first))
    kill(deploy)
    running.change("example/tasks.py", "import nope\n")
    running.commit()
    done = running.deploy()
    assert done.returncode == 1
    assert "was killed" in done.stderr
    assert f"releases/{first} runs again" in done.stderr
    folders = running.eventually(running.folders)
    folders.pop("redis", None)
    assert set(folders.values()) == {first}
    assert "was killed" not in running.deploy("--back").stderr


def test_a_killed_deploy_is_reported_until_another_one_is_current(machine: Deployed) -> None:
    """Also where supervisord did not run then, as after the machine's power was lost."""
    (machine.home / "switching").symlink_to(f"releases/{machine.current()}")
    for name, is_told in (("two", True), ("three", False)):
        release(machine, name)
        done = machine.deploy()
        assert (done.returncode, "was killed" in done.stderr) == (0, is_told)


def test_an_archive_that_leads_elsewhere_or_ends_early_changes_nothing(machine: Deployed) -> None:
    first = machine.current()
    outside = machine.home / "releases" / "outside"
    elsewhere, early = machine.home / "elsewhere.tar", machine.home / "early.tar"
    with tarfile.open(elsewhere, "w") as archive:
        archive.add(machine.checkout / "supervisord.conf", "../outside")
    machine.git("archive", "--output", str(early), "HEAD")
    early.write_bytes(early.read_bytes()[:-100_000])
    for each in (elsewhere, early, machine.home / "nothing.tar"):
        done = machine.deploy(str(each))
        assert (done.returncode, "tar cannot unpack this" in done.stderr) == (1, True)
        assert machine.releases() == [machine.current()] == [first]
    assert not outside.exists()


def test_a_hook_that_cannot_be_run_is_reported(machine: Deployed) -> None:
    machine.change("deploy/before", "#!/bin/sh\n")
    machine.commit()
    done = machine.deploy()
    assert (done.returncode, "deploy/before failed" in done.stderr) == (1, True)


def test_a_supervisord_that_cannot_be_talked_to_is_named(machine: Deployed) -> None:
    """It runs in no release, or belongs to another user, which looks the same."""
    first = machine.current()
    release(machine, "two")
    with subprocess.Popen(
        [sys.executable, "-c", "input()", "supervisord"], stdin=subprocess.PIPE
    ) as other:
        (machine.home / "var" / "supervisord.pid").write_text(f"{other.pid}\n")
        done = machine.deploy()
        other.communicate()
    assert done.returncode == 1
    assert f"supervisord, process {other.pid}," in done.stderr
    assert machine.releases() == [machine.current()] == [first]


@pytest.mark.skipif(os.getuid() != 0, reason="gives a folder to another user")
def test_another_user_than_the_owner_is_refused(machine: Deployed) -> None:
    os.chown(machine.home, 65534, -1)
    done = machine.deploy()
    assert done.returncode == 1
    assert "runuser -u nobody" in done.stderr
    assert len(machine.releases()) == 1
