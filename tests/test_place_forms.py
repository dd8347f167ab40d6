"""What a place has, and has not, by the forms that were chosen for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.audit.report import Audit, Order
from cnrmirror.audit.run import audit
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import blob_path
from cnrmirror.model.errors import IncompleteError, UsageError
from cnrmirror.model.progress import NoProgress
from cnrmirror.model.resource import Resource
from cnrmirror.objects.base import Reader, ViewForm
from cnrmirror.objects.folder import FolderReader
from cnrmirror.objects.http import HttpReader
from cnrmirror.publish import limits
from cnrmirror.publish.cost import cost_at
from cnrmirror.publish.limits import Limits
from cnrmirror.publish.open import DestinationMemory, find_destinations, form_of
from cnrmirror.publish.session import Session
from cnrmirror.trust.verify import Policy, Trust
from cnrmirror.views.layout import Form, key_of, left_out, location_of, with_redirects
from tests.conftest import chart_bytes
from tests.loopback import on_loopback
from tests.mirrors import reopen
from tests.place_forms import ALL, CHOICES, NOW, bucket_of, mirror_of_two_releases, to_bucket
from tests.places import (
    API,
    WatchedObjects,
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return mirror_of_two_releases(tmp_path)


@contextmanager
def bucket_over_http(objects: dict[str, bytes]) -> Iterator[str]:
    """A bucket as it answers by itself: exact keys; a query changes nothing."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = objects.get(unquote(self.path.partition("?")[0])[1:])
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format: str, *words: Any) -> None:
            pass

    with on_loopback(Answers) as url:
        yield url


def audited(project: Project, reader: Reader, work: Path) -> Audit:
    pinned = (project.metadata.path / "1.root.json").read_bytes()
    trust = Trust(pinned, work / "cache", work / "marks")
    return audit(reader, trust, Order(Policy(), datetime.now(UTC), pages=True))


@pytest.mark.parametrize("forms", CHOICES[:-1])
def test_an_auditor_finds_no_fault_in_what_a_bucket_was_not_asked_to_have(
    project: Project, tmp_path: Path, forms: list[Form]
) -> None:
    with bucket_over_http(bucket_of(project, forms)) as url:
        report = audited(project, HttpReader(url), tmp_path)
    assert report.findings == []
    said = " ".join(report.notes)
    assert ("-t" in said) == ("dash" not in forms)


def test_an_auditor_finds_every_form_that_has_other_bytes(project: Project, tmp_path: Path) -> None:
    objects = bucket_of(project, ["twins", "dash"])
    forms = [key for key in objects if key.endswith("/json") or "/-" in key]
    assert len(forms) > 8
    for key in forms:
        changed = {**objects, key: objects[key][:-2] + b"\n}"}
        with bucket_over_http(changed) as url:
            report = audited(project, HttpReader(url), tmp_path)
        assert report.findings, key


def test_an_oci_registry_is_looked_at_though_its_first_address_is_missing(
    project: Project, tmp_path: Path
) -> None:
    objects = bucket_of(project, [])
    del objects["v2/"]
    report = audited(project, Keys(objects), tmp_path)
    assert report.findings == [] and any("/v2/" in note for note in report.notes)
    key = next(key for key in objects if key.startswith("v2/") and "/manifests/" in key)
    objects[key] += b" "
    assert [f.path for f in audited(project, Keys(objects), tmp_path).findings] != []
    gone = {key: data for key, data in objects.items() if not key.startswith("v2/")}
    report = audited(project, Keys(gone), tmp_path)
    assert any("is no OCI registry" in note for note in report.notes)
    assert any("openapi.json: not compared" in note for note in report.notes)
    assert {f.path.rpartition(".")[2] for f in report.findings} == {"html"}  # pages that name it


