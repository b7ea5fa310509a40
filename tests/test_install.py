"""scripts/install, on little projects of the same shape: what it leaves alone, what it notices."""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from . import quick_install
from .conftest import Popen
from .layout import ROOT

# On a busy machine one pip takes half a minute.
pytestmark = pytest.mark.timeout(300)

PYPROJECT = """\
[build-system]
requires = ["flit_core"]
build-backend = "flit_core.buildapi"

[project]
name = "little"
version = "1"
description = "A project of the same shape"
requires-python = ">=3.11"
dependencies = ["cronsim >=2"]
optional-dependencies.embedded = []
scripts.little = "little:main"

[dependency-groups]
build = ["flit_core"]
dev = []
"""
MAIN = """\
import sys

def main():
    print("one", flush=True)
    sys.stdin.readline()
    import cronsim
    print(cronsim.__file__)
"""
# No index, and no folder of wheels either.
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/nowhere"}


def pin(name: str) -> str:
    text = (ROOT / "requirements-dev.txt").read_text()
    found = re.search(rf"(?m)^{name}==.*(\n    .*)+", text)
    assert found
    return found[0] + "\n"


@pytest.fixture
def project(folder: Path) -> Path:
    """A project of one module and one dependency, with our scripts, in a folder with a blank."""
    return fill(folder / "a project")


