"""openapi.json at every kind of place, and what an auditor says of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cnrmirror.audit.report import Audit, Order
from cnrmirror.audit.run import audit
from cnrmirror.mirror.places import open_place
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.objects.folder import FolderReader
from cnrmirror.publish.open import DestinationMemory, form_of
from cnrmirror.publish.session import Session
from cnrmirror.trust.verify import Policy, Trust
from cnrmirror.views import site
from cnrmirror.views.base import Settings
from cnrmirror.views.cnr_v1 import to_json
from cnrmirror.views.openapi import PATH, OpenApi, document
from cnrmirror.views.site import ViewSettings
from tests.conftest import chart_bytes
from tests.mirrors import make
from tests.place_forms import bucket_of
from tests.test_views_audited import NOW, NS

FOLDERS: dict[str, dict[str, Any]] = {
    "folder": {}, "copies": {"links": False},
    **{host: {"host": host} for host in ("netlify", "cloudflare-pages", "github-pages")},
}  # fmt: skip


@pytest.fixture
def mirror(tmp_path: Path) -> Project:
    return filled(make(tmp_path / "m", "00000000-0000-4000-8000-00000000000d", NOW), tmp_path)


def filled(project: Project, tmp_path: Path) -> Project:
    (tmp_path / "a-1.0.0.tgz").write_bytes(chart_bytes("a", "1.0.0"))
    push(project, [tmp_path / "a-1.0.0.tgz"], NS, NOW)
    return project


def audited(project: Project, place: Path, work: Path) -> Audit:
    trust = Trust((project.metadata.path / "1.root.json").read_bytes(), work / "c", work / "n")
    return audit(FolderReader(place), trust, Order(Policy(), datetime.now(UTC), strict=True))


def paths(found: Audit) -> list[str]:
    return [finding.path for finding in found.findings]


def notes(found: Audit) -> list[str]:
    return [note for note in found.notes if PATH in note]


@pytest.mark.parametrize("kind", FOLDERS)
def test_every_folder_has_the_document_and_an_auditor_finds_it_good(
    mirror: Project, tmp_path: Path, kind: str
) -> None:
    target = PublishTo(to=str(tmp_path / "out"), grace_minutes=0, **FOLDERS[kind])
    place = open_place(target, mirror.store)
    with Session(mirror, target, DestinationMemory(mirror, target), place) as session:
        session.publish(NOW)
    found = (tmp_path / "out" / PATH).read_bytes()
    # A host without rules is no OCI registry.
    assert found == to_json(document(Settings(oci="host" not in FOLDERS[kind])))
    report = audited(mirror, tmp_path / "out", tmp_path)
    assert ([path for path in paths(report) if PATH in path], notes(report)) == ([], [])


@pytest.mark.parametrize("forms", [[], ["json"], ["twins", "dash", "bare"]])
def test_every_bucket_has_the_document(mirror: Project, forms: list[Any]) -> None:
    assert bucket_of(mirror, forms)[PATH] == to_json(document(Settings()))
    form = form_of(mirror, PublishTo(to="s3://memory/x", forms=forms))
    [resource] = [r for r in form.placed(form.site.fixed()) if r.path == PATH]
    assert (resource.media_type, resource.cache) == ("application/json", "short")


def test_a_document_that_is_changed_or_missing_is_found(mirror: Project, tmp_path: Path) -> None:
    file = mirror.site / PATH
    good = file.read_bytes()
    packed = mirror.site / f"{PATH}.gz"
    assert packed.is_file()
    file.write_bytes(good.replace(b"sha256", b"sha512"))
    assert set(paths(audited(mirror, mirror.site, tmp_path))) == {PATH, f"{PATH}.gz"}
    file.unlink()
    assert PATH in paths(audited(mirror, mirror.site, tmp_path))
    file.write_bytes(good)
    assert paths(audited(mirror, mirror.site, tmp_path)) == []


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A mirror of a program that knows no such document."""
    said: Callable[..., dict[str, Any]] = ViewSettings.in_catalog

    def less(self: ViewSettings, url: str, templates: Mapping[str, str]) -> dict[str, Any]:
        return {k: v for k, v in said(self, url, templates).items() if k != OpenApi.name}

    with monkeypatch.context() as patch:
        patch.setattr(site, "VIEWS", tuple(view for view in site.VIEWS if view is not OpenApi))
        patch.setattr(ViewSettings, "in_catalog", less)
        old = make(tmp_path / "m", "00000000-0000-4000-8000-00000000000d", NOW)
        filled(old, tmp_path)
    yield old


def test_a_mirror_of_an_older_program_is_not_called_broken(older: Project, tmp_path: Path) -> None:
    assert not (older.site / PATH).exists()
    report = audited(older, older.site, tmp_path)
    assert (paths(report), notes(report)) == ([], [])


def test_a_follower_of_an_older_program_may_have_the_document(
    older: Project, tmp_path: Path
) -> None:
    (older.site / PATH).write_bytes(b"{}")
    report = audited(older, older.site, tmp_path)
    assert paths(report) == [] and "does not name version 1" in notes(report)[0]


def test_the_document_of_another_version_is_not_compared(
    mirror: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror.site / PATH).write_bytes(b"{}")
    (mirror.site / f"{PATH}.gz").unlink()
    monkeypatch.setattr(OpenApi, "version", 2)
    report = audited(mirror, mirror.site, tmp_path)
    assert paths(report) == [] and "does not name version 2" in notes(report)[0]


def test_the_catalog_says_which_renderer_made_it(mirror: Project) -> None:
    settings = json.loads(msgspec.json.encode(mirror.root().settings))
    assert settings["openapi"] == OpenApi.version
