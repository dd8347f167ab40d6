"""One mirror with all that Helm and OCI clients meet, and the hosts that serve it on loopback."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Attachment, Release
from cnrmirror.model.oci import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    EMPTY_CONFIG,
    HELM_CONFIG,
    HELM_LAYER,
    HELM_PROVENANCE,
    OCI_MANIFEST,
    ROLE,
    SUBJECT,
    TAG,
)
from tests.conftest import tar_gz
from tests.interop.bucket import BUCKET, s3_server
from tests.interop.ports import free_port
from tests.interop.servers import need, running, serving
from tests.mirrors import reopen
from tests.recorded import CONFORMANCE, NOW, Recorded

ROOT = Path(__file__).parents[2]
WEB_SERVERS = ("nginx", "caddy", "apache", "lighttpd")
PLACES = (*WEB_SERVERS, "serve", "bundle", "bucket")
SBOM = b'{"spdxVersion": "SPDX-2.3"}\n'
EDGE = Override(namespace="edge")
_SETTINGS = """id: conformance
views: {dialect: appr, artifacthub: {owners: [{name: a, email: a@example.test}]}}
"""
_CONFIG_MAP = (
    b'kind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  v: "{{ .Chart.Version }}"\n'
)
_FULL = """appVersion: "1.10"
keywords: [a, b]
home: http://example.test
sources: [http://example.test/s]
maintainers:
- {name: Zoë, email: z@example.test}
annotations: {n: "1"}
"""


def chart(name: str, version: str, more: str = "", **files: bytes) -> bytes:
    """A chart's archive as helm packs it: one folder; ``files`` replace its template."""
    meta = f"apiVersion: v2\nname: {name}\nversion: {version}\ndescription: chart {name}\n{more}"
    rest = files or {"templates/cm.yaml": _CONFIG_MAP}
    return tar_gz(
        {f"{name}/{path}": body for path, body in
         {"Chart.yaml": meta.encode(), "values.yaml": b"a: 1\n", **rest}.items()}
    )  # fmt: skip


CHARTS = {
    f"{name}-{version}.tgz": chart(name, version, *more)
    for name, version, *more in (
        ("web", "1.0.0"), ("web", "1.1.0"), ("web", "1.2.0+build.5"), ("web", "1.2.0"),
        ("web", "2.0.0-rc.1"), ("old", "0.1.0", "deprecated: true\n"),
        ("newkube", "1.0.0", 'kubeVersion: ">=1.99.0-0"\n'), ("full", "1.0.0", _FULL),
    )
} | {
    "lib-1.0.0.tgz": chart(
        "lib", "1.0.0", "type: library\n", **{"templates/_h.tpl": b'{{ define "x" }}x{{ end }}'}
    ),
}  # fmt: skip


class Signer:
    """A key of the tests' own in a keyring of gpg; ``keyring`` has the public one, for helm."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "g"
        self.home.mkdir(mode=0o700)
        self.keyring = folder / "public.gpg"
        self._gpg("--quick-gen-key", "Tests <tests@example.test>", "rsa2048", "sign", "never")
        self.keyring.write_bytes(self._gpg("--export"))

    def _gpg(self, *words: str, data: bytes = b"") -> bytes:
        command = [need("gpg"), "--batch", "--yes", "--pinentry-mode", "loopback",
                   "--passphrase", "", *words]  # fmt: skip
        environment = {**os.environ, "GNUPGHOME": str(self.home)}
        done = subprocess.run(command, env=environment, input=data, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def provenance(self, file: str, archive: bytes) -> bytes:
        """What ``helm package --sign`` writes beside an archive."""
        name, _, version = file.removesuffix(".tgz").rpartition("-")
        digest = hashlib.sha256(archive).hexdigest()
        text = f"name: {name}\nversion: {version}\n\n...\nfiles:\n  {file}: sha256:{digest}\n"
        return self._gpg("--clearsign", "--digest-algo", "SHA512", data=text.encode())

    def close(self) -> None:
        """End gpg's agent."""
        environment = {**os.environ, "GNUPGHOME": str(self.home)}
        subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)


