"""Yours: the settings, with their defaults and what describes them."""

import re
from dataclasses import fields

from example.settings import Settings

from ..layout import ROOT


def test_nothing_set_gives_the_article_s_defaults() -> None:
    settings = Settings.load({})
    assert settings.redis_url == "redis://localhost"
    assert settings.redis_key == "TESTING"
    assert (settings.host, settings.port) == ("127.0.0.1", 5000)


def test_each_setting_is_documented() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "".join(each.read_text() for each in documents)
    assert [
        name for each in fields(Settings) if f"`{(name := each.name.upper())}`" not in text
    ] == []


def test_the_example_of_env_has_every_setting_and_its_default() -> None:
    """But for HOST and PORT: under supervisord its configuration says where app listens."""
    found = dict(re.findall(r"(?m)^#([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text()))
    names = {each.name.upper() for each in fields(Settings)} - {"HOST", "PORT"}
    assert found.keys() == names
    assert Settings.load(found) == Settings()
