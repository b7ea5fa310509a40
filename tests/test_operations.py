"""docs/operations.md: its commands, in the trouble that they are for."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .layout import ROOT, Layout
from .package import package
from .server import Server

PAGE = (ROOT / "docs" / "operations.md").read_text()
TASKS = """
async def work(item: bytes) -> None:
    if item == b"bad":
        raise ValueError("no such customer")
"""


def run(layout: Layout, name: str) -> str:
    """Run the block of the page that has this name, in the project's folder."""
    steps = re.findall(rf"^```sh {name}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
    done = subprocess.run(
        ["bash", "-euc", steps],
        cwd=layout.folder,
        env=layout.environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_commands_on_the_page(launch: Callable[..., Any], redis: Server, folder: Path) -> None:
    layout = launch(
        Layout, redis, MAX_ATTEMPTS="1", PYTHONPATH=package(folder / "code", tasks=TASKS)
    )
    certificate, key = f"{layout.folder}/c.pem", f"{layout.folder}/k.pem"
    make = f"openssl req -x509 -nodes -newkey rsa:2048 -days 1 -keyout {key} -out {certificate}"
    subprocess.run([*make.split(), "-subj", "/CN=x"], check=True, capture_output=True)
    layout.only(app=2, beat=1, worker=1)
    layout.environ |= {"UVICORN_SSL_KEYFILE": key, "UVICORN_SSL_CERTFILE": certificate}
    layout.start()
    layout.ready()

    layout.push(b"bad")
    layout.eventually(lambda: redis.client.exists("{TESTING}:dead"))
    said = run(layout, "look")
    for each in (
        "The dead list is not empty",
        "worker:worker_00  RUNNING",
        "supervisord  started",
        "last tick",
    ):
        assert each in said, said
    said = run(layout, "dead")
    assert "ValueError: no such customer" in said
    assert "1 requeued" in said

    worker = layout.pid("worker")
    layout.signal("worker", "KILL")
    layout.replaced("worker", worker)
    layout.eventually(lambda: "terminated by SIGKILL" in run(layout, "reason"))
    run(layout, "more")
    assert {f"worker:worker_0{n}" for n in range(4)} <= set(layout.table())

    app = layout.pid("app:app_00"), layout.pid("app:app_01")
    assert "notAfter=" in run(layout, "certificate")
    assert not {layout.pid("app:app_00"), layout.pid("app:app_01")} & set(app)
    assert "var" in run(layout, "disk")
