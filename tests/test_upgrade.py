"""scripts/upgrade: a renamed copy with code of its own takes over the next version."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .copies import IDENTITY, commit, fresh_only, git, make_repository, rename
from .layout import ROOT

pytestmark = [
    fresh_only,
    pytest.mark.skipif(not shutil.which("git"), reason="git is not here"),
]


def upgrade(copy: Path, to: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [copy / "scripts" / "upgrade", to],
        env=os.environ | IDENTITY,
        capture_output=True,
        text=True,
        timeout=60,
    )


def add(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    with open(file, "a") as opened:
        opened.write(text)


@pytest.fixture(scope="module")
def layout_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    upstream = tmp_path_factory.mktemp("once") / "layout"
    make_repository(upstream)
    return upstream


@pytest.fixture(scope="module", params=["clone", "archive"])
def copy_once(
    layout_once: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    copy = tmp_path_factory.mktemp(request.param) / "my shop"
    if request.param == "clone":
        git(layout_once, "clone", "--quiet", str(layout_once), str(copy))
    else:
        shutil.copytree(layout_once, copy, ignore=shutil.ignore_patterns(".git"))
        git(copy, "init", "--quiet")
    assert rename(copy, "my_shop").returncode == 0
    commit(copy, "A name of its own")
    (copy / "my_shop" / "api.py").write_text("from my_shop.settings import Settings  # mine\n")
    add(copy / "my_shop" / "orders.py", "import my_shop\n")
    add(copy / "README.md", "\nMine.\n")
    (copy / "docs" / "faults.md").unlink()
    commit(copy, "My own")
    return copy


@pytest.fixture
def upstream(layout_once: Path) -> Iterator[Path]:
    """The layout's own repository, at some version."""
    with put_back(layout_once):
        yield layout_once


@pytest.fixture
def copy(copy_once: Path) -> Iterator[Path]:
    """A copy of it, renamed, with code of its own."""
    with put_back(copy_once):
        yield copy_once


@contextmanager
def put_back(repository: Path) -> Iterator[None]:
    """Afterwards it is at the commit where it was, with no other branch, tag or file."""
    head, before = git(repository, "rev-parse", "HEAD").strip(), refs(repository)
    yield
    git(repository, "reset", "--quiet", "--hard", head)
    git(repository, "clean", "--quiet", "-d", "--force")
    for new in refs(repository) - before:
        git(repository, "update-ref", "-d", new)


def refs(repository: Path) -> set[str]:
    return set(git(repository, "for-each-ref", "--format=%(refname)").split())


def newer(upstream: Path) -> None:
    add(upstream / "example" / "runtime" / "log.py", "\nimport example.runtime.queue\n")
    add(upstream / "example" / "runtime" / "new.py", "from example import runtime\n")
    add(upstream / "scripts" / "new", "#!/bin/sh\nexec example-worker\n")
    (upstream / "scripts" / "new").chmod(0o755)
    (upstream / "docs" / "scaling.md").unlink()
    commit(upstream, "The next version")


def test_the_next_version_comes_in_beside_ones_own_code(upstream: Path, copy: Path) -> None:
    """Under the copy's own name, without a conflict: new, changed and deleted files."""
    newer(upstream)
    done = upgrade(copy, upstream)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (copy / "my_shop/runtime/log.py").read_text().endswith("import my_shop.runtime.queue\n")
    assert (copy / "my_shop/runtime/new.py").read_text() == "from my_shop import runtime\n"
    assert (copy / "scripts/new").read_text() == "#!/bin/sh\nexec my-shop-worker\n"
    assert os.access(copy / "scripts/new", os.X_OK)
    assert not (copy / "docs/scaling.md").exists()
    assert not (copy / "docs/faults.md").exists()
    assert not (copy / "example").exists()
    assert (copy / "my_shop/api.py").read_text().endswith("# mine\n")
    assert (copy / "my_shop/orders.py").read_text() == "import my_shop\n"
    assert (copy / "README.md").read_text().endswith("\nMine.\n")
    assert git(copy, "status", "--porcelain") == ""


def test_an_upgrade_may_be_repeated(upstream: Path, copy: Path) -> None:
    """Again the same version changes nothing; the one after it comes in; by a tag, too."""
    newer(upstream)
    assert upgrade(copy, upstream).returncode == 0
    before = git(copy, "rev-parse", "HEAD")
    again = upgrade(copy, upstream)
    assert (again.returncode, git(copy, "rev-parse", "HEAD")) == (0, before)
    assert "there is nothing new" in again.stderr
    add(upstream / "example" / "runtime" / "new.py", "from example import settings\n")
    commit(upstream, "And the next")
    git(upstream, "tag", "v9")
    git(copy, "fetch", "--quiet", "--no-tags", str(upstream), "tag", "v9")
    # Somebody else's clone of the copy has no branch "layout".
    git(copy, "branch", "-D", "layout")
    done = upgrade(copy, "v9")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (copy / "my_shop/runtime/new.py").read_text().endswith("from my_shop import settings\n")
    assert "Take over the layout at v9" in git(copy, "log", "-1")


def test_what_both_have_changed_is_marked(upstream: Path, copy: Path) -> None:
    for repository, package in ((upstream, "example"), (copy, "my_shop")):
        add(repository / package / "runtime" / "log.py", f"# of {repository.name}\n")
        commit(repository, "The same line")
    done = upgrade(copy, upstream)
    assert done.returncode == 1
    assert "git has marked what both of you changed" in done.stderr
    text = (copy / "my_shop/runtime/log.py").read_text()
    assert "<<<<<<< HEAD\n# of my shop\n=======\n# of layout\n>>>>>>> layout\n" in text


def test_a_merge_that_git_refuses_is_reported_as_that(upstream: Path, copy: Path) -> None:
    newer(upstream)
    add(copy / "scripts" / "new", "Mine, and not committed\n")
    done = upgrade(copy, upstream)
    assert done.returncode == 1
    assert "scripts/new" in done.stderr
    assert "upgrade: git has not merged" in done.stderr
    assert "marked" not in done.stderr


def test_a_branch_of_ones_own_is_left_alone(upstream: Path, copy: Path) -> None:
    newer(upstream)
    git(copy, "branch", "layout")
    before = git(copy, "rev-parse", "HEAD", "layout")
    done = upgrade(copy, upstream)
    assert done.returncode == 2
    assert 'the branch "layout" is your own' in done.stderr
    assert git(copy, "rev-parse", "HEAD", "layout") == before


def test_without_git_it_says_so(folder: Path) -> None:
    copy = folder / "copy"
    shutil.copytree(ROOT / "scripts", copy / "scripts")
    done = upgrade(copy, ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith("upgrade: this needs git, and your copy in it: git init")


def test_changes_that_are_not_committed_are_left_alone(upstream: Path, copy: Path) -> None:
    add(copy / "my_shop" / "api.py", "# more\n")
    done = upgrade(copy, upstream)
    assert done.returncode == 2
    assert done.stderr == "upgrade: commit your changes first\n"


@pytest.mark.parametrize("to", ["v77", "/usr", ""])
def test_a_wrong_version_is_reported(upstream: Path, copy: Path, to: str) -> None:
    before = git(copy, "rev-parse", "HEAD")
    done = upgrade(copy, to)
    assert done.returncode == 2
    assert done.stderr.startswith("upgrade: ")
    assert git(copy, "rev-parse", "HEAD") == before
