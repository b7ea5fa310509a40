"""Yours: what the Web API answers, asked over HTTP."""

from ..layout import Layout


def test_the_api_says_hello(layout: Layout) -> None:
    assert layout.get("/") == "Hello, world!"
