"""The same programs, whoever starts them."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis as client

from . import launchers
from .launchers import Launcher, lives
from .layout import Layout
from .package import demo, package
from .server import Server, free_port

Launch = Callable[..., Any]
KINDS = [launchers.scripts, launchers.uvicorn, launchers.parent, launchers.article, Layout]


@pytest.mark.parametrize("kind", KINDS)
def test_the_api_answers_and_each_push_is_worked(
    kind: Callable[[Path, Server], Launcher], launch: Launch, redis: Server
) -> None:
    """Whatever starts them: app answers, beat says PUSH, the worker WORKING and the value."""
    started = launch(kind, redis)
    started.start()
    started.works()
    redis.client.lpush("TESTING", "by hand")
    started.eventually(lambda: "WORKING: by hand" in started.stdout())


def test_a_sandbox_may_hide_what_only_makes_it_quicker(launch: Launch, redis: Server) -> None:
    """Who cannot tell which processes live leaves the dead to their leases."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a mount namespace")
    started = launch(launchers.sandboxed, redis)
    started.start()
    started.works()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", [launchers.scripts, launchers.parent])
def test_a_signal_stops_all_cleanly(
    kind: Callable[[Path, Server], Launcher], number: int, launch: Launch, redis: Server
) -> None:
    """TERM or Ctrl-C: every process ends by itself, with status 0."""
    started = launch(kind, redis)
    started.start()
    started.works()
    assert set(started.stop(number)) == {0}
    assert not started.living()
    for name in ("app", "beat", "worker"):
        assert f"{name} stopped" in started.stdout()


class TestParent:
    """python -m example."""

    @pytest.fixture
    def parent(self, launch: Launch, redis: Server) -> Launcher:
        parent: Launcher = launch(launchers.parent, redis)
        parent.start()
        parent.works()
        return parent

    def child(self, parent: Launcher, name: str) -> int:
        found = re.search(rf"{name} started with pid (\d+)", parent.stdout())
        assert found
        return int(found[1])

    def children(self, parent: Launcher) -> set[int]:
        return parent.living() - {parent.processes[0].pid}

    @pytest.mark.parametrize("name", ["app", "beat", "worker"])
    def test_a_child_that_dies_ends_the_rest(self, parent: Launcher, name: str) -> None:
        """kill -9 of one child: the others stop, the parent says which and exits with 1."""
        os.kill(self.child(parent, name), signal.SIGKILL)
        assert parent.processes[0].wait(10) == 1
        assert f"{name} died with -9: stopping the rest" in parent.stdout()
        assert not parent.living()

    def test_a_killed_parent_leaves_no_orphan(self, parent: Launcher) -> None:
        children = self.children(parent)
        assert len(children) == 5
        parent.processes[0].kill()
        parent.eventually(lambda: not [pid for pid in children if lives(pid)], within=2)

    def test_it_stops_them_whatever_the_interpreter_s_way_to_start_processes(
        self, launch: Launch, redis: Server
    ) -> None:
        """Here Python 3.14's."""

        def kind(folder: Path, redis: Server) -> Launcher:
            (folder / "main.py").write_text(
                "import multiprocessing, sys\n"
                "from example.__main__ import main\n"
                "if __name__ == '__main__':\n"
                "    multiprocessing.set_start_method('forkserver')\n"
                "    sys.exit(main())\n"
            )
            return Launcher(folder, redis, [Path(sys.executable).name, "main.py"])

        parent = launch(kind, redis)
        parent.start()
        parent.works()
        assert parent.stop() == [0]
        assert not parent.living()

    @pytest.mark.parametrize(
        ("who", "how", "status"),
        [
            ("worker", signal.SIGTERM, 1),
            ("worker", signal.SIGKILL, 1),
            ("parent", signal.SIGKILL, -signal.SIGKILL),
        ],
    )
    def test_what_a_task_has_started_ends_with_the_worker(
        self, launch: Launch, redis: Server, folder: Path, who: str, how: int, status: int
    ) -> None:
        """Also where the parent is killed, which can tell nobody."""
        task = """
import subprocess
def work(item: str) -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:
        logger.info("CHILD: %d", child.pid)
"""
        code = package(folder / "code", tasks=demo("tasks") + task)
        parent = launch(launchers.parent, redis, PYTHONPATH=code, DRAIN_SECONDS="0")
        parent.start()
        parent.eventually(lambda: "CHILD: " in parent.stdout())
        main = parent.processes[0]
        os.kill(main.pid if who == "parent" else self.child(parent, who), how)
        assert main.wait(20) == status
        parent.eventually(lambda: not parent.living())

    def test_one_that_does_not_stop_is_killed_in_the_end(
        self, launch: Launch, redis: Server
    ) -> None:
        parent = launch(launchers.parent, redis, DRAIN_SECONDS="0")
        parent.start()
        parent.works()
        worker = self.child(parent, "worker")
        os.kill(worker, signal.SIGSTOP)
        assert parent.stop() == [1]
        assert "worker does not stop: killed" in parent.stdout()
        assert not lives(worker)

    def test_it_brings_its_own_redis(self, launch: Launch, redis: Server) -> None:
        """With nobody at REDIS_URL a server is started, and stopped last."""
        port = free_port()
        parent = launch(launchers.parent, redis, REDIS_URL=f"redis://127.0.0.1:{port}")
        parent.start()
        parent.works()
        assert len(parent.living()) == 6
        assert parent.stop() == [0]
        assert not parent.living()
        assert "Redis away" not in parent.stdout().partition("stopping: SIGTERM")[2]

    def test_its_own_redis_that_ends_does_so_for_the_rest(
        self, launch: Launch, redis: Server
    ) -> None:
        """As any child, and also by SHUTDOWN, for which Redis itself has an exit status of 0."""
        port = free_port()
        parent = launch(launchers.parent, redis, REDIS_URL=f"redis://127.0.0.1:{port}")
        parent.start()
        parent.works()
        with client.Redis(port=port) as embedded:
            embedded.shutdown()
        assert parent.processes[0].wait(10) == 1
        assert "redis died with 0: stopping the rest" in parent.stdout()
        assert not parent.living()

    def test_it_may_be_stopped_while_it_starts(self, launch: Launch, redis: Server) -> None:
        """A TERM before the children listen to signals: still a clean end."""
        parent = launch(launchers.parent, redis)
        parent.start()
        parent.eventually(lambda: "worker started with pid" in parent.stdout())
        assert parent.stop() == [0], parent.stdout()

    def test_a_wrong_setting_starts_nothing(self, launch: Launch, redis: Server) -> None:
        parent = launch(launchers.parent, redis, PORT="many")
        parent.start()
        assert parent.processes[0].wait(10) == 2
        assert parent.stdout().count("wrong setting: PORT") == 1
