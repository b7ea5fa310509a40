"""What the page shows is never taken for well when nobody could read it."""

import asyncio

from example.view.dashboard.source import Source


def test_an_answer_that_cannot_be_read_is_a_trouble() -> None:
    """As of a Redis in which another version has written; and the trouble goes with it."""
    answers = ["x", "1"]

    async def ask() -> int:
        return int(answers.pop(0))

    async def main() -> None:
        source = Source(ask, (OSError,))
        seen = await source.look()
        assert (seen.value, seen.trouble) == (None, "invalid literal for int() with base 10: 'x'")
        source.forget()
        seen = await source.look()
        assert (seen.value, seen.trouble) == (1, "")

    asyncio.run(main())
