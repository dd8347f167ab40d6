"""serve: what is not in the recordings: writing, conditions, bad input."""

from __future__ import annotations

import base64
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from werkzeug.test import Client, TestResponse

from cnrmirror.airgap.export import plan, write
from cnrmirror.archive.identify import Override
from cnrmirror.bundle.format import Selection
from cnrmirror.bundle.read import BundleReader
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.canonical import normalise_metadata
from cnrmirror.model.documents import blob_path
from cnrmirror.model.errors import InvalidDocument
from cnrmirror.server import bundle as serving_bundle
from cnrmirror.server.app import Application
from cnrmirror.server.bundle import BundleMirror
from cnrmirror.server.tokens import one_token
from cnrmirror.server.writing import Writing
from tests.conftest import NOW, chart_bytes, tar_gz
from tests.mirrors import reopen
from tests.recorded import CONFORMANCE

DIGEST = "72ed15c9a65961ecd034cca098ec18eb99002cd402824aae8a674a8ae41bd0ef"
DEMO = CONFORMANCE / "packages" / "seed-demo-elasticsearch-2.2.1.tar.gz"
BASE = "/cnr/api/v1/packages"


@pytest.fixture
def client(project: Project) -> Client:
    return Client(Application(project, Writing(project, lambda: NOW, one_token("secret"))))


def post(client: Client, path: str, body: Any, token: str = "secret") -> TestResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, data=data, headers={"Authorization": f"Bearer {token}"})


def chart(release: str = "1.0.0") -> dict[str, str]:
    blob = base64.b64encode(chart_bytes("a", release)).decode()
    return {"blob": blob, "release": release, "media_type": "helm"}


def test_the_documented_post_publishes_the_demo(client: Client) -> None:
    blob = base64.b64encode(DEMO.read_bytes()).decode()
    body = {"blob": blob, "release": "2.2.1", "media_type": "helm"}
    answer = post(client, "/api/v1/packages/myname/elasticsearch", body)
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})
    for prefix in ("/cnr", ""):
        path = f"{prefix}/api/v1/packages/myname/elasticsearch/blobs/sha256/{DIGEST}"
        assert client.get(path, buffered=True).data == DEMO.read_bytes()


def test_a_release_is_not_pushed_twice_unless_forced(client: Client, project: Project) -> None:
    assert post(client, f"{BASE}/ns/a", chart()).status_code == 200
    again = post(client, f"{BASE}/ns/a", chart())
    assert again.status_code == 409 and again.json
    assert again.json["code"] == "package-exists"
    assert post(client, f"{BASE}/ns/a?force=true", chart()).status_code == 200
    assert check(project).findings == []


def test_channels_and_deletion_work_as_on_the_server(client: Client, project: Project) -> None:
    headers = {"Authorization": "Bearer secret"}
    for release in ("1.0.0", "1.1.0"):
        post(client, f"{BASE}/ns/a", chart(release))
        made = post(client, f"{BASE}/ns/a/channels/stable/{release}", b"")
        assert made.json and made.json["current"] == release
    gone = client.delete(f"{BASE}/ns/a/channels/stable/1.1.0", headers=headers)
    assert gone.json and gone.json["status"] == "deleted"
    assert client.get(f"{BASE}/ns/a/channels/stable").json == {
        "name": "stable", "current": "1.0.0", "releases": ["1.0.0"]
    }  # fmt: skip
    assert client.delete(f"{BASE}/ns/a/1.0.0/helm", headers=headers).status_code == 200
    assert client.get(f"{BASE}/ns/a/1.0.0/helm").status_code == 404
    assert client.get(f"{BASE}/ns/a/channels").json == []
    assert client.delete(f"{BASE}/ns/a/9.9.9/helm", headers=headers).status_code == 404
    assert check(project).findings == []


def test_a_channel_does_not_move_when_its_release_is_deleted(
    client: Client, project: Project
) -> None:
    headers = {"Authorization": "Bearer secret"}
    for release in ("1.0.0", "1.1.0"):
        post(client, f"{BASE}/ns/a", chart(release))
        post(client, f"{BASE}/ns/a/channels/stable/{release}", b"")
    assert client.delete(f"{BASE}/ns/a/1.1.0/helm", headers=headers).status_code == 200
    assert client.get(f"{BASE}/ns/a/channels").json == []
    post(client, f"{BASE}/ns/a", chart("1.1.0"))
    assert client.get(f"{BASE}/ns/a/channels/stable").status_code == 404
    assert check(project).findings == []


