"""What the pages tell a reader to type."""

import re


def section(page: str, title: str) -> str:
    """The text below a title, up to the next title of its rank."""
    found = re.search(rf"(?ms)^(##+) {re.escape(title)}\n(.*?)(?=^##? |^\1 |\Z)", page)
    assert found, f"no section {title}"
    return found[2]


def blocks(text: str, language: str = "sh") -> list[str]:
    """The code blocks of a language, in order."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text)


def commands(text: str) -> list[str]:
    """The commands of all `sh` blocks. A command may span several lines."""
    return [
        command
        for block in blocks(text)
        for command in re.split(r"(?<![|\\])\n(?!\s)", block.strip())
    ]
