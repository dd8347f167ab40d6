"""views/helm.py: an index that every Helm can read, whatever charts say of themselves."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.flags import ROOT_FILES
from cnrmirror.model.oci import HELM_LAYER, HELM_PROVENANCE
from cnrmirror.views.base import ArtifactHub, Package, Settings
from cnrmirror.views.groups import Grouped
from cnrmirror.views.helm import HelmRepository
from tests.charts import attached, blob_of, package, release
from tests.conftest import NO_ROOT, NOW, chart_bytes, tar_gz

NS = Override(namespace="ns")
VIEW = HelmRepository(Settings())


def index_of(*packages: Package, view: HelmRepository = VIEW) -> dict[str, Any]:
    """The index of the first one's namespace."""
    found = {p.document.package: e for p in packages if (e := view.entry(p)) is not None}
    lists = list(view.lists(Grouped(view, found), None, NO_ROOT))
    assert isinstance(lists[0].body, bytes)
    result: dict[str, Any] = json.loads(lists[0].body)
    return result


def line_of(given: Package) -> dict[str, Any]:
    (name,) = index_of(given)["entries"]
    line: dict[str, Any] = index_of(given)["entries"][name][0]
    return line


def test_an_index_has_one_version_a_line_and_is_yaml_too() -> None:
    files = list(VIEW.package(package("ns/chat", release("1.1.0"), release("1.0.0"))))
    body = files[-1].body
    assert isinstance(body, bytes) and files[-1].path == "helm/ns/chat/index.yaml"
    lines = body.decode().splitlines()
    assert lines[0] == '{"apiVersion":"v1","entries":{' and lines[1] == '"chat":['
    assert '"version":"1.1.0"' in lines[2] and '"version":"1.0.0"' in lines[3]
    assert lines[-1] == '},"generated":"2026-01-02T03:04:05Z"}'
    assert yaml.safe_load(body.replace(b"\t", b" "))["entries"].keys() == {"chat"}


def test_the_two_indexes_of_a_chart_lead_to_one_archive() -> None:
    given = package("ns/chat", release("1.0.0+build.5"))
    archive, index = VIEW.package(given)
    digest = blob_of("archive 1.0.0+build.5 helm").digest
    assert archive.path == f"helm/ns/b/{digest}/chat-1.0.0+build.5.tgz" and archive.by_rule
    assert isinstance(index.body, bytes)
    own = json.loads(index.body)["entries"]["chat"][0]["urls"]
    assert own == [f"../b/{digest}/chat-1.0.0%2Bbuild.5.tgz"]
    assert line_of(given)["urls"] == [f"b/{digest}/chat-1.0.0%2Bbuild.5.tgz"]
    assert VIEW.package_in(archive.path) == "ns/chat"


def test_a_time_has_a_zone() -> None:
    assert line_of(package("ns/a", release("1.0.0")))["created"] == "2026-01-02T03:04:05Z"
    zoned = release("1.0.0", at="2026-01-02T03:04:05+02:00")
    assert line_of(package("ns/a", zoned))["created"] == "2026-01-02T03:04:05+02:00"


def test_the_catalogs_name_and_release_count_not_the_charts_own() -> None:
    line = line_of(package("ns/mine", release("2.0.0"), chart={"name": "x", "version": "9"}))
    assert (line["name"], line["version"]) == ("mine", "2.0.0")


HELM_TYPES: dict[str, type | tuple[type, type]] = {
    **dict.fromkeys(["apiVersion", "name", "version", "appVersion", "description", "type", "home",
                     "icon", "kubeVersion", "condition", "tags", "created", "digest"], str),
    **dict.fromkeys(["keywords", "sources", "urls"], (list, str)), "deprecated": bool,
    "annotations": dict, "maintainers": (list, dict), "dependencies": (list, dict),
}  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from([*HELM_TYPES, "engine", "whatever"]), ANYTHING))
def test_whatever_a_chart_says_each_field_has_the_type_that_helm_reads(
    chart: dict[str, Any],
) -> None:
    given = package("ns/a", release("1.0.0"), chart=chart)
    if VIEW.entry(given) is None:
        assert list(VIEW.left_out(given))
        return
    for key, value in line_of(given).items():
        wanted = HELM_TYPES[key]
        if isinstance(wanted, tuple):
            assert isinstance(value, list) and all(isinstance(item, wanted[1]) for item in value)
        else:
            assert isinstance(value, wanted)
    line = line_of(given)
    people = line.get("maintainers", [])
    assert all(isinstance(text, str) for person in people for text in person.values())
    assert all(isinstance(text, str) for text in line.get("annotations", {}).values())
    for entry in line.get("dependencies", []):
        assert all(isinstance(entry[key], str) for key in entry.keys() - {"tags"})
        assert isinstance(entry.get("tags", []), list)


def test_texts_are_cleaned_as_helm_cleans_them() -> None:
    line = line_of(package("ns/a", release("1.0.0"), chart={
        "description": "one\ntwo\u0007\u200b", "maintainers": [{"name": "A\tB"}],
        "annotations": {"a": "kept\nas it is"},
    }))  # fmt: skip
    assert line["description"] == "one two" and line["maintainers"] == [{"name": "A B"}]
    assert line["annotations"] == {"a": "kept\nas it is"}