ABSENT = {
    "ns/b/1.0.0/helm": (404, "package-not-found"),
    "ns/a/9.0.0/helm": (404, "package-not-found"),
    "ns/a/1.0.0/..": (404, "package-not-found"),
    "ns/b/channels/stable": (404, "package-not-found"),
    "ns/a/channels/other": (404, "channel-not-found"),
    "ns/a/channels/other/1.0.0": (404, "channel-not-found"),
    "ns/a/channels/stable/9.0.0": (404, "package-not-found"),
    "ns/a/1.0.0": (405, "unsupported"),
    "ns/a": (405, "unsupported"),
    "ns/a/b/c/d": (404, "package-not-found"),
}


@pytest.mark.parametrize("path", ABSENT)
def test_a_deletion_of_what_is_not_there_says_so_and_changes_nothing(
    client: Client, project: Project, path: str
) -> None:
    post(client, f"{BASE}/ns/a", chart())
    post(client, f"{BASE}/ns/a/channels/stable/1.0.0", b"")
    revision = project.head().revision
    answer = client.delete(f"{BASE}/{path}", headers={"Authorization": "Bearer secret"})
    assert answer.json and (answer.status_code, answer.json["code"]) == ABSENT[path]
    assert "cnrmirror" not in answer.json["message"]  # no commands of another program
    if path == "ns/a":
        assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert project.head().revision == revision


BAD_BODIES: dict[str, Any] = {
    "no JSON": b"{",
    "a list": [],
    "no blob": {"release": "1.0.0"},
    "no release": {"blob": "aaaa"},
    "a number as release": {**chart(), "release": 1},
    "a release that is none": {**chart(), "release": "latest"},
    "a type that is none": {**chart(), "media_type": "../x"},
    "a blob that is not base64": {**chart(), "blob": "!!!"},
    "a blob that is no archive": {**chart(), "blob": "aGVsbG8="},
    "a key twice": b'{"release": "1.0.0", "release": "2.0.0", "blob": ""}',
    "NaN": b'{"metadata": NaN}',
    "a number without end": json.dumps({**chart(), "metadata": 1}).encode()[:-1] + b"e999}",
    "too deep": b"[" * 20000,
    "bad UTF-8": b'{"blob": "\xff"}',
    "a lone surrogate": b'{"metadata": "\\ud800"}',
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_refused_and_changes_nothing(
    client: Client, project: Project, name: str
) -> None:
    answer = post(client, f"{BASE}/ns/a", BAD_BODIES[name])
    assert answer.status_code in (400, 413, 422), answer.data
    assert answer.json and set(answer.json) == {"code", "message", "details"}
    assert project.head().revision == 0


@pytest.mark.parametrize("path", ["n%20s/a", "ns/a.json", "..%2f/a", "ns/%00", "ns/" + "a" * 200])
def test_a_bad_name_is_refused(client: Client, project: Project, path: str) -> None:
    assert post(client, f"{BASE}/{path}", chart()).status_code in (404, 422)
    assert project.head().revision == 0


def test_writing_needs_the_token(client: Client, project: Project) -> None:
    assert post(client, f"{BASE}/ns/a", chart(), token="wrong").status_code == 401
    assert client.post(f"{BASE}/ns/a", json=chart()).status_code == 401
    reader = Client(Application(project))
    assert post(reader, f"{BASE}/ns/a", chart()).status_code == 405
    assert project.head().revision == 0


def test_a_reader_sees_what_another_process_pushed(project: Project, client: Client,
                                                   chart: Callable[..., Path]) -> None:  # fmt: skip
    assert client.get(BASE).json == []
    push(reopen(project.folder), [chart("a", "1.0.0")], Override(namespace="ns"), NOW)
    listed = client.get(BASE).json
    assert listed and listed[0]["name"] == "ns/a"


def test_conditions_and_ranges_are_honoured(client: Client) -> None:
    post(client, f"{BASE}/ns/a", chart())
    for path in (f"{BASE}/ns/a", f"{BASE}/ns/a/1.0.0/helm/pull"):
        first = client.get(path, buffered=True)
        again = client.get(path, headers={"If-None-Match": first.headers["ETag"]}, buffered=True)
        assert again.status_code == 304
        part = client.get(path, headers={"Range": "bytes=10-19"}, buffered=True)
        assert part.status_code == 206 and part.data == first.data[10:20]
        head = client.head(path, buffered=True)
        assert head.data == b"" and head.headers["Content-Length"] == str(len(first.data))


def test_the_fixed_pages_are_there(client: Client) -> None:
    known = client.get("/.well-known/app-registry-uri.json").json
    assert known and known["uri_prefix"] == "/cnr/"
    assert b"<html" in client.get("/").data
    assert client.get("/nothing").status_code == 404


def test_an_empty_media_type_is_none(client: Client) -> None:
    post(client, f"{BASE}/ns/a", chart())
    for path in (BASE, f"{BASE}/ns/a"):
        assert client.get(f"{path}?media_type=").json == client.get(path).json != []


def test_several_ranges_are_answered_with_the_whole(client: Client) -> None:
    post(client, f"{BASE}/ns/a", chart())
    for path in (f"{BASE}/ns/a", f"{BASE}/ns/a/1.0.0/helm/pull"):
        whole = client.get(path, buffered=True).data
        answer = client.get(path, headers={"Range": "bytes=0-1,4-5"}, buffered=True)
        assert (answer.status_code, answer.data) == (200, whole)


def test_a_range_behind_the_end_tells_the_length(client: Client) -> None:
    whole = client.get(BASE).data
    answer = client.get(BASE, headers={"Range": "bytes=99999-"})
    assert answer.status_code == 416 and answer.json
    assert answer.headers["Content-Range"] == f"bytes */{len(whole)}"


@contextmanager
def serving(project: Project, *options: str) -> Iterator[str]:
    """The address of the command ``serve``, as long as the block lasts."""
    server = subprocess.Popen(
        [sys.executable, "-m", "cnrmirror", "-C", str(project.folder), "serve", "--port", "0",
         *options],
        cwd=Path(__file__).parents[1], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "CNRMIRROR_TOKEN": "secret"},
    )  # fmt: skip
    assert server.stderr is not None
    try:
        yield server.stderr.readline().rpartition(" ")[2].strip()
    finally:
        server.terminate()
        server.wait()
        server.stderr.close()


