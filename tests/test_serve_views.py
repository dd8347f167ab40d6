"""serve as a Helm repository and an OCI registry: addresses, headers, errors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from werkzeug.test import Client

from cnrmirror.airgap.export import plan, write
from cnrmirror.archive.identify import Override
from cnrmirror.bundle.format import Selection
from cnrmirror.bundle.read import BundleReader
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model.oci import OCI_INDEX, OCI_MANIFEST
from cnrmirror.model.resource import HTML_TYPE
from cnrmirror.server.app import Application
from cnrmirror.server.bundle import BundleMirror
from cnrmirror.views.pages import HTML_HEADERS
from tests.conftest import NOW, chart_bytes
from tests.mirrors import reopen

RELEASE = "1.0.0+b.1"
ARCHIVE = chart_bytes("a", RELEASE)
DIGEST = hashlib.sha256(ARCHIVE).hexdigest()


@pytest.fixture
def client(project: Project, tmp_path: Path) -> Client:
    path = tmp_path / f"a-{RELEASE}.tgz"
    path.write_bytes(ARCHIVE)
    (tmp_path / "sbom").write_bytes(b"{}")
    attached = [("application/spdx+json", tmp_path / "sbom")]
    push(project, [path], Override(namespace="ns"), NOW, What(attached=attached))
    return Client(Application(project))


@pytest.mark.parametrize("escaped", [False, True])
def test_a_chart_is_had_from_the_registry_by_tag_and_digest(client: Client, escaped: bool) -> None:
    by_tag = client.get("/v2/ns/a/manifests/1.0.0_b.1", buffered=True)
    digest = f"sha256:{hashlib.sha256(by_tag.data).hexdigest()}"
    assert by_tag.content_type == OCI_MANIFEST
    assert by_tag.headers["Docker-Content-Digest"] == digest
    assert by_tag.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert by_tag.headers["Cache-Control"] == "public, max-age=60"
    colon = "%3A" if escaped else ":"
    by_digest = client.get(f"/v2/ns/a/manifests/{digest.replace(':', colon)}", buffered=True)
    assert by_digest.data == by_tag.data
    assert by_digest.headers["Cache-Control"].endswith("immutable")
    [layer] = json.loads(by_tag.data)["layers"]
    blob = client.get(f"/v2/ns/a/blobs/sha256{colon}{layer['digest'][7:]}", buffered=True)
    assert (blob.data, blob.headers["Docker-Content-Digest"]) == (ARCHIVE, f"sha256:{DIGEST}")
    referrers = client.get(f"/v2/ns/a/referrers/{digest}", buffered=True)
    assert referrers.content_type == OCI_INDEX
    assert "Docker-Content-Digest" not in referrers.headers


def test_head_and_ranges_answer_for_manifests_and_blobs(client: Client) -> None:
    for path in ("manifests/1.0.0_b.1", f"blobs/sha256:{DIGEST}"):
        whole = client.get(f"/v2/ns/a/{path}", buffered=True)
        head = client.head(f"/v2/ns/a/{path}")
        assert head.status_code == 200 and head.data == b""
        for name in ("Content-Length", "Content-Type", "Docker-Content-Digest", "ETag"):
            assert head.headers[name] == whole.headers[name]
        part = client.get(f"/v2/ns/a/{path}", headers={"Range": "bytes=5-9"}, buffered=True)
        assert (part.status_code, part.data) == (206, whole.data[5:10])


@pytest.mark.parametrize(
    ("path", "code"),
    [("ns/a/manifests/9.9.9", "MANIFEST_UNKNOWN"), ("ns/none/manifests/1", "MANIFEST_UNKNOWN"),
     (f"ns/a/blobs/sha256:{'0' * 64}", "BLOB_UNKNOWN"), ("ns/none/tags/list", "NAME_UNKNOWN"),
     (f"ns/a/referrers/sha256:{'0' * 64}", "MANIFEST_UNKNOWN"), ("..", "MANIFEST_UNKNOWN"),
     ("../catalog/metadata/timestamp.json", "MANIFEST_UNKNOWN"), ("a", "MANIFEST_UNKNOWN"),
     ("../../mirror.yaml", "MANIFEST_UNKNOWN"), ("NS/A/manifests/1", "MANIFEST_UNKNOWN"),
     ("ns/a/manifests/%00", "MANIFEST_UNKNOWN"), ("%/%/manifests/%", "MANIFEST_UNKNOWN")],
)  # fmt: skip
def test_what_is_not_there_is_said_as_the_specification_says_it(
    client: Client, path: str, code: str
) -> None:
    answer = client.get(f"/v2/{path}")
    assert (answer.status_code, answer.content_type) == (404, "application/json")
    assert answer.json and [e["code"] for e in answer.json["errors"]] == [code]
    assert client.head(f"/v2/{path}").status_code == 404


def test_a_push_is_refused_as_the_specification_says_it(client: Client) -> None:
    answer = client.post("/v2/ns/a/blobs/uploads/")
    assert answer.status_code == 405
    assert answer.json and answer.json["errors"][0]["code"] == "UNSUPPORTED"


def test_the_root_answers_with_and_without_a_slash(client: Client) -> None:
    for path in ("/v2", "/v2/"):
        assert client.get(path).status_code == 200


def test_an_index_of_helm_leads_to_the_archive(client: Client) -> None:
    answer = client.get("/helm/ns/index.yaml", buffered=True)
    assert answer.content_type == "application/yaml"
    [version] = json.loads(answer.data)["entries"]["a"]
    [url] = version["urls"]
    assert url.endswith("%2Bb.1.tgz")
    archive = client.get(f"/helm/ns/{url}", buffered=True)
    assert (archive.data, archive.content_type) == (ARCHIVE, "application/x-gzip")
    for path in ("none/index.yaml", f"ns/b/{'0' * 64}/a-1.0.0.tgz", "ns/../../mirror.yaml"):
        assert client.get(f"/helm/{path}").status_code == 404


def test_a_bundle_answers_with_the_views_that_its_mirror_has(
    project: Project, tmp_path: Path
) -> None:
    settings = "views: {oci: false, dialect: cnr, artifacthub: {owners: [{name: a}]}}\n"
    with (project.folder / "mirror.yaml").open("a") as config:
        config.write(settings)
    project = reopen(project.folder)
    (tmp_path / "a-1.0.0.tgz").write_bytes(chart_bytes("a", "1.0.0"))
    push(project, [tmp_path / "a-1.0.0.tgz"], Override(namespace="ns"), NOW)
    signed = project.metadata.signed_head()
    write(project, tmp_path / "bundle", plan(project, Selection(signed.at.digest), signed))
    bundle = Client(Application(BundleMirror(BundleReader([tmp_path / "bundle"]))))
    assert bundle.get("/v2/").status_code == 404
    assert bundle.get("/version").json == {"cnr-api": "0.2.7"}
    hub = bundle.get("/helm/ns/artifacthub-repo.yml")
    assert json.loads(hub.data) == {"owners": [{"name": "a"}]}


def test_a_folder_of_pages_leads_to_the_one_with_its_slash(client: Client) -> None:
    for path, target in (
        ("/packages", "packages/"), ("/packages/ns", "ns/"), ("/packages/ns/a", "a/"),
        ("/revisions", "revisions/"), ("/cnr", "./"), ("/cnr/", "../"),
    ):  # fmt: skip
        answer = client.get(path)
        assert (answer.status_code, answer.headers["Location"]) == (301, target)
        assert client.head(path).status_code == 301
        assert client.post(path).status_code == 405
    for path in ("/packages/ns/b", "/packages/nobody", "/assets", "/search", "/v2/ns/a", "/helm"):
        assert client.get(path).status_code == 404


def test_pages_alone_say_that_nobody_may_frame_them(client: Client) -> None:
    for path in ("/", "/index.html", "/packages/ns/a/", "/packages/ns/a/index.html", "/trust.html"):
        answer = client.get(path)
        assert (answer.status_code, answer.content_type) == (200, HTML_TYPE), path
        assert HTML_HEADERS.items() <= dict(answer.headers).items()
    for path in ("/assets/pages.js", "/feed.xml", "/cnr/api/v1/packages", "/packages/ns/b/"):
        assert not HTML_HEADERS.keys() & dict(client.get(path).headers).keys()
