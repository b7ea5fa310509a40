"""What a version is published with, and what stands in the files that say so."""

import re
import tomllib
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # comes with kubernetes-validate, untyped

from .layout import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
WORKFLOWS = {each.name: each.read_text() for each in (ROOT / ".github" / "workflows").iterdir()}


def jobs(name: str) -> dict[str, Any]:
    return yaml.safe_load(WORKFLOWS[name])["jobs"]  # type: ignore[no-any-return]


def test_the_changelog_has_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    titles = re.findall(r"(?m)^## (\S+)(?: \((\d{4}-\d\d-\d\d)\))?$", changelog)
    assert titles[0] == ("Unreleased", "")
    assert titles[1][0] == VERSION
    assert titles[1][1]


def test_the_manifests_take_the_image_of_the_version() -> None:
    kustomization = yaml.safe_load((ROOT / "deploy/kubernetes/kustomization.yaml").read_text())
    assert [each["newTag"] for each in kustomization["images"]] == [VERSION]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commit(name: str) -> None:
    """And the version of each stands beside it, for those who read and for what updates it."""
    used = re.findall(r"uses: (?!\./)(.*)", WORKFLOWS[name])
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_nothing_is_published_before_all_tests_have_passed() -> None:
    """On each Python that is declared, on both architectures, and in the image."""
    publish = jobs("publish.yml")
    assert publish["test"]["uses"] == "./.github/workflows/test.yml"
    assert publish["image"]["needs"] == "test"
    test = jobs("test.yml")
    declared = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    machines = ["ubuntu-24.04", "ubuntu-24.04-arm"]
    assert test["test"]["strategy"]["matrix"] == {"python": declared, "machine": machines}
    assert test["image"]["strategy"]["matrix"] == {"machine": machines}
    (build,) = (step["with"] for step in publish["image"]["steps"] if step.get("id") == "build")
    assert build["platforms"] == "linux/amd64,linux/arm64"
    assert (build["sbom"], build["provenance"]) == (True, "mode=max")