class Kept:
    """The same, installed by two at once, on a machine whose settings lead elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.project = fill(folder / "a project")
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        (self.elsewhere / "cronsim.py").write_text("raise ImportError('not this one')\n")
        names = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PYTHONPATH", "PYTHONHOME")
        environ = dict.fromkeys(names, str(self.elsewhere)) | {"PIP_USER": "1"}
        environ |= dict.fromkeys(("HOME", "XDG_CACHE_HOME"), "/proc/1/nowhere")
        with ThreadPoolExecutor() as pool:
            both = [pool.submit(installed, self.project, **environ) for _ in range(2)]
        self.said = [each.result() for each in both]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def ready(kept: Kept) -> Path:
    """Installed already; for tests that leave its packages as they are."""
    return fill(kept.project)


@pytest.fixture
def quick(folder: Path) -> str:
    """A PYTHON that makes virtual environments in no time. `kept` has real ones."""
    return quick_install.python(folder / "python")


def fill(project: Path) -> Path:
    for part in ("little", "scripts"):
        (project / part).mkdir(parents=True, exist_ok=True)
    for name in ("install", "unpinned"):
        shutil.copy(ROOT / "scripts" / name, project / "scripts")
    (project / "pyproject.toml").write_text(PYPROJECT)
    (project / "little" / "__init__.py").write_text('"""Little."""\n' + MAIN)
    (project / "requirements-image.txt").write_text(pin("cronsim"))
    (project / "requirements-build.txt").write_text(pin("flit-core"))
    (project / "requirements-dev.txt").write_text(pin("cronsim") + pin("flit-core"))
    return project


def install(
    project: Path, *words: str, user: Any = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [project / "scripts" / "install", *words],
        env=os.environ | environ,
        user=user,
        capture_output=True,
        text=True,
        timeout=280,
    )


def installed(project: Path, *words: str, **environ: str) -> str:
    """Install, and return what was said."""
    done = install(project, *words, **environ)
    assert done.returncode == 0, done.stderr
    return done.stderr


def run(project: Path) -> str:
    """What the installed program says."""
    return subprocess.run(
        [project / ".venv" / "bin" / "little"],
        input="\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_it_does_nothing_when_all_is_done(ready: Path) -> None:
    installed(ready)
    before = {path: path.lstat().st_mtime_ns for path in ready.rglob("*")}
    assert installed(ready, **OFFLINE) == ""
    assert {path: path.lstat().st_mtime_ns for path in ready.rglob("*")} == before


def test_the_prompt_of_a_shell_has_the_projects_name(ready: Path) -> None:
    show = ". .venv/bin/activate && echo $VIRTUAL_ENV_PROMPT"
    assert "little" in subprocess.check_output(["bash", "-c", show], cwd=ready, text=True)


def test_a_second_lock_uses_what_the_first_installed(ready: Path, quick: str) -> None:
    first, second = install(ready, "lock", PYTHON=quick), install(ready, "lock", **OFFLINE)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert second.stdout == first.stdout
    assert (ready / second.stdout.strip() / "bin" / "uv").exists()


def test_a_copied_or_moved_folder_runs_its_own_code(ready: Path, quick: str, folder: Path) -> None:
    place = folder / "copy"
    shutil.copytree(ready, place, symlinks=True)
    code = (place / "little" / "__init__.py").read_text().replace("one", "two")
    (place / "little" / "__init__.py").write_text(code)
    assert "preparing" in installed(place, PYTHON=quick)
    assert run(place).startswith(f"two\n{place}/.venvs/")
    place = place.rename(folder / "moved")
    assert "preparing" in installed(place, PYTHON=quick)
    assert run(place).startswith(f"two\n{place}/.venvs/")
    assert run(ready).startswith("one\n")


def test_a_checkout_behind_a_link_is_the_same(ready: Path, folder: Path) -> None:
    link = folder / "link"
    link.symlink_to(ready)
    assert installed(link, **OFFLINE) == ""


def test_a_failed_install_leaves_what_runs(ready: Path, quick: str) -> None:
    before = os.readlink(ready / ".venv")
    (ready / "requirements-image.txt").write_text(pin("cronsim") + pin("starlette"))
    done = install(ready, PYTHON=quick, **OFFLINE)
    assert done.returncode == 1
    assert "what was there before is untouched. pip obeys " in done.stderr
    assert "PIP_NO_INDEX" in done.stderr
    assert os.readlink(ready / ".venv") == before
    assert run(ready).startswith("one\n")


def test_an_edit_of_pyproject_needs_no_index(ready: Path) -> None:
    text = PYPROJECT.replace("scripts.little", "scripts.other = 'little:main'\nscripts.little")
    (ready / "pyproject.toml").write_text(text)
    assert installed(ready, **OFFLINE) == ""
    assert (ready / ".venv" / "bin" / "other").exists()


def test_a_pyproject_that_cannot_be_read_leaves_what_runs(ready: Path) -> None:
    (ready / "pyproject.toml").write_text(PYPROJECT + "[[[\n")
    done = install(ready, **OFFLINE)
    assert done.returncode == 1
    assert "pyproject.toml cannot be used" in done.stderr
    assert run(ready).startswith("one\n")


def test_what_runs_keeps_its_packages(project: Path, quick: str, popen: Popen) -> None:
    """Also those that it imports later; they are removed once it has ended."""
    installed(project, PYTHON=quick)
    program = popen([project / ".venv" / "bin" / "little"], stdin=subprocess.PIPE)
    assert program.stdout
    assert program.stdin
    assert program.stdout.readline() == "one\n"
    first = os.readlink(project / ".venv")
    (project / "requirements-image.txt").write_text("# moved\n" + pin("cronsim"))
    assert "preparing" in installed(project, PYTHON=quick)
    assert os.readlink(project / ".venv") != first
    program.stdin.write("\n")
    program.stdin.flush()
    assert f"/{first}/" in program.stdout.readline()
    assert program.wait(10) == 0
    (project / "pyproject.toml").write_text(PYPROJECT + "# again\n")
    installed(project, PYTHON=quick)
    assert not (project / first).exists()


def test_requirements_that_are_not_pinned_are_reported(ready: Path) -> None:
    declared = PYPROJECT.replace('"cronsim >=2"', '"starlette", "cronsim >=9999"')
    (ready / "pyproject.toml").write_text(declared)
    done = install(ready, **OFFLINE)
    assert done.returncode == 2
    told = "not pinned: starlette, cronsim>=9999\ninstall: next: scripts/lock"
    assert told in done.stderr
    assert run(ready).startswith("one\n")


def test_settings_of_the_machine_lead_nowhere_else(kept: Kept) -> None:
    assert run(fill(kept.project)).startswith("one\n")
    assert [path.name for path in kept.elsewhere.iterdir()] == ["cronsim.py"]


def test_two_at_once_are_as_good_as_one(kept: Kept) -> None:
    assert sorted(said.count("preparing") for said in kept.said) == [0, 1]
    assert run(fill(kept.project)).startswith("one\n")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_a_second_user_takes_what_the_owner_installed(project: Path, folder: Path) -> None:
    """And nothing is written, as in a checkout that is mounted read-only."""
    if subprocess.run(["/usr/bin/python3", "-c", "import ensurepip"]).returncode:
        pytest.skip("no Python that every user may run")
    project.parent.chmod(0o755)
    done = install(project, user=65534)
    assert done.returncode == 2
    assert "is not writable for nobody: whoever owns it runs scripts/install first" in done.stderr
    installed(project, PYTHON=quick_install.python(folder / "python", "/usr/bin/python3"))
    assert install(project, user=65534, HOME="/nonexistent", **OFFLINE).returncode == 0


def test_a_missing_python_is_reported(project: Path) -> None:
    done = install(project, PYTHON="/bin/false")
    assert done.returncode == 2
    assert "no Python 3.11 or newer: /bin/false" in done.stderr
