"""Both READMEs say the same: commands, code and tables of README.md are in README.ja.md.

Those of a copy are its owner's.
"""

import re

from .copies import fresh_only
from .layout import ROOT

pytestmark = fresh_only


def both() -> list[str]:
    return [(ROOT / name).read_text() for name in ("README.md", "README.ja.md")]


def blocks(text: str) -> list[str]:
    """The code, without what is only told beside a command."""
    found = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r"(?m) +# .*$", "", block) for block in found]


def rows(text: str) -> list[list[str]]:
    """What each row of each table names: code and links, and not the words about them."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [re.findall(r"`[^`]+`|\]\([^)]+\)", line) for line in lines]


def test_both_have_the_same_commands_and_code() -> None:
    english, japanese = map(blocks, both())
    assert japanese == english


def test_both_have_the_same_tables() -> None:
    english, japanese = map(rows, both())
    assert japanese == english


def test_both_lead_to_the_same_pages_which_are_there() -> None:
    english, japanese = (set(re.findall(r"\]\(([\w./]+)\)", text)) for text in both())
    assert japanese - {"README.md"} == english - {"README.ja.md"}
    assert all((ROOT / page).exists() for page in english | japanese)