def test_a_body_that_is_too_long_is_refused_in_json(project: Project) -> None:
    with (project.folder / "mirror.yaml").open("a") as config:
        config.write("limits: {packed: 1000}\n")
    with serving(project, "--accept-push") as address:
        answer = requests.post(
            f"{address}{BASE}/ns/a", data=b" " * (3 << 20), timeout=60,
            headers={"Authorization": "Bearer secret"},
        )  # fmt: skip
    assert answer.status_code == 413
    assert set(answer.json()) == {"code", "message", "details"}


def test_a_copy_that_cannot_be_written_to_is_served(
    project: Project, chart: Callable[..., Path]
) -> None:
    push(project, [chart("a", "1.0.0")], Override(namespace="ns"), NOW)
    shutil.rmtree(project.layout.state)
    with serving(project) as address:
        assert requests.get(f"{address}{BASE}", timeout=60).json()[0]["name"] == "ns/a"
        pulled = requests.get(f"{address}{BASE}/ns/a/1.0.0/helm/pull", timeout=60)
    assert pulled.content == chart("a", "1.0.0").read_bytes()
    assert not project.layout.state.exists()  # nothing was written, whoever runs this


def bundle_of(project: Project, folder: Path, damaged: str = "") -> Path:
    """The whole mirror as a bundle, in which the middle byte of one file is another."""
    signed = project.metadata.signed_head()
    write(project, folder, plan(project, Selection(signed.at.digest), signed))
    if damaged:
        damage(folder, damaged)
    return folder


