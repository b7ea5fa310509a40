"""docs/production.md: its commands, in order and word for word, as a person would type them.

Here is what happens on a machine, from "Test" on; test_newcomer.py has what comes before it.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import machine as machines
from . import pages, quick_install
from .copies import commit, compile_package, fresh_only, git, make_repository
from .layout import ROOT
from .machine import Machine

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
SSH = """\
Host machine
    IdentityFile /mnt/key
    StrictHostKeyChecking no
"""
SERVER = """\
HostKey /mnt/key
AuthorizedKeysFile /mnt/key.pub
StrictModes no
"""
API = """
from typing import Any

async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({{"type": "http.response.start", "status": 200}})
    await send({{"type": "http.response.body", "body": b"version {}"}})
"""


def commands(where: Path, title: str) -> list[str]:
    page = (where / "docs" / "production.md").read_text()
    return pages.commands(pages.section(page, title))


@pytest.fixture
def machine(folder: Path) -> Iterator[Machine]:
    """With a clone of the layout in /mnt/checkout, and the layout itself beside it."""
    if missing := machines.missing():
        pytest.skip(f"no machine of its own: needs {missing}")
    make_repository(folder / "layout")
    git(folder, "clone", "--quiet", "layout", "checkout")
    # What scripts/check has found out of others' packages, it need not find out again.
    if (ROOT / ".mypy_cache").exists():
        shutil.copytree(ROOT / ".mypy_cache", folder / "checkout" / ".mypy_cache")
    machine = Machine(folder)
    # Few tests are run on it: pytest needs no processes beside its own.
    machine.put_before("getconf", "#!/bin/sh\necho 0\n")
    try:
        for name in ("name", "email"):
            machine.run(f"git config --global user.{name} a@localhost", "/mnt")
        yield machine
    finally:
        machine.close()


def connect(machine: Machine) -> None:
    """Its own sshd; where there is none, `ssh` runs the command at once."""
    if not SSHD:
        machine.put_before("ssh", '#!/bin/sh\nshift\nexec "$@"\n')
        return
    for name, text in ("ssh_config", SSH), ("sshd_config", SERVER):
        (machine.folder / "etc" / "ssh" / name).write_text(text)
    machine.run("ssh-keygen -q -N '' -t ed25519 -f /mnt/key")
    machine.run(SSHD)


def one_of_each(configuration: Path) -> None:
    """One process of each program: more show nothing that one does not."""
    configuration.write_text(configuration.read_text().replace("numprocs = 2", "numprocs = 1"))


class Versions:
    """Of the API, each committed: what it answers tells which one runs."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.made = 0
        self.running = [0]

    def make(self) -> None:
        self.made += 1
        (self.machine.checkout / "shop" / "api.py").write_text(API.format(self.made))
        self.machine.run("git commit --quiet --all --message 'Another version'")

    def deployed(self, command: str) -> None:
        self.running.pop() if "--back" in command else self.running.append(self.made)
        if len(self.running) > 2:  # it serves
            said = self.machine.run("curl --silent http://localhost:5000")
            assert said == f"version {self.running[-1]}", command


@fresh_only
@pytest.mark.timeout(400)
def test_the_page_leads_from_a_clone_to_a_machine_and_to_the_next_layout(machine: Machine) -> None:
    for command in commands(ROOT, "Begin"):
        machine.run(command)
    python = f"/mnt/python/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    quick_install.put(machine.checkout, python, "/mnt/packages")
    compile_package(machine.checkout / "shop")
    versions = Versions(machine)
    for command in commands(machine.checkout, "Test"):
        machine.run(command)
    connect(machine)
    one_of_each(machine.checkout / "supervisord.conf")
    for command in commands(machine.checkout, "Deploy on a machine"):
        if re.search(r"git archive|deploy \S+$", command):
            versions.make()
        machine.run(command)
        if "scripts/deploy" in command:
            versions.deployed(command)
    assert len(versions.running) == 5
    take_over(machine)


def take_over(machine: Machine) -> None:
    """With the tests of one file."""
    (machine.folder / "layout" / "example" / "runtime" / "new.py").write_text("import example\n")
    commit(machine.folder / "layout", "Newer")
    upgrade, check, test = commands(machine.checkout, "Take over a newer version of the layout")
    machine.run(upgrade)
    assert (machine.checkout / "shop" / "runtime" / "new.py").read_text() == "import shop\n"
    machine.run(check)
    machine.run(f"PYTEST_ADDOPTS=tests/test_settings.py {test}")
