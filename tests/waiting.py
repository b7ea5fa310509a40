"""Waiting has a deadline, and says on time-out what it saw instead."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    check: Callable[[], T], within: float = 10.0, report: Callable[[], str] = lambda: ""
) -> T:
    """Call `check` until it returns something true, and return that.

    An AssertionError of `check` counts as "not yet". After `within` seconds raises
    AssertionError with the last thing seen and `report()`.
    """
    begun = time.monotonic()
    while True:
        try:
            seen: object = check()
            if seen:
                return seen  # type: ignore[return-value]
        except AssertionError as error:
            seen = error
        waited = time.monotonic() - begun
        if waited > within:
            raise AssertionError(f"not within {within} s; last seen: {seen!r}\n{report()}")
        # Less and less often: each look takes time from what is waited for.
        time.sleep(min(max(waited / 10, 0.01), 0.1))
