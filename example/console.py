"""The console scripts: each starts its program, and for --help tells what that is.

Arguments are looked at here only: whoever calls `start_app()` may have some of their own.
"""

import argparse
from collections.abc import Callable
from dataclasses import fields

from . import programs
from .settings import Settings


def take_no_arguments(about: str | None, name: str | None = None) -> None:
    """Exit with `about` for --help, and with status 2 for any other argument."""
    variables = ", ".join(each.name.upper() for each in fields(Settings))
    argparse.ArgumentParser(
        prog=name,
        description=about,
        epilog=f"Settings are variables of the environment, see README.md: {variables}.",
    ).parse_args()


def _script(start: Callable[[], None]) -> Callable[[], None]:
    def script() -> None:
        take_no_arguments(start.__doc__)
        start()

    return script


app = _script(programs.start_app)
beat = _script(programs.start_beat)
worker = _script(programs.start_worker)
redis = _script(programs.start_redis)
scaler = _script(programs.start_scaler)
health = _script(programs.health)
