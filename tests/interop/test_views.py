"""Both views of today's clients over HTTP, on every kind of host: each address, and a walk."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import requests

from cnrmirror.model.oci import OCI_INDEX, OCI_MANIFEST
from cnrmirror.model.resource import CACHE_CONTROL, Alias, Resource
from cnrmirror.views.oci_paths import digest_of
from cnrmirror.views.site import Site
from tests.interop.today import SBOM, Place, Shop

pytestmark = pytest.mark.interop
MISSING = (
    "/v2/edge/web/manifests/9.9.9", "/v2/edge/none/manifests/1.0.0", "/v2/edge/none/tags/list",
    f"/v2/edge/web/manifests/sha256:{'0' * 64}", f"/v2/edge/web/blobs/sha256:{'0' * 64}",
    f"/v2/edge/web/referrers/sha256:{'0' * 64}", f"/v2/edge/web/manifests/sha256:{'A' * 64}",
    "/v2/edge/web/manifests/", "/v2/edge/web/manifests", "/v2/edge/web/blobs/1.0.0",
    "/v2/edge/web/manifests/sha256:00", "/v2/edge", "/v2/edge/web/manifests/.hidden",
)  # fmt: skip
OUTSIDE = (
    "/v2/../../mirror.yaml", "/v2/%2e%2e/%2e%2e/mirror.yaml", "/v2/..%2f..%2fmirror.yaml",
    "/v2/../mirror.yaml", "/helm/../../mirror.yaml", "/helm/%2e%2e/%2e%2e/mirror.yaml",
    "/v2/edge/web/manifests/..", "/v2/edge/web/manifests/%2e%2e", "/v2/edge/web/blobs/sha256:..",
    "/v2/edge/../../../mirror.yaml/manifests/x", "/helm/edge/b/../../../../mirror.yaml",
    "/v2/edge/web/manifests/../../../../../mirror.yaml",
    "/v2/edge/web/tags/list/../../../../../mirror.yaml",
)  # fmt: skip


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture(scope="module")
def files(shop: Shop) -> list[tuple[str, Resource, bytes]]:
    """Each file of the two views: its address, what it is, its bytes."""
    project = shop.project
    settings = msgspec.structs.replace(project.config.views, precompress=False, pages=False)
    site = Site(settings, "", rules=False)
    root = project.catalog.root(project.head().catalog)
    packages = [site.load(project.catalog, project.catalog.document(ref), None)
                for ref in project.catalog.packages(project.tree())]  # fmt: skip
    made = [r for package in packages for r in site.package(package)]
    made += [*site.all_lists(site.grouped(site.entries(packages)), root), *site.fixed()]
    by_path = {r.path: r for r in made if r.path.startswith(("v2/", "helm/"))}
    found = []
    for path, resource in by_path.items():
        body = resource.body
        if isinstance(body, Alias):
            body = by_path[body.seen_from(path)].body
        if not isinstance(body, bytes):
            with project.store.open_blob(body) as stream:  # type: ignore[arg-type]
                body = stream.read()
        address = site.address(path)
        if path != "v2/404.json":
            found.append((f"/{address}", resource, body))
    assert len(found) > 200
    assert "/helm/edge/artifacthub-repo.yml" in {address for address, _, _ in found}
    return found


def test_every_file_answers_at_its_address_with_its_type(
    place: Place, session: requests.Session, files: list[tuple[str, Resource, bytes]]
) -> None:
    wrong = []
    for address, resource, body in files:
        for written in {address, address.replace(":", "%3A").replace("+", "%2B")}:
            with session.get(place.url + written) as answer:
                found = answer.status_code, answer.headers["Content-Type"], answer.content
                cache = answer.headers.get("Cache-Control", "")
            if found != (200, resource.media_type, body):
                wrong.append(f"{written}: {found[:2]}, not {resource.media_type}")
            # SeaweedFS forgets it of a key with a slash at its end.
            if cache != CACHE_CONTROL[resource.cache] and written[-1] != "/":
                wrong.append(f"{written}: {cache}")
    assert "\n".join(wrong[:20]) == ""


# A test that is not run on a bucket has an empty cell in docs/hosts.md.
no_bucket = pytest.mark.not_on_a_bucket


@no_bucket("sends no header of Docker's")
def test_a_digest_that_is_asked_for_stands_in_the_header(
    place: Place, session: requests.Session, files: list[tuple[str, Resource, bytes]]
) -> None:
    for address, resource, body in files:
        with session.head(place.url + address) as answer:
            digest = answer.headers.get("Docker-Content-Digest", "")
            version = answer.headers.get("Docker-Distribution-Api-Version")
        named = digest_of(resource.path)
        by_tag = place.kind in ("serve", "bundle") and isinstance(resource.body, Alias)
        right = f"sha256:{hashlib.sha256(body).hexdigest()}" if named or by_tag else ""
        assert digest == right and named in ("", digest), address
        assert (version == "registry/2.0") is address.startswith("/v2/"), address


def test_the_root_of_the_registry_answers(place: Place, session: requests.Session) -> None:
    with session.get(f"{place.url}/v2/", allow_redirects=False) as answer:
        assert (answer.status_code, answer.text) == (200, "")


@no_bucket("has the key v2/ only")
def test_the_root_of_the_registry_answers_without_its_slash(
    place: Place, session: requests.Session
) -> None:
    with session.get(f"{place.url}/v2", allow_redirects=False) as answer:
        assert (answer.status_code, answer.text) == (200, "")


def test_head_and_ranges_work_for_manifests_blobs_and_archives(
    place: Place, session: requests.Session, files: list[tuple[str, Resource, bytes]]
) -> None:
    kinds = ("/manifests/1.0.0", "/manifests/sha256:", "/blobs/sha256:", ".tgz", "/index.yaml")
    for kind in kinds:
        address, resource, body = next(f for f in files if kind in f[0])
        with session.head(place.url + address) as answer:
            assert answer.status_code == 200 and answer.content == b""
            assert int(answer.headers["Content-Length"]) == len(body)
            assert answer.headers["Content-Type"] == resource.media_type
        with session.get(place.url + address, headers={"Range": "bytes=10-19"}) as answer:
            assert (answer.status_code, answer.content) == (206, body[10:20])
        headers = {"Accept-Encoding": "gzip"}
        with session.get(place.url + address, headers=headers) as answer:
            assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("path", [
    pytest.param(path, marks=no_bucket("of SeaweedFS answers a folder as an empty object"))
    if path.endswith("/") else path
    for path in MISSING
])  # fmt: skip
def test_what_is_not_there_is_404(place: Place, session: requests.Session, path: str) -> None:
    with session.get(place.url + path, allow_redirects=False) as answer:
        assert answer.status_code == 404
        assert "Docker-Content-Digest" not in answer.headers
        assert "immutable" not in answer.headers.get("Cache-Control", "")


@no_bucket("answers in XML")
@pytest.mark.parametrize("path", MISSING)
def test_an_error_is_a_document_of_the_specification(
    place: Place, session: requests.Session, path: str
) -> None:
    with session.get(place.url + path, allow_redirects=False) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["errors"][0]["code"].endswith("_UNKNOWN")


def test_a_query_changes_no_answer(place: Place, session: requests.Session) -> None:
    """containerd names the host that it asks a mirror for; others ask for pages."""
    for path in ("manifests/1.0.0", "tags/list"):
        with session.get(f"{place.url}/v2/edge/web/{path}") as answer:
            wanted = answer.status_code, answer.headers["Content-Type"], answer.content
        for query in ("ns=docker.io", "ns=../x", "n=1&last=1.0.0"):
            with session.get(f"{place.url}/v2/edge/web/{path}?{query}") as answer:
                found = answer.status_code, answer.headers["Content-Type"], answer.content
            assert found == wanted, query


def test_nothing_outside_of_the_site_is_answered(place: Place) -> None:
    for target in OUTSIDE:
        connection = http.client.HTTPConnection(urlsplit(place.url).netloc, timeout=10)
        try:
            connection.request("GET", target)
            answer = connection.getresponse()
            assert answer.status in (400, 403, 404), f"{target}: {answer.status}"
        finally:
            connection.close()


def test_a_registry_that_is_read_takes_no_push(place: Place, session: requests.Session) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        with session.request(method, f"{place.url}/v2/edge/web/blobs/uploads/") as answer:
            assert answer.status_code in (
                (403, 404, 405, 501) if place.kind == "bucket" else (405,)
            )


class Walk:
    """All that can be reached from the list of repositories, as a client goes."""

    def __init__(self, place: Place, session: requests.Session) -> None:
        self._url = f"{place.url}/v2/"
        self._session = session
        self.seen: set[str] = set()
        self.referrers = 0

    def get(self, path: str) -> requests.Response:
        accept = {"Accept": f"{OCI_MANIFEST}, {OCI_INDEX}"}
        answer = self._session.get(self._url + path, headers=accept)
        if answer.status_code == 200 and "Content-Encoding" not in answer.headers:
            assert int(answer.headers["Content-Length"]) == len(answer.content)
        return answer

    def all(self) -> int:
        repositories = self.get("_catalog").json()["repositories"]
        assert repositories == sorted(repositories)
        for repository in repositories:
            listed = self.get(f"{repository}/tags/list").json()
            assert listed == {"name": repository, "tags": sorted(set(listed["tags"]))}
            for tag in listed["tags"]:
                self._tag(repository, tag)
        return len(repositories)

    def _tag(self, repository: str, tag: str) -> None:
        answer = self.get(f"{repository}/manifests/{tag}")
        digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        by_digest = self._manifest(repository, digest)
        assert by_digest.content == answer.content
        assert by_digest.headers["Content-Type"] == answer.headers["Content-Type"]

    def _manifest(self, repository: str, digest: str) -> requests.Response:
        answer = self.get(f"{repository}/manifests/{digest}")
        assert answer.status_code == 200, f"{repository} {digest}"
        assert f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == digest
        document = answer.json()
        assert document["mediaType"] == answer.headers["Content-Type"]
        self.seen.add(f"{repository}@{digest}")
        for inner in document.get("manifests", []):
            there = self._manifest(repository, inner["digest"])
            self._same(inner, there, there.headers["Content-Type"])
        for blob in [document["config"], *document["layers"]] if "layers" in document else []:
            there = self.get(f"{repository}/blobs/{blob['digest']}")
            self._same(blob, there, blob["mediaType"])
            self.seen.add(f"{repository}@{blob['digest']}")
        self._referring(repository, digest)
        return answer

    def _same(self, descriptor: dict[str, Any], answer: requests.Response, kind: str) -> None:
        found = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        wanted = [descriptor[key] for key in ("digest", "size", "mediaType")]
        assert [found, len(answer.content), kind] == wanted

    def _referring(self, repository: str, digest: str) -> None:
        """Both ways in which clients ask, and each leads to manifests that name the subject."""
        answer = self.get(f"{repository}/referrers/{digest}")
        fallback = self.get(f"{repository}/manifests/{digest.replace(':', '-')}")
        assert answer.status_code == fallback.status_code
        if answer.status_code == 404:
            return
        assert answer.headers["Content-Type"] == fallback.headers["Content-Type"] == OCI_INDEX
        assert answer.content == fallback.content
        for each in answer.json()["manifests"]:
            referrer = self._manifest(repository, each["digest"])
            assert referrer.json()["subject"]["digest"] == digest
            assert referrer.json()["artifactType"] == each["artifactType"]
            self.referrers += 1


def test_the_whole_registry_is_walked_and_everything_is_right(
    place: Place, session: requests.Session
) -> None:
    walk = Walk(place, session)
    assert walk.all() > 15
    assert len(walk.seen) > 80 and walk.referrers == 2


def test_an_attachment_is_found_as_a_referrer_with_its_bytes(
    place: Place, session: requests.Session
) -> None:
    walk = Walk(place, session)
    digest = f"sha256:{hashlib.sha256(walk.get('edge/web/manifests/1.0.0').content).hexdigest()}"
    [found] = walk.get(f"edge/web/referrers/{digest}").json()["manifests"]
    assert found["artifactType"] == "application/spdx+json"
    [layer] = walk.get(f"edge/web/manifests/{found['digest']}").json()["layers"]
    assert walk.get(f"edge/web/blobs/{layer['digest']}").content == SBOM


def test_every_index_leads_to_archives_of_their_digests(
    place: Place, session: requests.Session
) -> None:
    count = 0
    for index in ("helm/edge/index.yaml", "helm/edge/web/index.yaml", "helm/charts/index.yaml"):
        base = f"{place.url}/{index}"
        with session.get(base) as answer:
            entries = json.loads(answer.text)["entries"]
        for version in [v for versions in entries.values() for v in versions]:
            with session.get(f"{base.removesuffix('index.yaml')}{version['urls'][0]}") as answer:
                assert hashlib.sha256(answer.content).hexdigest() == version["digest"]
                assert answer.headers["Content-Type"] == "application/x-gzip"
            count += 1
    assert count > 20


def test_the_archives_of_the_catalog_have_the_type_that_every_client_takes(
    place: Place, session: requests.Session, shop: Shop
) -> None:
    digest = hashlib.sha256(shop.archives["web-1.0.0.tgz"]).hexdigest()
    with session.get(f"{place.url}/catalog/blobs/sha256/{digest[:2]}/{digest}") as answer:
        assert answer.content == shop.archives["web-1.0.0.tgz"]
        assert answer.headers["Content-Type"] == "application/x-gzip"
