"""From a clone on, as README.md, docs/production.md and docs/worked.md say: installed for real.

What the pages tell is typed word for word, but for the port. test_production.py goes on from there.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from . import pages, quick_install
from .copies import IDENTITY, compile_package, fresh_only, git, make_repository
from .launchers import Launcher
from .server import Server


class Newcomer(Launcher):
    """A person in a clone of the layout, with Python and a shell."""

    def __init__(self, clone: Path, redis: Server) -> None:
        super().__init__(clone, redis)
        ours = ("PYTHONPATH", "COVERAGE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        path = f"{clone}/.venv/bin:{sys.base_prefix}/bin:/usr/bin:/bin"
        self.environ = kept | IDENTITY | {"PATH": path, "REDIS_URL": redis.url}
        # One process of each: more show nothing that one does not.
        own = f"[fcgi-program:app]\nnumprocs = 1\nsocket = tcp://127.0.0.1:{self.port}\n"
        own += "[program:beat]\nnumprocs = 1\n"
        (clone / "supervisord.d" / "own.conf").write_text(own)

    def page(self, name: str, title: str) -> str:
        return pages.section((self.folder / name).read_text(), title)

    def type(self, command: str) -> str:
        """Returns what was said. Raises AssertionError if the command fails."""
        done = subprocess.run(
            ["bash", "-c", self.here(command)],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def here(self, command: str) -> str:
        return command.replace("localhost:5000", f"localhost:{self.port}")

    def serve(self, command: str) -> None:
        script, *words = shlex.split(command, comments=True)
        self.commands = [[str(self.folder / script), *words]]
        self.start()
        (serving,) = self.processes
        self.eventually(lambda: self.answers() or serving.poll() is not None, within=300)
        self.works()
        # What is edited before that is no change to it.
        if "--reload" in words:
            self.eventually(lambda: "reload | watching" in self.stdout(), within=60)

    def press_ctrl_c(self) -> None:
        assert self.stop(signal.SIGINT) == [0]
        self.processes.clear()
        self.out.unlink()

    def read(self, command: str, until: str) -> None:
        """Type a command that goes on; stop it once it says what is awaited."""
        with subprocess.Popen(
            ["bash", "-c", f"exec {self.here(command)}"],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as going:
            assert going.stdout
            said = []
            for line in going.stdout:
                said.append(line)
                if until in line:
                    break
            else:
                raise AssertionError("".join(said))
            going.terminate()

    def edit(self, name: str, old: str, new: str) -> None:
        file = self.folder / name
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new, 1))


@fresh_only
@pytest.mark.timeout(600)
def test_a_newcomer_gets_along_by_what_the_pages_say(
    folder: Path, launch: Callable[..., Any], redis: Server
) -> None:
    make_repository(folder / "layout")
    clone = folder / "a shop"
    git(folder, "clone", "--quiet", "layout", clone.name)
    newcomer = launch(lambda _, redis: Newcomer(clone, redis), redis)
    begins(newcomer)
    compile_package(clone / "shop")
    looks(newcomer)
    develops(newcomer)
    depends_on_more(newcomer)
    adds_a_program(newcomer)
    newcomer.press_ctrl_c()
    builds_the_example(newcomer)
    newcomer.press_ctrl_c()


def begins(newcomer: Newcomer) -> None:
    for command in pages.commands(newcomer.page("docs/production.md", "Begin")):
        newcomer.type(command)
    assert not (newcomer.folder / "example").exists()


def looks(newcomer: Newcomer) -> None:
    """README.md, but for the whole tests, and the page, which needs a terminal and goes on."""
    page = (newcomer.folder / "README.md").read_text()
    serve, ask = pages.commands(page)[:2]
    newcomer.serve(serve)
    assert newcomer.type(ask) == "Hello, world!"
    for command in pages.commands(newcomer.page("README.md", "A first look")):
        if not command.startswith(("scripts/test", "shop-dashboard")):
            newcomer.type(command)
    newcomer.press_ctrl_c()


def develops(newcomer: Newcomer) -> None:
    commands = pages.commands(newcomer.page("docs/production.md", "Develop"))
    copy, serve, *debug, worker = commands
    newcomer.type(copy)
    newcomer.serve(serve)
    newcomer.edit("shop/api.py", "Hello, world!", "Edited")
    newcomer.eventually(lambda: newcomer.get() == "Edited")
    for command in debug:
        newcomer.type(command)
    newcomer.read(worker, until="worker ready: ")
    newcomer.type("supervisorctl start worker:*")


def depends_on_more(newcomer: Newcomer) -> None:
    """What runs survives each step, and the roll has what is new."""
    # The first install was as a newcomer's.
    newcomer.environ["PYTHON"] = quick_install.python(newcomer.folder.parent / "python")
    newcomer.edit("pyproject.toml", '"cronsim ', '"fastapi",\n    "cronsim ')
    commands = pages.commands(newcomer.page("docs/production.md", "Depend on something"))
    assert commands[-1] == "supervisorctl roll app"
    for command in commands:
        newcomer.type(command)
        assert newcomer.get() == "Edited"


def adds_a_program(newcomer: Newcomer) -> None:
    section = newcomer.page("README.md", "Another program")
    (function,), (script,), (part,) = (
        pages.blocks(section, language) for language in ("python", "toml", "ini")
    )
    for name, text in ("shop/programs.py", f"\n\n{function}"), ("supervisord.conf", f"\n{part}"):
        with open(newcomer.folder / name, "a") as file:
            file.write(text)
    newcomer.edit("pyproject.toml", "[project.scripts]\n", f"[project.scripts]\n{script}")
    newcomer.eventually(lambda: "supervisord.conf has changed" in newcomer.stdout(), within=60)
    for command in pages.commands(section):
        newcomer.type(command)
    newcomer.eventually(lambda: "waiting for mail" in newcomer.type("supervisorctl ready mailer"))


def follows(newcomer: Newcomer, group: str) -> None:
    told = f"reload | {group} runs the new code"
    newcomer.eventually(lambda: told in newcomer.stdout(), within=60)


def builds_the_example(newcomer: Newcomer) -> None:
    """docs/worked.md, whose dependency is there already."""
    newcomer.type("git checkout shop/api.py")
    page = (newcomer.folder / "docs" / "worked.md").read_text()
    lock, serve, update, order, events = pages.commands(page)
    newcomer.type(lock)
    newcomer.serve(serve)
    for name, text in re.findall(r"(?ms)^## [^\n]*`(\S+)`\n.*?^```\w+\n(.*?)^```", page):
        (newcomer.folder / name).write_text(text)
    for group in ("app", "worker", "beat"):
        follows(newcomer, group)
    newcomer.type(update)
    number = newcomer.type(order)
    newcomer.read(events, until=f'"{number}": "done: ')
    with connect(f"ws://127.0.0.1:{newcomer.port}/live") as socket:
        socket.send(number)
        assert str(socket.recv(5)).startswith("done: ")
