"""A bucket behind its website endpoint: of each archive one copy, to which redirects lead.

SeaweedFS keeps the objects; it has no website endpoint, so a port of the tests' own answers as
Amazon documents that of S3: 301 for an object with a redirect location, index.html for a folder.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests
from botocore.exceptions import ClientError

from tests.interop.bucket import BUCKET, s3_server
from tests.interop.helm import helm, run
from tests.interop.reference import legacy
from tests.interop.servers import need
from tests.interop.test_oci_clients import Skopeo
from tests.interop.today import Place, Shop, archive_of, cnrmirror
from tests.loopback import on_loopback
from tests.places import API

pytestmark = pytest.mark.interop


def website(client: Any) -> type[BaseHTTPRequestHandler]:
    class Website(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            key = unquote(self.path.partition("?")[0]).lstrip("/")
            try:
                found = client.get_object(Bucket=BUCKET, Key=key or "index.html")
            except ClientError:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = found["Body"].read()
            # SeaweedFS does not give the redirect location back; the body says the same.
            leads_on = found["ContentType"] == "text/plain" and body.startswith(b"/catalog/blobs/")
            location = body.decode() if leads_on else ""
            self.send_response(301 if location else 200)
            if location:
                body = b""
                self.send_header("Location", location)
            self.send_header("Content-Type", found["ContentType"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *words: Any) -> None:
            pass

    return Website


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    found = Shop(tmp_path_factory.mktemp("shop"))
    yield found
    found.signer.close()


@pytest.fixture(scope="module")
def place(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("website")
    with (shop.project.folder / "mirror.yaml").open("a") as config:
        config.write(
            f"publish:\n  web: {{to: 's3://{BUCKET}', host: s3-website, forms: [json, dash]}}\n"
        )
    with s3_server(folder / "s3") as server:
        cnrmirror(shop.project, "refresh")
        cnrmirror(shop.project, "publish", "web", **server.environment())
        cnrmirror(shop.project, "publish", "web", "--audit", **server.environment())
        root = str(shop.project.metadata.path / "1.root.json")
        address = ("--from", f"s3://{BUCKET}", "--root", root)
        cnrmirror(shop.project, "check", *address, **server.environment())
        with on_loopback(website(server.client())) as url:
            yield Place("website", url, folder)


def test_an_archive_is_there_once_and_every_other_address_leads_to_it(
    place: Place, shop: Shop
) -> None:
    with requests.Session() as session:
        session.trust_env = False
        base = f"{place.url}/{API}/ant31/rocketchat"
        digest = session.get(f"{base}/1.0.1/kpm").json()["content"]["digest"]
        for path in (f"{base}/blobs/sha256/{digest}",):
            answer = session.get(path)
            assert [r.status_code for r in answer.history] == [301]
            assert "/catalog/blobs/sha256/" in answer.url
            assert answer.content == archive_of("ant31/rocketchat", "1.0.1", "kpm")
            assert answer.headers["Content-Type"] == "application/x-gzip"


def test_check_and_pull_follow_and_find_all_well(place: Place, shop: Shop, tmp_path: Path) -> None:
    root = str(shop.project.metadata.path / "1.root.json")
    cnrmirror(shop.project, "check", "--from", place.url, "--root", root)
    cnrmirror(
        shop.project, "pull", "edge/web@1.0.0", "--from", place.url, "--root", root,
        "--dest", str(tmp_path / "out"),
    )  # fmt: skip


def test_curl_follows_with_its_option(place: Place, shop: Shop, tmp_path: Path) -> None:
    index = f"{place.url}/helm/edge/index.yaml"
    text = subprocess.run([need("curl"), "-sSf", index], capture_output=True, check=True).stdout
    found = re.search(r"b/[0-9a-f]{64}/web-1\.0\.0\.tgz", text.decode())
    assert found
    out = tmp_path / "web.tgz"
    command = [need("curl"), "-sSfL", f"{place.url}/helm/edge/{found[0]}", "-o", str(out)]
    subprocess.run(command, check=True)
    assert out.read_bytes() == shop.archives["web-1.0.0.tgz"]


@pytest.mark.parametrize("name", ["helm4", "helm3", "helm39"])
def test_helm_pulls_from_the_repository_and_from_the_registry(
    place: Place, shop: Shop, tmp_path: Path, name: str
) -> None:
    program, home = helm(name), tmp_path / "home"
    plain = () if name == "helm39" else ("--plain-http",)
    for words in (
        ("repo", "add", "edge", f"{place.url}/helm/edge"),
        ("pull", "edge/web", "--version", "1.0.0", "-d", tmp_path / "repo"),
        ("pull", f"oci://{place.registry}/edge/web", "--version", "1.1.0", *plain,
         "-d", tmp_path / "oci"),
    ):  # fmt: skip
        for folder in ("repo", "oci"):
            (tmp_path / folder).mkdir(exist_ok=True)
        done = run(program, home, *words)
        assert done.code == 0, done.out + done.err
    assert (tmp_path / "repo/web-1.0.0.tgz").read_bytes() == shop.archives["web-1.0.0.tgz"]
    assert (tmp_path / "oci/web-1.1.0.tgz").read_bytes() == shop.archives["web-1.1.0.tgz"]


def test_skopeo_copies_from_the_registry(place: Place, shop: Shop, tmp_path: Path) -> None:
    skopeo = Skopeo(place, tmp_path)
    skopeo("copy", f"{skopeo.registry}/edge/sealed:image", f"dir:{tmp_path}/image")
    layers = [p for p in (tmp_path / "image").iterdir() if len(p.name) == 64]
    assert layers
    assert all(hashlib.sha256(p.read_bytes()).hexdigest() == p.name for p in layers)


def test_appr_pulls_what_is_json_there(place: Place, tmp_path: Path) -> None:
    port = place.url.rpartition(":")[2]
    appr = legacy("appr", "appr")
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [str(appr), "pull", f"localhost:{port}/ant31/rocketchat@1.0.1", "-t", "kpm",
         "--dest", str(tmp_path / "out"), "--tarball"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path, env={"HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    [found] = list(tmp_path.rglob("*.tar.gz"))
    assert found.read_bytes() == archive_of("ant31/rocketchat", "1.0.1", "kpm")
