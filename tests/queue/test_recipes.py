"""The recipes in docs/queue.md, run as they stand there."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ..server import Server
from .workers import KEY, Workers

DOC = Path(__file__).parent.parent.parent / "docs" / "queue.md"
SECTION = re.compile(r"^## (.*?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
RECIPES = {
    title: re.findall(r"^\$ (redis-cli .*)$", body, re.MULTILINE)
    for title, body in SECTION.findall(DOC.read_text())
    if "$ redis-cli" in body
}


def recipe(redis: Server, title: str, number: int = 0, **values: str) -> str:
    """What the recipe prints, with each <name> in it replaced."""
    client = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if not client:
        pytest.skip("needs redis-cli")
    command = RECIPES[title][number]
    for name, value in values.items():
        command = command.replace(f"<{name}>", value)
    words = [client, "-p", str(redis.port), *shlex.split(command)[1:]]
    return subprocess.run(
        words, capture_output=True, text=True, errors="replace", check=True
    ).stdout


def test_every_recipe_is_here() -> None:
    assert {title: len(recipes) for title, recipes in RECIPES.items()} == {
        "Which rights do the programs need?": 4,
        "What is in hand, and whose?": 3,
        "What waits for another attempt?": 2,
    }


def test_what_is_in_hand_and_whose(workers: Workers) -> None:
    worker = workers.start()
    workers.push("nap 60")
    workers.eventually(lambda: workers.told("start"))
    title = "What is in hand, and whose?"
    name = recipe(workers.redis, title).strip()
    assert name.split("/")[2] == str(worker.pid)
    assert recipe(workers.redis, title, 1).strip() == f"{{{KEY}}}:hand:{name}"
    assert "0 0 nap 60" in recipe(workers.redis, title, 2, worker=name).splitlines()


def test_what_waits_for_another_attempt(workers: Workers) -> None:
    client, title = workers.redis.client, "What waits for another attempt?"
    due = 10**14
    client.zadd(workers.key("retry"), {"w#1 0 1 later": due})
    client.zadd(workers.key("suspects"), {"w#2 2 0 suspect": due})
    assert recipe(workers.redis, title).splitlines()[0] == "w#1 0 1 later"
    assert recipe(workers.redis, title, 1).splitlines()[0] == "w#2 2 0 suspect"
