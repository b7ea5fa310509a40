"""docs/tasks.md: its examples, each as tasks.py."""

import contextlib
import http.server
import json
import re
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ..launchers import open_files
from ..layout import ROOT, Layout
from ..mine import Mine
from ..package import demo, package
from ..server import Server
from ..waiting import eventually

Start = Callable[..., Mine]
PAGE = (ROOT / "docs" / "tasks.md").read_text()
CODE = {
    title: re.findall(r"^```python\n(.*?)^```", body, re.MULTILINE | re.DOTALL)[0]
    for title, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    if "```python" in body
}


@pytest.fixture
def start(launch: Callable[..., Any], redis: Server) -> Start:
    """Starts a worker on the page's code: start("Work for a process", CONCURRENCY="2")."""

    def begin(title: str, own: str = "", **environ: str) -> Mine:
        def prepare(folder: Path, redis: Server) -> Mine:
            (folder / "own.py").write_text(own)
            return Mine(folder, redis, ["example-worker"], tasks=CODE[title])

        mine: Mine = launch(prepare, redis, **environ)
        mine.start()
        return mine

    return begin


def test_a_lifespan(start: Start, redis: Server) -> None:
    start("What to open before the first item").push("one", "two", "one")
    eventually(lambda: redis.client.hgetall("counts") == {b"one": b"2", b"two": b"1"})


DJANGO = """
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "items.sqlite"}}
"""


def test_a_database(start: Start) -> None:
    """No item leaves a connection open."""
    worker = start("A database", DJANGO, DJANGO_SETTINGS_MODULE="own", CONCURRENCY="1")
    with contextlib.closing(sqlite3.connect(worker.folder / "items.sqlite")) as items:
        items.execute("CREATE TABLE items (name)")
        worker.push(*map(str, range(20)))
        eventually(lambda: items.execute("SELECT count(*) FROM items").fetchone() == (20,))
    pid = worker.processes[0].pid
    eventually(lambda: not [each for each in open_files(pid) if "items" in each])


class Pages(http.server.BaseHTTPRequestHandler):
    """/404 and so on: the answer has that status. The second time everything is there."""

    asked: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        status = 200 if self.path in self.asked else int(self.path[1:])
        self.asked.add(self.path)
        self.send_response(status)
        self.send_header("Retry-After", "1.5")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_what_a_task_may_know_and_say(start: Start, redis: Server) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = f"http://127.0.0.1:{server.server_port}"
        worker = start("What a task may know, and say")
        worker.push(f"{page}/404", f"{page}/429")
        worker.says("given up (1 of 1): GiveUp: there is no such page")
        worker.says("again in 1.5 s (1 of 5): Again: too many requests", "attempt 2")
        server.shutdown()
    eventually(lambda: not redis.client.exists("TESTING", "{TESTING}:later", "{TESTING}:retry"))


def test_several_kinds_of_task(start: Start) -> None:
    worker = start("Several kinds of task on one queue")
    worker.push(json.dumps({"kind": "mail", "to": "Ada", "text": "hello"}))
    worker.push(json.dumps({"kind": "thumbnail", "file": "cat.png", "width": 64}))
    worker.push(json.dumps({"kind": "thumbnail", "file": "dog.png", "width": "wide"}))
    worker.eventually(lambda: "mail to Ada: hello" in worker.stdout())
    worker.eventually(lambda: "cat.png is 64 wide now" in worker.stdout())
    worker.eventually(lambda: "no such task: {'kind': 'thumbnail'" in worker.stdout())


def test_each_queue_has_its_program_and_its_task(launch: Callable[..., Any], redis: Server) -> None:
    """The drop-in as shipped. `ready` waits for both workers."""
    layout = launch(Layout, redis)
    layout.only(worker=1)
    package(layout.folder, tasks=demo("tasks") + CODE["Several queues, and priorities"])
    layout.environ["PYTHONPATH"] = str(layout.folder)
    name = "supervisord.d/queues.conf"
    shutil.copy(ROOT / f"{name}.example", layout.folder / name)
    layout.start()
    redis.client.lpush("URGENT", "one")
    redis.client.lpush("TESTING", "two")
    layout.eventually(lambda: layout.said("worker_urgent:worker_urgent_00", "one is urgent"))
    layout.eventually(lambda: layout.said("worker", "WORKING: two"))
    layout.all_ready("worker_urgent")


HARD, EASY = "a" * 36 + "b", "aaa"


def test_what_keeps_the_gil_in_a_process_stalls_nothing(start: Start, redis: Server) -> None:
    """A TERM in the middle: status 0, no process is left, and the item waits for another worker."""
    worker = start("Work for a process", DRAIN_SECONDS="0.5")
    worker.push(HARD)
    worker.eventually(lambda: len(worker.living()) == 2)
    worker.push(EASY)
    worker.says(f"{EASY} True")
    assert worker.stop(signal.SIGTERM) == [0]
    assert worker.living() == set()
    assert redis.client.lrange("TESTING", 0, -1) == [HARD.encode()]


def test_what_takes_too_long_in_a_process_is_killed(start: Start) -> None:
    worker = start("Work for a process", JOB_TIMEOUT="1", MAX_ATTEMPTS="1")
    worker.push(HARD)
    worker.eventually(lambda: len(worker.living()) == 2)
    worker.says("ran longer than JOB_TIMEOUT")
    worker.eventually(lambda: len(worker.living()) == 1)


def test_a_worker_that_is_killed_leaves_no_process(start: Start) -> None:
    """Without supervisord the process ends when it tries to send its result."""
    worker = start("Work for a process")
    worker.push(EASY)
    worker.says(f"{EASY} True")
    worker.stop(signal.SIGKILL)
    worker.eventually(lambda: worker.living() == set())
