"""A plugin for tests: makes every function of one part raise, so that its guard has to hold."""

import functools
from typing import Any

from example.supervision import guard


def make(supervisord: Any, part: str, installs: str = "yes") -> object:
    """`installs = no` has already the part's installation raise, else only what it installs."""
    real = guard.guard

    def faulty(function: Any, *more: Any) -> Any:
        is_install = function.__name__.startswith("install")
        module = function.__module__.rpartition(".")[2]
        if part not in (module, "all") or is_install == (installs == "yes"):
            return real(function, *more)

        @functools.wraps(function)
        def raising(*_: Any, **__: Any) -> None:
            raise RuntimeError(f"{module} raises on purpose")

        return real(raising, *more)

    if not getattr(guard.guard, "faulty", False):
        faulty.faulty = True  # type: ignore[attr-defined]
        guard.guard = faulty  # type: ignore[assignment]
    return object()
