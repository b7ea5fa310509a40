"""The page never says that all is well when it could not read an answer."""

import asyncio

from example.view.dashboard.source import Source


def test_an_answer_that_cannot_be_read_is_a_trouble() -> None:
    """Another version may have written it. When answers can be read again, the trouble ends."""
    answers = ["x", "1"]

    async def ask() -> int:
        return int(answers.pop(0))

    async def main() -> None:
        source = Source(ask, (OSError,), str)
        seen = await source.look()
        assert (seen.value, seen.trouble) == (None, "invalid literal for int() with base 10: 'x'")
        source.forget()
        seen = await source.look()
        assert (seen.value, seen.trouble) == (1, "")

    asyncio.run(main())