def test_a_form_that_is_there_by_half_is_a_fault(project: Project, tmp_path: Path) -> None:
    objects = bucket_of(project, ["dash"])
    del objects[f"{API}/ns/a/1.0.0/-"]
    with bucket_over_http(objects) as url:
        found = audited(project, HttpReader(url), tmp_path).findings
    assert [(f.path, f.problem) for f in found] == [(f"{API}/ns/a/1.0.0/-/index.json", "missing")]
    objects[f"{API}/ns/a/1.0.0/-"] = b"{}"
    with bucket_over_http(objects) as url:
        found = audited(project, HttpReader(url), tmp_path).findings
    assert [(f.path, f.problem) for f in found] == [(f"{API}/ns/a/1.0.0/-/index.json", "wrong")]


@pytest.mark.parametrize("host", ["netlify", "cloudflare-pages", "github-pages"])
@pytest.mark.parametrize("forms", [[], ["json"], [*ALL]])
def test_a_folder_for_a_host_passes_an_audit(
    project: Project, tmp_path: Path, host: Any, forms: list[Form]
) -> None:
    out = tmp_path / "out"
    with Session.open(project, PublishTo(to=str(out), host=host, forms=forms)) as session:
        session.publish(NOW)
        assert session.audit(NOW, repair=False) == []
    assert audited(project, FolderReader(out), tmp_path).findings == []
    pull = out / API / "ns/a/1.0.0/helm/pull"
    if "json" in forms and host != "netlify":
        assert json.loads(pull.read_bytes())["release"] == "1.0.0"
    else:
        assert pull.read_bytes() == chart_bytes("a", "1.0.0")
    bare = out / "api/v1/packages/ns/a/1.0.0/helm/pull"
    assert bare.exists() == ("bare" in forms and host == "github-pages")


def test_only_archives_and_their_forms_have_other_keys_for_appr() -> None:
    assert key_of("cnr/api/v1/packages-by/_/pull.json") == "cnr/api/v1/packages-by/_/pull.json"
    assert key_of(f"{API}/ns/a/1.0.0/helm/pull.json") == f"{API}/ns/a/1.0.0/helm/pull/json"


def test_a_redirect_is_an_address_whatever_letters_the_prefix_has() -> None:
    blob = Descriptor.of(b"{}")
    assert location_of("", blob) == f"/{blob_path(blob.digest)}"
    assert location_of("my charts/ü/", blob) == f"/my%20charts/%C3%BC/{blob_path(blob.digest)}"


def test_the_plan_says_what_clients_lose_and_which_form_would_help(project: Project) -> None:
    said = {
        tuple(forms): " ".join(to_bucket(project, {}, forms).plan(NOW).left_out)
        for forms in CHOICES
    }
    words: dict[Form, str] = {
        "json": "[json]",
        "twins": "[twins]",
        "dash": "[dash]",
        "bare": "[bare]",
    }
    assert all(word in said[()] for word in words.values())
    for form, word in words.items():
        assert word not in said[(form,)]
    assert "a server knows" in said[("twins",)]
    assert said[ALL] == "…/pull as an archive, as curl and Go clients ask"
    assert "appr" not in " ".join(left_out("netlify", ["twins", "dash"]))
    assert left_out("folder", ["json", "dash", "twins", "bare"]) == []


def test_a_folder_for_servers_leaves_nothing_out(project: Project, tmp_path: Path) -> None:
    with Session.open(project, PublishTo(to=str(tmp_path / "out"))) as session:
        assert session.plan(NOW).left_out == []