class Shop:
    """The mirror: conformance packages, and in the namespace ``edge`` charts with every odd thing.

    ``myname/flat`` has its files at the root.

    ``edge/signed`` has a ``.prov``; ``edge/web@1.0.0`` an SBOM; ``edge/sealed`` came with its own
    manifest, a cosign tag, a referrer, and an image of Docker's under two tags.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        Recorded("appr").mirror(folder / "mirror")
        (folder / "mirror/mirror.yaml").write_text(_SETTINGS)
        self.project = reopen(folder / "mirror")
        self.signer = Signer(folder)
        archives = folder / "archives"
        archives.mkdir()
        self.archives = {
            **CHARTS,
            **{f"{n}-1.0.0.tgz": chart(n, "1.0.0") for n in ("signed", "sealed")},
        }
        for name, data in self.archives.items():
            (archives / name).write_bytes(data)
        push(self.project, [archives], EDGE, NOW)
        flat = folder / "flat-1.0.0.tgz"
        flat.write_bytes(
            tar_gz(
                {"Chart.yaml": b"apiVersion: v2\nname: flat\nversion: 1.0.0\n", "values.yaml": b""}
            )
        )
        push(self.project, [flat], Override(namespace="myname"), NOW)
        signed = "signed-1.0.0.tgz"
        (folder / "prov").write_bytes(self.signer.provenance(signed, self.archives[signed]))
        (folder / "sbom").write_bytes(SBOM)
        self._attach(archives / signed, HELM_PROVENANCE, folder / "prov")
        self._attach(archives / "web-1.0.0.tgz", "application/spdx+json", folder / "sbom")
        self.sealed = _seal(self.project)

    @property
    def versions(self) -> set[tuple[str, str]]:
        """Name and version of each chart in ``edge``."""
        stems = (file.removesuffix(".tgz") for file in self.archives)
        return {(name, version) for name, _, version in (s.partition("-") for s in stems)}

    def _attach(self, archive: Path, media_type: str, file: Path) -> None:
        push(self.project, [archive], EDGE, NOW, What(attached=[(media_type, file)]))


def archive_of(package: str, release: str, media_type: str) -> bytes:
    """The archive of a package of the conformance set."""
    name = f"{package.replace('/', '__')}__{release}__{media_type}.tar.gz"
    return (CONFORMANCE / "packages" / name).read_bytes()


def manifest_digest(shop: Shop, package: str, tag: str) -> str:
    """The digest of the manifest of a tag."""
    body = (shop.project.site / f"v2/{package}/manifests/{tag}").read_bytes()
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _seal(project: Project) -> str:
    """Give ``edge/sealed`` what a chart brings from an OCI registry; its manifest's digest."""
    package = "edge/sealed"
    with project.signing(NOW):
        document = project.catalog.get(project.tree(), package)
        assert document is not None
        [release] = document.releases
        sealed = _Sealing(project, release)
        new = msgspec.structs.replace(release, attachments=sealed.attachments())
        project.commit({package: msgspec.structs.replace(document, releases=[new])}, "seal", NOW)
    return sealed.digest