def damage(folder: Path, path: str) -> None:
    """Turn a bit in the middle of a file of a bundle; twice, and it is whole again."""
    volume, offset, size = BundleReader([folder])._files[path]
    with volume.open("r+b") as stream:
        stream.seek(offset + size // 2)
        byte = stream.read(1)[0]
        stream.seek(offset + size // 2)
        stream.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("small", [serving_bundle.SMALL, 0])
def test_a_bundle_is_served_whole_in_ranges_and_in_json(
    project: Project, chart: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(serving_bundle, "SMALL", small)
    push(project, [chart("a", "1.0.0")], Override(namespace="ns"), NOW)
    folder = bundle_of(project, project.folder / "out")
    mine, theirs = (
        Client(Application(project)),
        Client(Application(BundleMirror(BundleReader([folder])))),
    )
    path = blob_path(project.document("ns/a").releases[0].blob.digest)
    for asked in (f"{BASE}/ns/a/1.0.0/helm/pull", f"{BASE}/ns/a/1.0.0/helm/pull/json", f"/{path}"):
        for headers in ({}, {"Range": "bytes=10-19"}, {"Range": "bytes=-5"}):
            one = mine.get(asked, headers=headers, buffered=True)
            other = theirs.get(asked, headers=headers, buffered=True)
            assert one.data and (other.status_code, other.data) == (one.status_code, one.data)


def test_no_byte_of_a_damaged_small_file_of_a_bundle_goes_out(
    project: Project, chart: Callable[..., Path]
) -> None:
    push(project, [chart("a", "1.0.0")], Override(namespace="ns"), NOW)
    path = blob_path(project.document("ns/a").releases[0].blob.digest)
    mirror = BundleMirror(BundleReader([bundle_of(project, project.folder / "out", path)]))
    client = Client(Application(mirror))
    for asked in (f"{BASE}/ns/a/1.0.0/helm/pull", f"{BASE}/ns/a/1.0.0/helm/pull/json", f"/{path}"):
        answer = client.get(asked, buffered=True)
        assert answer.status_code == 500 and answer.json
        assert "the file is damaged" in answer.json["message"]
        assert str(project.folder) not in answer.json["message"]


def archive_of(size: int, name: str, folder: Path) -> Path:
    """A package that cannot be compressed."""
    archive = folder / f"{name}-1.0.0.tgz"
    values = os.urandom(size)
    archive.write_bytes(
        tar_gz({f"{name}/Chart.yaml": f"name: {name}\nversion: 1.0.0\n".encode(), "a/b": values})
    )
    return archive


RANGES: list[dict[str, str]] = [{}, {"Range": "bytes=0-9"}, {"Range": "bytes=-5"}]


def test_no_byte_of_a_damaged_file_of_a_bundle_goes_out_whole_or_by_range(
    project: Project, tmp_path: Path
) -> None:
    sizes = {"small": 1000, "large": (8 << 20) + 1000}
    archives = {name: archive_of(size, name, tmp_path) for name, size in sizes.items()}
    push(project, [*archives.values()], Override(namespace="ns"), NOW)
    paths = {n: blob_path(project.document(f"ns/{n}").releases[0].blob.digest) for n in sizes}
    folder = bundle_of(project, tmp_path / "out", paths["small"])
    with serving(project, str(folder)) as address:
        assert served(address, "small", paths) == {500}
        assert served(address, "large", paths) == {200, 206}
        damage(folder, paths["small"])
        damage(folder, paths["large"])
        assert served(address, "small", paths) == {200, 206}
        assert served(address, "large", paths) == {500}


def served(address: str, name: str, paths: dict[str, str]) -> set[int]:
    """How a package is answered, in all its forms, whole and by range; errors are in JSON."""
    found = set()
    pull = f"{BASE}/ns/{name}/1.0.0/helm/pull"
    for asked in (pull, f"{pull}/json", f"/{paths[name]}"):
        for headers in RANGES:
            answer = requests.get(f"{address}{asked}", headers=headers, timeout=60)
            found.add(answer.status_code)
            if answer.status_code == 500:
                assert "the file is damaged" in answer.json()["message"]
    return found


@pytest.mark.parametrize("token", [None, "secret"])
def test_what_is_allowed_depends_on_whether_pushes_are(project: Project, token: str | None) -> None:
    writing = Writing(project, lambda: NOW, one_token(token)) if token else None
    client = Client(Application(project, writing))
    allowed = "GET, HEAD, OPTIONS" + (", POST, DELETE" if token else "")
    options = client.options(f"{BASE}/ns/a")
    assert options.headers["Access-Control-Allow-Methods"] == allowed
    refused = client.put(f"{BASE}/ns/a", data=b"")
    assert (refused.status_code, refused.headers["Allow"]) == (405, allowed)


def test_numbers_that_json_cannot_carry_are_refused() -> None:
    for value in (math.inf, -math.inf, math.nan):
        with pytest.raises(InvalidDocument):
            normalise_metadata({"a": [value]})


def test_health_tells_the_revision_and_what_is_wrong(client: Client, project: Project) -> None:
    well = client.get("/healthz")
    assert well.status_code == 200 and well.json
    assert (well.json["state"], well.json["revision"]) == ("ok", 0)
    assert well.headers["Cache-Control"] == "no-store"
    for name in ("timestamp.json", project.layout.catalog / "targets"):
        path = project.metadata.path / name
        path.rename(aside := path.with_name("aside"))
        ill = client.get("/healthz")
        assert ill.status_code == 503 and ill.json
        assert ill.json["state"] == "unavailable" and ill.json["message"]
        aside.rename(path)
    assert client.get("/healthz").status_code == 200
