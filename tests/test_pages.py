"""The pages of the project: what they lead to is there. Those of a copy are its owner's."""

import re
from pathlib import Path

from .copies import fresh_only
from .layout import ROOT

pytestmark = fresh_only

OWN = ("README", "README.ja", "CHANGELOG", "CONTRIBUTING", "SECURITY", "scripts/README")
PAGES = [*(ROOT / f"{name}.md" for name in OWN), *ROOT.glob("docs/*.md")]


def sections(page: Path) -> set[str]:
    """The anchors that a page's titles get."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text())
    titles = re.findall(r"(?m)^#+ (.*)$", text)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> list[tuple[Path, str]]:
    """Each link within the project: the file, and the section or ''."""
    found = re.findall(r'(?:\]\(|(?:src|srcset)=")([^)"\s]+)[)"]', page.read_text())
    parts = [link.partition("#") for link in found if "://" not in link]
    return [(page.parent / file if file else page, section) for file, _, section in parts]


def test_each_link_leads_to_a_file_and_section_that_are_there() -> None:
    everywhere = [(page.name, *link) for page in PAGES for link in links(page)]
    assert len(everywhere) > 100
    assert [each for each in everywhere if not each[1].exists()] == []
    assert [each for each in everywhere if each[2] and each[2] not in sections(each[1])] == []


def test_each_test_that_a_page_names_is_there() -> None:
    named = {name for page in PAGES for name in re.findall(r"\btest_\w+\.py", page.read_text())}
    there = {file.name for file in (ROOT / "tests").rglob("test_*.py")}
    assert named - there == set()
    assert len(named) > 10