class _Sealing:
    def __init__(self, project: Project, release: Release) -> None:
        self._project = project
        self._release = release
        self._found: list[Attachment] = []
        self.digest = ""

    def attachments(self) -> list[Attachment]:
        config = self._blob(HELM_CONFIG, b'{"name":"sealed","version":"1.0.0"}')
        layer = _descriptor(HELM_LAYER, self._release.blob)
        body = {"config": config, "layers": [layer], "annotations": {"from": "upstream"}}
        own = self._manifest(OCI_MANIFEST, body, {ROLE: "manifest"})
        self.digest = own["digest"]
        empty = self._blob(EMPTY_CONFIG, b"{}")
        note = self._blob("text/plain", b"a signature\n")
        signature = {"config": empty, "layers": [note]}
        tag = f"{self.digest.replace(':', '-')}.sig"
        self._manifest(OCI_MANIFEST, signature, {ROLE: "tag", TAG: tag})
        about = {"mediaType": OCI_MANIFEST, "digest": own["digest"], "size": own["size"]}
        referrer = {**signature, "artifactType": "text/plain", "subject": about}
        self._manifest(OCI_MANIFEST, referrer, {ROLE: "referrer", SUBJECT: own["digest"]})
        self._image()
        return sorted(self._found, key=lambda a: msgspec.json.encode(a, order="sorted"))

    def _image(self) -> None:
        tar = gzip.decompress(tar_gz({"hello": b"hello\n"}))
        rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]}
        text = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()
        config = self._blob("application/vnd.docker.container.image.v1+json", text)
        packed = gzip.compress(tar, mtime=0)
        layer = self._blob("application/vnd.docker.image.rootfs.diff.tar.gzip", packed)
        body = {"config": config, "layers": [layer]}
        image = self._manifest(DOCKER_MANIFEST, body, {ROLE: "tag", TAG: "image"})
        platform = {"architecture": "amd64", "os": "linux"}
        body = {"manifests": [{**image, "platform": platform}]}
        self._manifest(DOCKER_LIST, body, {ROLE: "tag", TAG: "images"})

    def _blob(self, media_type: str, body: bytes) -> dict[str, Any]:
        return self._kept(media_type, body, {ROLE: "blob"})

    def _manifest(
        self, media_type: str, body: dict[str, Any], annotations: dict[str, str]
    ) -> dict[str, Any]:
        document = {"schemaVersion": 2, "mediaType": media_type, **body}
        kind = document.get("artifactType", "")
        return self._kept(media_type, json.dumps(document, indent=2).encode(), annotations, kind)

    def _kept(
        self, media_type: str, body: bytes, annotations: dict[str, str], kind: str = ""
    ) -> dict[str, Any]:
        blob = Descriptor.of(body)
        self._project.store.add_blob(blob, [body])
        found = Attachment(media_type, blob.digest, blob.size, kind, annotations)
        self._found.append(found)
        return _descriptor(media_type, blob)


def _descriptor(media_type: str, blob: Descriptor) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{blob.digest}", "size": blob.size}


class Place(NamedTuple):
    """Where the mirror is served: the kind of host, its base URL, a folder for its clients."""

    kind: str
    url: str
    folder: Path

    @property
    def registry(self) -> str:
        """HOST:PORT, as OCI clients name a registry."""
        return self.url.removeprefix("http://")


@contextmanager
def hosted(place: str, shop: Shop, folder: Path) -> Iterator[str]:
    """The mirror on one of ``PLACES``; its base URL."""
    folder.mkdir()
    if place in WEB_SERVERS:
        with serving(place, shop.project.site, folder) as url:
            yield url
    elif place == "bucket":
        with _bucket(shop.project, folder) as url:
            yield url
    else:
        bundle = folder / "bundle"
        if place == "bundle":
            cnrmirror(shop.project, "export", str(bundle))
        port = free_port()
        command = [sys.executable, "-m", "cnrmirror", "-C", str(shop.project.folder), "serve",
                   "--port", str(port), *([str(bundle)] if place == "bundle" else [])]  # fmt: skip
        with running(command, port, folder, cwd=ROOT):
            yield f"http://127.0.0.1:{port}"


def cnrmirror(project: Project, *words: str, **environment: str) -> None:
    """Run a command on the mirror."""
    command = [sys.executable, "-m", "cnrmirror", "-C", str(project.folder), *words]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def _bucket(project: Project, folder: Path) -> Iterator[str]:
    """A bucket at the root of a host name, as a name of its own or a CDN gives it.

    nginx stands for that name: it passes on every address as it was asked.
    """
    with s3_server(folder / "s3") as server:
        cnrmirror(project, "publish", f"s3://{BUCKET}/today", **server.environment())
        port = free_port()
        main = folder / "front.conf"
        main.write_text(
            f"daemon off; pid {folder}/nginx.pid; worker_processes 1; events {{}}\n"
            f"http {{ access_log off; client_body_temp_path {folder}/t1;\n"
            f"proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;\n"
            f"uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;\n"
            f"server {{ listen 127.0.0.1:{port}; merge_slashes off; location / {{\n"
            f"proxy_pass {server.url}/{BUCKET}/today$request_uri; }} }} }}\n"
        )
        user = ["-g", "user root;"] if os.geteuid() == 0 else []
        command = [need("nginx"), "-c", str(main), "-e", f"{folder}/error.log", *user]
        with running(command, port, folder):
            yield f"http://127.0.0.1:{port}"
