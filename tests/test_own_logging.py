"""An application that configures logging itself, as most do when they are imported."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from .mine import Mine
from .package import demo
from .server import Server

# Without `disable_existing_loggers` all loggers are disabled that exist by then.
OWN = """
import logging.config
logging.config.dictConfig({
    "version": 1,
    "formatters": {"own": {"format": "OWN %(message)s"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "own"}},
    "root": {"handlers": ["out"], "level": "INFO"},
})
"""
FAILS = "\ndef work(item: str) -> None:\n    raise ValueError('of the task')\n"


def test_the_failures_of_its_code_are_reported_in_its_own_form(
    launch: Callable[..., Any], redis: Server
) -> None:
    def kind(folder: Path, redis: Server) -> Mine:
        api = demo("api").replace("return", "raise ValueError('of the API')\n    return")
        tasks = OWN + FAILS
        return Mine(folder, redis, ["example-app"], ["example-worker"], api=OWN + api, tasks=tasks)

    mine = launch(kind, redis)
    mine.start()
    mine.says("OWN app ready")
    mine.says("OWN worker ready")
    with contextlib.suppress(HTTPError):
        mine.get()
    mine.push("x")
    mine.says("OWN Exception in ASGI application", "ValueError: of the API")
    mine.says("OWN item", "failed, again", "ValueError: of the task")


def test_a_fault_after_it_is_reported_too(launch: Callable[..., Any], redis: Server) -> None:
    def kind(folder: Path, redis: Server) -> Mine:
        return Mine(folder, redis, ["example-worker"], tasks=f"{OWN}\nimport nope\n")

    mine = launch(kind, redis)
    mine.start()
    assert mine.ends() == 2
    assert mine.said("OWN tasks.py cannot be imported", "No module named 'nope'")
