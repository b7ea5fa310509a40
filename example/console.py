"""Turns each function of programs.py into a program: how it starts, and its console script."""

import argparse
import importlib
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from .runtime import log
from .runtime.environment import SettingsError
from .settings import Settings

if TYPE_CHECKING:
    from .runtime.process import Process

logger = logging.getLogger(__name__)


class Program(NamedTuple):
    """What launchers know of a program."""

    start: Callable[[], None]
    """Runs it as the only thing that its process does."""
    run: Callable[[], Awaitable[None]] | None
    """Runs it in the caller's event loop until TERM, as `asyncio.run(example.beat())` does."""
    is_part: bool
    """Whether `python -m example` starts it with the others."""


PROGRAMS: dict[str, Program] = {}
"""All functions of programs.py, by name."""


def program(main: Callable[["Process", Settings], Awaitable[None]]) -> None:
    """A decorator: makes a program of the coroutine function main(process, settings).

    `main` calls `process.ready(…)` when it works, and returns once `process.stopping` is set.
    """
    name = main.__name__

    async def inside(settings: Settings) -> None:
        from .runtime.process import Process

        async with Process(name) as process:
            await main(process, settings)

    async def run() -> None:
        await inside(Settings.load())

    def start() -> None:
        from .runtime import process

        settings = load_settings()
        process.run(lambda: inside(settings))

    start.__doc__ = run.__doc__ = main.__doc__
    # multiprocessing pickles it by these names where it does not fork.
    start.__module__, start.__qualname__ = __package__, f"start_{name}"
    PROGRAMS[name] = Program(start, run, is_part=True)


def command(is_part: bool = False) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """A decorator: makes a program of a plain function, which loads the settings itself."""

    def register(main: Callable[[], None]) -> Callable[[], None]:
        PROGRAMS[main.__name__] = Program(main, None, is_part)
        return main

    return register


def load_settings() -> Settings:
    """Load the settings, and configure logging by them. Exits with 2 if a setting is wrong."""
    try:
        settings = Settings.load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    log.configure(settings.log_level, settings.log_format)
    return settings


def load_yours(name: str, *attributes: str) -> Any:
    """Import your module `name`, which must have these attributes; returns the module.

    Exits with 2 if that cannot be: it would fail again at each try. An OSError passes, since what
    the module asks for at import, a database for instance, may be there the next time.
    """
    log.keep()
    try:
        module = importlib.import_module(f".{name}", __package__)
    except OSError:
        raise
    except Exception:
        logger.critical("%s.py cannot be imported", name, exc_info=True)
        sys.exit(2)
    for attribute in attributes:
        if not hasattr(module, attribute):
            print(f"wrong module: {name}.py has no {attribute!r}", file=sys.stderr)
            sys.exit(2)
    return module


def take_no_arguments(about: str | None, name: str | None = None) -> None:
    """Exit after `about` for --help, or the version for --version; any other argument: status 2."""
    variables = ", ".join(each.name.upper() for each in fields(Settings))
    parser = argparse.ArgumentParser(
        prog=name,
        description=about,
        epilog=f"Settings are variables of the environment, see README.md: {variables}.",
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    if parser.parse_args().version:
        from importlib.metadata import version

        print(version(str(__package__)))
        sys.exit()


def __getattr__(name: str) -> Callable[[], None]:
    """The console script of the program `name`.

    Only console scripts look at arguments: a program that calls `start_app()` has its own.
    """
    importlib.import_module(".programs", __package__)
    if name not in PROGRAMS:
        raise AttributeError(f"there is no function {name!r} in {__package__}/programs.py")
    start = PROGRAMS[name].start

    def script() -> None:
        take_no_arguments(start.__doc__)
        start()

    return script
