"""The catalog covers every byte that Helm and OCI clients get: an auditor finds what changed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.audit.report import Order
from cnrmirror.audit.run import audit
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.objects.folder import FolderReader
from cnrmirror.publish.open import find_destinations
from cnrmirror.publish.session import Session
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import chart_bytes, tar_gz
from tests.mirrors import make

NOW = datetime.now(UTC).replace(microsecond=0, tzinfo=None).isoformat()
NS = Override(namespace="ns")


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A chart with provenance, an attachment and a second format, and one that is repacked."""
    folder = tmp_path_factory.mktemp("audited")
    project = make(folder / "m", "00000000-0000-4000-8000-00000000000c", NOW)
    chart, sbom = folder / "a-1.0.0.tgz", folder / "sbom.json"
    chart.write_bytes(chart_bytes("a", "1.0.0"))
    sbom.write_bytes(b"{}")
    (folder / "a-1.0.0.tgz.prov").write_bytes(b"signed")
    push(project, [chart], NS, NOW, What(attached=[("application/spdx+json", sbom)]))
    kpm = folder / "a.tar.gz"
    kpm.write_bytes(tar_gz({"manifest.yaml": b"package: {name: ns/a, version: 1.0.0}\n"}))
    push(project, [kpm], Override("ns/a", release="1.0.0", media_type="kpm"), NOW)
    flat = folder / "flat-1.0.0.tgz"
    flat.write_bytes(tar_gz({"Chart.yaml": b"name: flat\nversion: 1.0.0\n"}))
    push(project, [flat], NS, NOW)
    return project


def publish(project: Project, to: str) -> Path:
    target, *_ = find_destinations(project, [to])
    with Session.open(project, target) as session:
        session.publish(NOW)
    return Path(target.to)


def found_at(project: Project, place: Path, work: Path) -> set[str]:
    """The paths of an audit's findings."""
    trust = Trust((project.metadata.path / "1.root.json").read_bytes(), work / "c", work / "m")
    order = Order(Policy(), datetime.now(UTC), strict=True)
    return {finding.path for finding in audit(FolderReader(place), trust, order).findings}


def test_an_auditor_finds_every_changed_file_of_both_views(mirror: Project, tmp_path: Path) -> None:
    place = publish(mirror, f"{tmp_path}/pub")
    assert found_at(mirror, place, tmp_path) == set()
    files = {
        path.relative_to(place).as_posix(): path
        for top in ("helm", "v2")
        for path in (place / top).rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    kinds = ("index.yaml", ".prov", "tags/list", "_catalog", "/manifests/", "/indexes/",
             "/referrers/", "/blobs/")  # fmt: skip
    assert all(any(kind in name for name in files) for kind in kinds)
    for path in files.values():
        data = path.read_bytes()
        path.unlink()  # not through the link to the blob
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:] if data else b"x")
    assert found_at(mirror, place, tmp_path) == files.keys()


def test_an_auditor_finds_a_tag_that_leads_elsewhere_and_a_file_that_is_gone(
    mirror: Project, tmp_path: Path
) -> None:
    place = publish(mirror, f"{tmp_path}/pub")
    tag = place / "v2/ns/a/manifests/1.0.0"
    others = [p for p in (place / "v2/ns/a/manifests/sha256").iterdir() if p != tag.resolve()]
    tag.unlink()
    tag.symlink_to(f"sha256/{others[0].name}")
    gone = place / "helm/ns/a/index.yaml"
    gone.unlink()
    more = place / "v2/ns/a/manifests/9.9.9"
    more.write_bytes(b"{}")
    assert found_at(mirror, place, tmp_path) == {
        path.relative_to(place).as_posix() for path in (tag, gone, more)
    }


def test_a_host_without_rules_has_the_archives_and_they_are_compared(
    mirror: Project, tmp_path: Path
) -> None:
    target, *_ = find_destinations(mirror, [f"{tmp_path}/pub"])
    plain = type(target)(to=target.to, host="netlify")
    with Session.open(mirror, plain) as session:
        session.publish(NOW)
    place = Path(target.to)
    assert found_at(mirror, place, tmp_path) == set()
    (archive,) = (place / "helm/ns").glob("b/*/flat-1.0.0.tgz")
    archive.unlink()
    archive.write_bytes(b"x")
    assert found_at(mirror, place, tmp_path) == {archive.relative_to(place).as_posix()}
