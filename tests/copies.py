"""Copies of the project, as people make them: what a copy holds, and what is done with it."""

import compileall
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .layout import ROOT

MADE_HERE = shutil.ignore_patterns(
    *(
        ".git",
        ".venv*",
        ".env",
        ".supervisord*",
        ".coverage*",
        "*.log",
        "*.sock*",
        "*.pid",
        "history.jsonl",
        "redis",
        "*_cache",
        "__pycache__",
        ".hypothesis",
    )
)
fresh_only = pytest.mark.skipif(
    'name = "example"' not in (ROOT / "pyproject.toml").read_text(), reason="renamed already"
)
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A"), ("EMAIL", "a@localhost"))
}


def rename(copy: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [copy / "scripts" / "rename", *words], capture_output=True, text=True, timeout=60
    )


def git(copy: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words],
        cwd=copy,
        env=os.environ | IDENTITY,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def contents(copy: Path) -> dict[str, bytes]:
    """Path -> content of every file, without those of .git."""
    return {
        str(path.relative_to(copy)): path.read_bytes()
        for path in copy.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def commit(repository: Path, message: str) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", message)


def make_repository(folder: Path) -> None:
    """The layout's own repository, at this version."""
    shutil.copytree(ROOT, folder, ignore=MADE_HERE)
    git(folder, "init", "--quiet")
    commit(folder, "The layout")


def compile_package(package: Path) -> None:
    """Once, in place of each program that starts at the same time as the others."""
    assert compileall.compile_dir(package, quiet=1)