def test_the_plan_says_what_a_host_does_not_take(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = PublishTo(to=str(tmp_path / "out"), host="github-pages")
    with Session.open(project, target) as session:
        assert session.plan(NOW).too_much == []
        monkeypatch.setitem(limits.LIMITS, "github-pages", Limits(5000, 10, 9000, "a page"))
        found = session.plan(NOW).too_much
    assert any("bytes; github-pages takes 5000 (a page)" in line for line in found)
    assert any("files; github-pages takes 10" in line for line in found)
    assert any("bytes; github-pages takes 9000" in line for line in found)


def test_a_saved_plan_is_carried_out_though_a_host_takes_less(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(limits.LIMITS, "github-pages", Limits(5000, 10, 9000, "a page"))
    target = PublishTo(to=str(tmp_path / "out"), host="github-pages")
    with Session.open(project, target) as session:
        saved = msgspec.json.decode(
            msgspec.json.encode(session.plan(NOW)), type=type(session.plan(NOW))
        )
        assert session.publish(NOW, saved).puts > 0


# -- redirects ------------------------------------------------------------------------------------


def test_behind_a_website_endpoint_an_archive_is_there_once(project: Project) -> None:
    target = PublishTo(to="s3://bucket/some/prefix", host="s3-website", forms=["dash"])
    placed = form_of(project, target)
    document = project.catalog.get(project.tree(), "ns/a")
    assert document is not None
    found = placed.package(project.views.load(project.catalog, document, project.store))
    blobs = {f"/some/prefix/{blob_path(r.blob.digest)}" for r in document.releases}
    redirects = [r for r in found if r.redirect]
    assert {r.redirect for r in redirects} == blobs
    assert all(r.body == r.redirect.encode() for r in redirects)
    names = {r.path.rpartition("/")[2] for r in redirects}
    assert {"pull", "a-1.0.0.tgz"} <= names and len(redirects) > 8
    assert not any(isinstance(r.body, Descriptor) for r in found)


def test_a_manifest_is_no_redirect_for_it_is_known_by_its_type() -> None:
    blob = Descriptor.of(b"{}")
    paths = ["v2/ns/a/manifests/1.0.0", "v2/ns/a/blobs/sha256:x", "catalog/blobs/a", "x/pull"]
    found = with_redirects([Resource(path, blob) for path in paths], "")
    assert [bool(r.redirect) for r in found] == [False, True, False, True]


@pytest.mark.parametrize(("to", "host"), [("s3://b-b/x", "netlify"), ("out/x", "s3-website")])
def test_a_host_of_another_kind_is_refused(project: Project, to: str, host: str) -> None:
    with (project.folder / "mirror.yaml").open("a") as config:
        config.write(f"publish: {{x: {{to: '{to}', host: {host}}}}}\n")
    with pytest.raises(UsageError, match=f"host: {host} is not for a"):
        find_destinations(reopen(project.folder), ["x"])


def test_an_auditor_by_the_keys_takes_a_redirect_to_the_right_archive_only(
    project: Project, tmp_path: Path
) -> None:
    target = PublishTo(to="s3://memory/x", host="s3-website")
    objects: dict[str, bytes] = {}
    place = WatchedObjects(project.store, objects)
    Session(project, target, DestinationMemory(project, target), place).publish(NOW)
    report = audited(project, Keys(objects), tmp_path)
    assert report.findings == [] and any("are redirects" in note for note in report.notes)
    key = f"{API}/ns/a/1.0.0/helm/pull"
    right = objects[key]
    for wrong in (objects[f"{API}/ns/a/1.1.0/helm/pull"], b"https://elsewhere" + right, right[2:]):
        objects[key] = wrong
        assert [f.path for f in audited(project, Keys(objects), tmp_path).findings] == [key]


def test_a_redirect_among_archives_is_a_fault(project: Project, tmp_path: Path) -> None:
    objects = bucket_of(project, [])
    key = f"{API}/ns/a/1.0.0/helm/pull"
    objects[key] = f"/x/{blob_path(Descriptor.of(objects[key]).digest)}".encode()
    found = audited(project, Keys(objects), tmp_path).findings
    assert [(f.path, f.problem) for f in found] == [(key, "wrong")]


class Keys(Reader):
    """A bucket's keys."""

    name = "keys"
    views: ViewForm = "keys"
    prefix = "x/"

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._objects = objects

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        if path not in self._objects:
            raise IncompleteError(f"{path}: missing")
        yield self._objects[path]

    def close(self) -> None:
        return None


def test_older_words_for_a_form_still_mean_it(project: Project) -> None:
    old = PublishTo(to="s3://memory/x", pull="json", bare_prefix=True, forms=["dash", "json"])
    new = PublishTo(to="s3://memory/x", forms=["dash", "json", "bare"])
    assert old.wanted == new.wanted
    assert form_of(project, old).fingerprint == form_of(project, new).fingerprint
    assert cost_at(project, old) == cost_at(project, new)


def test_a_link_that_only_one_package_lacks_is_a_fault(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "b-1.0.0.tgz"
    path.write_bytes(chart_bytes("b", "1.0.0"))
    push(project, [path], Override(namespace="ns"), NOW, What())
    out = tmp_path / "out"
    with Session.open(project, PublishTo(to=str(out))) as session:
        session.publish(NOW)
    (out / API / "ns/b/1.0.0/-").unlink()
    found = audited(project, FolderReader(out), tmp_path).findings
    assert {f.path.rpartition("/-/")[0] for f in found} == {f"{API}/ns/b/1.0.0"}
    assert {f.problem for f in found} == {"missing"}


def test_a_lost_archive_does_not_make_others_faulty(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Session.open(project, PublishTo(to=str(out), links=False)) as session:
        session.publish(NOW)
    document = project.catalog.get(project.tree(), "ns/a")
    assert document is not None
    lost = blob_path(document.releases[0].blob.digest)
    (out / lost).unlink()
    assert {f.path for f in audited(project, FolderReader(out), tmp_path).findings} == {lost}


class Impatient(NoProgress):
    """Somebody loses patience after a package."""

    def advance(self, steps: int = 1, size: int = 0) -> None:
        raise KeyboardInterrupt


def test_an_audit_that_was_interrupted_knows_which_forms_the_packages_before_lacked(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "b-1.0.0.tgz"
    path.write_bytes(chart_bytes("b", "1.0.0"))
    push(project, [path], Override(namespace="ns"), NOW, What())
    objects, lacking = bucket_of(project, ["dash"]), bucket_of(project, [])
    objects = {key: data for key, data in objects.items() if key in lacking or "/ns/b/" in key}
    pinned = (project.metadata.path / "1.root.json").read_bytes()
    order = Order(Policy(), datetime.now(UTC))

    def looked(progress: NoProgress) -> Audit:
        trust = Trust(pinned, tmp_path / "cache", tmp_path / "marks")
        return audit(Keys(objects), trust, order, progress, tmp_path / "journal")

    with pytest.raises(KeyboardInterrupt):
        looked(Impatient())
    report = looked(NoProgress())
    assert any("was interrupted" in note for note in report.notes)
    assert report.findings == audited(project, Keys(objects), tmp_path).findings
    assert {(f.path.partition("/ns/a/")[0], f.problem) for f in report.findings} == {
        (API, "missing")
    }


def test_a_folder_for_a_host_that_only_knows_index_html_is_audited_as_it_lies(
    project: Project, tmp_path: Path, chart: Callable[..., Path]
) -> None:
    push(project, [chart("a", "1.0.0"), chart("b", "1.0.0")], Override(namespace="ns"), NOW)
    folder = tmp_path / "out"
    with Session.open(project, PublishTo(to=str(folder), host="github-pages")) as session:
        session.publish(NOW)

    def found() -> list[tuple[str, str]]:
        pinned = project.metadata.read("1.root.json")
        trust = Trust(pinned, tmp_path / "cache", tmp_path / "marks")
        order = Order(Policy(any_age=True), datetime.now(UTC), strict=True)
        report = audit(FolderReader(folder), trust, order)
        return [(f.path, f.problem) for f in report.findings if f.problem != "stale"]

    assert found() == []
    base = "cnr/api/v1/packages/ns"
    for path in (f"{base}/a/index.html", f"{base}/b/type-helm.json"):
        (folder / path).write_text((folder / path).read_text().replace("1.0.0", "1.0.1"))
    wrong = found()
    # What has the bytes of a changed page is another than it, too.
    copies = {f"{base}/{name}/type-helm.json" for name in "ab"}
    assert {path for path, _ in wrong} == {f"{base}/a/index.json", *copies}
    assert {problem for _, problem in wrong} == {"wrong"}
