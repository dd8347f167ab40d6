"""Google Cloud Storage as a place: everything that every place must do, and what is its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import AccessDenied, InputError, NetworkError, NotFoundError, Tampered
from cnrmirror.model.progress import NoProgress
from cnrmirror.model.resource import Resource
from cnrmirror.objects.base import Objects, Reader, read
from cnrmirror.objects.cloud import CloudObjects, CloudReader
from cnrmirror.objects.cloud_settings import CloudAddress, CloudSettings
from cnrmirror.objects.limiter import Limiter
from tests.azure_double import Azure, azure
from tests.gcs_double import Google, google
from tests.objects_suite import ObjectsSuite, ReaderSuite

SILENT = NoProgress()


@pytest.fixture
def service() -> Iterator[Google]:
    with google() as found:
        yield found


def opened(service: Google, project: Project, name: str = "site/x") -> CloudObjects:
    place = CloudObjects(f"gs://{name}", CloudSettings(service.url), project.store)
    place._limiter = Limiter(8, attempts=3, sleep=lambda seconds: None)
    return place


class TestGoogle(ObjectsSuite):
    @pytest.fixture
    def pair(self, service: Google, project: Project) -> tuple[Objects, Objects]:
        name = f"site/{uuid.uuid4().hex}"
        return opened(service, project, name), opened(service, project, name)


class TestGoogleReader(ReaderSuite):
    @pytest.fixture
    def reader(self, service: Google, project: Project) -> Reader:
        files = [Resource(path, data) for path, data in self.files.items()]
        opened(service, project).put(files, SILENT)
        return CloudReader("gs://site/x", CloudSettings(service.url))


def test_what_is_stored_says_what_it_is_and_how_long_it_is_good_for(
    service: Google, project: Project
) -> None:
    opened(service, project).put([Resource("a", b"1", filename="a.tgz", cache="immutable")], SILENT)
    assert service.objects["x/a"].headers == {
        "content-type": "application/json", "content-disposition": "a.tgz",
        "cache-control": "public, max-age=31536000, immutable",
    }  # fmt: skip


def test_a_large_archive_goes_and_comes_in_parts(service: Google, project: Project) -> None:
    data = bytes(range(256)) * (80 << 10)
    blob = Descriptor.of(data)
    project.store.add_blob(blob, [data])
    place = opened(service, project)
    place.create([Resource("catalog/blobs/a", blob)], SILENT)
    assert read(place.fetch("catalog/blobs/a", len(data))) == data
    listed = next(place.listing())
    assert listed.tag.endswith('-3"') and place.holds(listed, Resource("x", blob))
    service.objects["x/catalog/blobs/a"].data = data[:-1] + b"x"
    assert not place.holds(listed, Resource("x", blob))


def test_what_changes_while_it_is_read_is_no_mixture(service: Google, project: Project) -> None:
    data = bytes(20 << 20)
    blob = Descriptor.of(data)
    project.store.add_blob(blob, [data])
    place = opened(service, project)
    place.put([Resource("a", blob)], SILENT)
    pieces = place.fetch("a", len(data))
    next(pieces), next(pieces)
    service.objects["x/a"].etag = '"other"'
    with pytest.raises(Tampered, match="changed while"):
        next(pieces)


def test_trouble_is_waited_out_and_an_answer_that_was_lost_is_no_rival(
    service: Google, project: Project
) -> None:
    place = opened(service, project)
    service.trouble = 2
    tag = place.swap("a", b"1", None)
    service.lost = 1
    assert place.swap("a", b"2", tag) != tag
    assert service.objects["x/a"].data == b"2"
    service.trouble = 100
    with pytest.raises(NetworkError):
        place.read("a", 100)


def test_a_list_that_breaks_off_is_asked_for_again_and_is_whole(
    service: Google, project: Project
) -> None:
    place = opened(service, project)
    place.put([Resource(f"n/{number:03}", b"1") for number in range(250)], SILENT)
    for pages in (0, 1, 2):
        service.pages = pages
        assert len({item.key for item in place.listing()}) == 250


def test_what_is_locked_stays_and_is_said(service: Google, project: Project) -> None:
    place = opened(service, project)
    place.put([Resource("a", b"1"), Resource("b", b"1")], SILENT)
    service.locked = {"x/a"}
    assert place.delete(["a", "b", "c"]) == ["a"]
    assert "ObjectUnderActiveHold" in place.notes[0]


def test_a_bucket_that_is_not_there_is_said_so(service: Google, project: Project) -> None:
    with pytest.raises(NotFoundError, match="make it first"):
        opened(service, project, "other").read("a", 100)


def test_credentials_that_are_none_are_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key.json").write_text("{}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    with pytest.raises(AccessDenied, match="gs://site"):
        CloudObjects("gs://site", CloudSettings(), project.store)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("gs://site", CloudAddress("gs", "site", "")),
        ("gs://my.site/a/b/", CloudAddress("gs", "my.site", "a/b/")),
        ("az://acc/box", CloudAddress("az", "box", "", "acc")),
        ("az://acc/$web/x", CloudAddress("az", "$web", "x/", "acc")),
    ],
)
def test_an_address_is_taken_apart(address: str, found: CloudAddress) -> None:
    assert CloudAddress.parse(address) == found


@pytest.mark.parametrize(
    "address", ["gs://", "gs://X", "gs://site/../x", "az://acc", "az://acc/B", "az://a/box"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=r"write|not a prefix"):
        CloudAddress.parse(address)


# -- what a service refuses --


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Azure]:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")
    with azure() as found:
        yield found


def at_azure(service: Azure, project: Project) -> CloudObjects:
    place = CloudObjects("az://account/site/x", CloudSettings(service.url), project.store)
    place._limiter = Limiter(8, attempts=3, sleep=lambda seconds: None)
    return place


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "AuthorizationFailure"), (409, "PublicAccessNotPermitted"), (409, "PathConflict"),
        (409, "BlobImmutableDueToPolicy"), (412, "LeaseIdMissing"), (409, "SnapshotsPresent"),
    ],
)  # fmt: skip
def test_a_refusal_is_none_of_what_others_did_and_nothing_is_taken_for_there(
    refusing: Azure, project: Project, status: int, code: str
) -> None:
    refusing.status, refusing.code = status, code
    place = at_azure(refusing, project)
    files = [Resource("catalog/blobs/a", b"1")]
    for action in (
        lambda: place.create(files, SILENT), lambda: place.put(files, SILENT),
        lambda: place.swap("a", b"1", None), lambda: place.read("a", 10),
        lambda: read(place.fetch("a", 10)),
    ):  # fmt: skip
        with pytest.raises(AccessDenied, match=code):
            action()
    refusing.asked = 0
    assert place.delete(["a"]) == ["a"]
    assert code in place.notes[0] and refusing.asked == 1


def test_a_key_of_an_account_stands_in_no_message(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", '"SECRET"')
    with pytest.raises(AccessDenied) as caught:
        CloudObjects("gs://site", CloudSettings(), project.store)
    assert "SECRET" not in str(caught.value)


def test_a_key_that_cannot_be_asked_for_is_said_so(service: Google, project: Project) -> None:
    with pytest.raises(InputError):
        opened(service, project).read("a//b", 10)
