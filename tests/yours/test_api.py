"""Yours: what the Web API answers, asked over HTTP."""

from collections.abc import Callable

from ..layout import Layout


def test_the_api_says_hello(only: Callable[..., Layout]) -> None:
    layout = only(app=1)
    assert layout.get("/") == "Hello, world!"
