"""The recipes for Kubernetes: what kustomize and Helm make of them, and whether it is taken."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.interop.helm import helm, run
from tests.interop.programs import program, said
from tests.recipes import RECIPES, repository, tools

pytestmark = pytest.mark.interop

SOURCES = (
    "sources: {ours: {type: charts, folder: ../charts, namespace: x}}\n"
    "publish: {web: {to: ../public}}\n"
)
VERSIONS = ("1.33", "1.35", "1.37")
VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "no-sync": {"sync": {"enabled": False}, "networkPolicy": {"enabled": False}},
    "only-jobs": {"serve": {"enabled": False}, "sync": {"publish": False, "environmentSecret": ""}},
    "own": {
        "image": {"repository": "example.com/x", "digest": "sha256:" + "0" * 64},
        "imagePullSecrets": [{"name": "pull"}],
        "volume": {"existingClaim": "mine"},
        "serve": {"serviceType": "LoadBalancer", "servicePort": 8443},
        "networkPolicy": {"readers": [{"namespaceSelector": {}}], "ports": [9000]},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "x", "operator": "Exists"}],
    },
    "storage": {"volume": {"storageClass": "fast", "accessModes": ["ReadWriteMany"]}},
}
WRONG: dict[str, dict[str, Any]] = {
    "unknown": {"sinc": {}}, "digest": {"image": {"digest": "latest"}},
    "age": {"sync": {"maxAge": "1h; rm -r /data"}},
}  # fmt: skip


def validate(path: Path) -> None:
    """Hold manifests against the schemas of several versions of Kubernetes, strictly."""
    validator = program("kubernetes-validate", "pip install kubernetes-validate")
    for version in VERSIONS:
        told = said(validator, "-k", version, "--strict", path)
        assert told.count(" passed ") == len(documents(path)), told


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def pods(path: Path) -> Iterator[dict[str, Any]]:
    """What every pod is to be."""
    for document in documents(path):
        spec = document.get("spec", {})
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if document["kind"] == "Pod":
            yield spec
        elif "template" in spec:
            yield spec["template"]["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers of a pod, in the order in which they begin."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def require_restricted(path: Path) -> None:
    """What the pod security standard "restricted" asks for, and a root that is read-only."""
    assert list(pods(path))
    for pod in pods(path):
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert container["resources"]["limits"]["memory"]


def built(tmp_path: Path, recipe: str = "kubernetes") -> Path:
    """What ``kubectl apply -k`` would send."""
    path = tmp_path / "kustomized.yaml"
    path.write_text(said(helm("kubectl"), "kustomize", RECIPES / recipe))
    return path


def test_the_kustomization_builds_and_every_version_takes_it(tmp_path: Path) -> None:
    path = built(tmp_path)
    validate(path)
    require_restricted(path)
    kinds = sorted(document["kind"] for document in documents(path))
    assert kinds == ["CronJob", "CronJob", "Deployment", "NetworkPolicy", "NetworkPolicy",
                     "PersistentVolumeClaim", "Service"]  # fmt: skip
    images = {container["image"] for pod in pods(path) for container in pod["containers"]}
    assert images == {"registry.example.com/cnrmirror:0.1.0"}
    load = RECIPES / "kubernetes/load.yaml"
    validate(load)
    require_restricted(load)
    assert {container["image"] for pod in pods(load) for container in pod["containers"]} == images


@pytest.mark.parametrize("name", ["helm3", "helm4"])
@pytest.mark.parametrize("values", VALUES)
def test_the_chart_is_well_and_what_it_renders_is_taken(
    name: str, values: str, tmp_path: Path
) -> None:
    given = tmp_path / "values.yaml"
    given.write_text(yaml.safe_dump(VALUES[values]))
    linted = run(helm(name), tmp_path, "lint", "--strict", RECIPES / "chart", "-f", given)
    assert linted.code == 0 and "[WARNING]" not in linted.out + linted.err, linted.out
    rendered = run(helm(name), tmp_path, "template", "my", RECIPES / "chart", "-f", given)
    assert rendered.code == 0, rendered.err
    path = tmp_path / "rendered.yaml"
    path.write_text(rendered.out)
    validate(path)
    require_restricted(path)


@pytest.mark.parametrize("name", ["helm3", "helm4"])
@pytest.mark.parametrize("values", WRONG)
def test_the_chart_refuses_values_that_it_does_not_know(
    name: str, values: str, tmp_path: Path
) -> None:
    given = tmp_path / "values.yaml"
    given.write_text(yaml.safe_dump(WRONG[values]))
    assert run(helm(name), tmp_path, "template", "my", RECIPES / "chart", "-f", given).code != 0


def test_the_chart_gives_the_same_pods_as_the_kustomization(tmp_path: Path) -> None:
    rendered = run(helm("helm4"), tmp_path, "template", "cnrmirror", RECIPES / "chart")
    path = tmp_path / "rendered.yaml"
    path.write_text(rendered.out)

    def found(path: Path) -> dict[str, Any]:
        """By the container's name, without what only one of them says."""
        result = {}
        for pod in pods(path):
            [container] = pod["containers"]
            container.pop("imagePullPolicy", None)
            pod.pop("affinity", None)
            result[container["name"]] = pod
        return result

    assert found(path) == found(built(tmp_path))


def test_the_jobs_of_the_cluster_sign_take_in_and_end_as_the_sync_did(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    _, keys = repository(folder, SOURCES)
    environment = {"PATH": f"{tools(folder / 'tools')}:/usr/bin:/bin", "CNRMIRROR_KEYS": keys}
    jobs = {pod["containers"][0]["name"]: pod["containers"][0] for pod in pods(built(tmp_path))}
    assert jobs["refresh"]["args"] == ["refresh"]
    words = [word.replace("/data", str(folder / "work")) for word in jobs["sync"]["command"]]

    def job() -> int:
        return subprocess.run(words, env=environment, cwd="/", capture_output=True).returncode

    assert job() == 0
    assert (folder / "work/public/cnr/api/v1/packages/x/nginx/1.0.0/helm/pull").exists()
    (folder / "work/charts/bad-1.0.0.tgz").write_bytes(b"no archive")
    assert job() == 14
