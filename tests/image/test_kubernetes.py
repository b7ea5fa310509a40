"""deploy/kubernetes, built by kubectl as `apply -k` does; no cluster is needed."""

import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # comes with kubernetes-validate, untyped

from ..launchers import SCRIPTS
from ..layout import ROOT

MANIFESTS = ROOT / "deploy" / "kubernetes"
KEDA = ("ScaledObject", "TriggerAuthentication")  # of no published schema
Resources = dict[tuple[str, str], Any]


@pytest.fixture(scope="session")
def kubectl() -> str:
    found = shutil.which("kubectl")
    if not found:
        pytest.skip("no kubectl: install kubernetes-client")
    return found


def build(kubectl: str, folder: Path) -> Resources:
    command = [kubectl, "kustomize", str(folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}


def pods(resources: Resources) -> list[Any]:
    return [each["spec"]["template"]["spec"] for (kind, _), each in resources.items()
            if kind == "Deployment"]  # fmt: skip


def test_they_build_and_are_valid(kubectl: str, tmp_path: Path) -> None:
    """By the published schemas, of the oldest version that is meant and the newest."""
    resources = build(kubectl, MANIFESTS)
    assert len(pods(resources)) == 3
    built = tmp_path / "built.yaml"
    built.write_text(yaml.safe_dump_all(resources.values()))
    validate = [str(SCRIPTS / "kubernetes-validate"), "--strict", "--quiet"]
    for version in ("1.28", "1.35"):
        done = subprocess.run(
            [*validate, "-k", version, str(built)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_pod_can_write_where_it_must_and_nowhere_else(kubectl: str) -> None:
    for pod in pods(build(kubectl, MANIFESTS)):
        [container] = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        places = {each["mountPath"] for each in container["volumeMounts"]}
        assert places == {"/srv/var", "/tmp", "/run/secrets/example"}  # noqa: S108


def test_each_pod_is_asked_whether_it_is_ready(kubectl: str) -> None:
    """So a rollout with a wrong Redis does not succeed; and what is asked is in the image.

    Whether it is to be restarted does not depend on Redis.
    """
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for pod in pods(build(kubectl, MANIFESTS)):
        [container] = pod["containers"]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container[kind]
            if "httpGet" in probe:
                assert (probe["httpGet"]["path"] == "/readyz") == (kind == "readinessProbe")
            else:
                command = probe["exec"]["command"]
                assert command[0] in scripts
                assert ("--ready" in command) == (kind == "readinessProbe")


def test_the_secret_is_in_no_variable(kubectl: str) -> None:
    for pod in pods(build(kubectl, MANIFESTS)):
        [container] = pod["containers"]
        assert all("value" in each for each in container["env"])
        assert all("secretRef" not in each for each in container["envFrom"])


def test_keda_owns_the_number_of_workers(kubectl: str, tmp_path: Path) -> None:
    folder = shutil.copytree(MANIFESTS, tmp_path / "kubernetes")
    with (folder / "kustomization.yaml").open("a") as file:
        file.write("components: [keda]\n")
    resources = build(kubectl, folder)
    assert "replicas" not in resources["Deployment", "example-worker"]["spec"]
    [trigger] = resources["ScaledObject", "example-worker"]["spec"]["triggers"]
    login = resources["TriggerAuthentication", trigger["authenticationRef"]["name"]]
    names = {each["name"] for each in login["spec"]["secretTargetRef"]}
    assert {("Secret", name) for name in names} <= resources.keys()