@pytest.mark.parametrize(("chart", "reason"), [
    ({"type": "plugin"}, "its type 'plugin' is neither"),
    ({"dependencies": [{"name": "a", "alias": "no/alias"}]}, "the alias 'no/alias'"),
    ({"dependencies": [{"name": "a"}, {"name": "a"}]}, "two dependencies are called 'a'"),
])  # fmt: skip
def test_what_helm_cannot_use_is_left_out_and_said(chart: dict[str, Any], reason: str) -> None:
    given = package("ns/a", release("1.0.0"), chart=chart)
    assert VIEW.entry(given) is None and list(VIEW.package(given)) == []
    (said,) = VIEW.left_out(given)
    assert said.startswith("ns/a@1.0.0: not in Helm's index: ") and reason in said


def test_a_file_name_that_reads_in_two_ways_is_left_out() -> None:
    (said,) = VIEW.left_out(package("ns/a-1.2.3", release("2.0.0")))
    assert "where its name ends" in said
    assert VIEW.entry(package("ns/a-1.2", release("2.0.0"))) is not None


def test_provenance_lies_beside_the_archive_of_which_it_is() -> None:
    signed = release("1.0.0", "helm", attached("prov", HELM_PROVENANCE))
    archive, prov, _ = VIEW.package(package("ns/a", signed))
    assert prov.path == f"{archive.path}.prov" and prov.body == blob_of("prov")
    repacked = release("1.0.0", "helm", attached("prov", HELM_PROVENANCE),
                       attached("again", HELM_LAYER, role="repacked"))  # fmt: skip
    archive, _ = VIEW.package(package("ns/a", repacked))
    assert archive.body == blob_of("again")  # which nobody has signed


def test_a_view_that_is_off_has_no_file() -> None:
    off = HelmRepository(Settings(helm=False))
    given = package("ns/a", release("1.0.0"))
    assert list(off.package(given)) == [] and off.entry(given) is None
    assert list(off.left_out(given)) == []


def test_a_chart_with_its_files_at_the_root_is_repacked_once(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "flat-1.0.0.tgz"
    files = {"Chart.yaml": b"name: flat\nversion: 1.0.0\n", "templates/a.yaml": b"a: 1\n"}
    path.write_bytes(tar_gz(files))
    push(project, [path], NS, NOW)
    document = project.catalog.get(project.tree(), "ns/flat")
    assert document is not None and document.releases[0].flags == [ROOT_FILES]
    (attachment,) = document.releases[0].attachments
    with project.store.open_blob(attachment.blob) as stream:
        with tarfile.open(fileobj=io.BytesIO(stream.read())) as tar:
            assert tar.getnames() == ["flat/Chart.yaml", "flat/templates/a.yaml"]
    index = msgspec.json.decode((project.site / "helm/ns/index.yaml").read_bytes())
    assert index["entries"]["flat"][0]["digest"] == attachment.digest
    push(project, [path], NS, NOW)
    again = project.catalog.get(project.tree(), "ns/flat")
    assert again == document and check(project).findings == []


def test_a_provenance_file_beside_an_archive_is_pushed_with_it(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "a-1.0.0.tgz"
    path.write_bytes(chart_bytes("a", "1.0.0"))
    path.with_name("a-1.0.0.tgz.prov").write_bytes(b"-----BEGIN PGP SIGNED MESSAGE-----\n")
    push(project, [path], NS, NOW)
    document = project.catalog.get(project.tree(), "ns/a")
    assert document is not None
    assert [a.media_type for a in document.releases[0].attachments] == [HELM_PROVENANCE]
    (prov,) = (project.site / "helm").rglob("*.prov")
    assert prov.read_bytes().startswith(b"-----BEGIN")


def test_artifact_hub_finds_its_file_beside_each_index() -> None:
    hub = ArtifactHub("123", [{"name": "A", "email": "a@example.com"}])
    view = HelmRepository(Settings(artifacthub=hub))
    given = package("ns/a", release("1.0.0"))
    entry = view.entry(given)
    found = Grouped(view, {"ns/a": entry})
    files = {r.path: r.body for r in view.lists(found, {"ns/a": (None, entry)}, NO_ROOT)}
    assert msgspec.json.decode(bytes(files["helm/ns/artifacthub-repo.yml"])) == {  # type: ignore[arg-type]
        "owners": [{"email": "a@example.com", "name": "A"}], "repositoryID": "123",
    }  # fmt: skip
    assert len(list(VIEW.lists(found, {"ns/a": (None, entry)}, NO_ROOT))) == 1


def test_show_says_who_signed_and_what_clients_cannot_have(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "a-1.0.0.tgz"
    path.write_bytes(tar_gz({"a/Chart.yaml": b"name: a\nversion: 1.0.0\nmaintainers: [me]\n"}))
    path.with_name("a-1.0.0.tgz.prov").write_bytes(b"signed")
    push(project, [path], Override(namespace="Team"), NOW)
    command = [sys.executable, "-m", "cnrmirror", "-C", str(project.folder), "show", "Team/a"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "signed, not verified here: 1.0.0 (helm): provenance" in done.stderr
    assert "not in Helm's index: Helm cannot read maintainers of its Chart.yaml" in done.stderr
    assert "not in the OCI registry: no OCI repository can be called 'Team/a'" in done.stderr
    shown = json.loads(subprocess.run([*command, "--json"], capture_output=True).stdout)
    assert [each["signatures"] for each in shown["signatures"]] == [["provenance"]]
    assert len(shown["left_out"]) == 2
