"""Sync from a real OCI registry: what helm pushed there, open and behind tokens."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.model import oci
from cnrmirror.objects.http import HttpReader
from cnrmirror.sources.oci import OciSource
from cnrmirror.sources.ocirepository import FORMATS
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.run import sync
from cnrmirror.views import oci_paths
from tests.conftest import NOW, chart_bytes, tar_gz
from tests.hostile import Fault, hosting
from tests.interop.helm import helm, run
from tests.interop.ociregistry import (
    BASIC,
    PASSWORD,
    USER,
    TokenService,
    giving_tokens,
    registry_running,
)
from tests.mirrors import make
from tests.oci_double import Registry, digest_of
from tests.test_oci_source import KPM, KPM_LAYER, KPM_MANIFEST, PROV
from tests.test_sources import reply
from tests.test_sync import releases

pytestmark = pytest.mark.interop
CHARTS = [(name, release) for name in ("web", "db", "cache") for release in ("1.0.0", "1.1.0+b.1")]


class Real(msgspec.Struct):
    """A registry that runs; ``tokens``: its token service, if there is one."""

    host: str
    tokens: TokenService | None = None

    def http(self, password: bool = True) -> HttpReader:
        headers = {"Authorization": BASIC} if self.tokens and password else {}
        return HttpReader(f"http://{self.host}", headers=headers)


@pytest.fixture(params=["open", "anonymous", "password"])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Real]:
    with ExitStack() as stack:
        if request.param == "open":
            yield Real(stack.enter_context(registry_running(tmp_path / "registry")))
            return
        service = TokenService(tmp_path, request.param == "anonymous")
        realm = stack.enter_context(giving_tokens(service))
        host = stack.enter_context(registry_running(tmp_path / "registry", realm, service.bundle))
        yield Real(host, service)


def pushed(real: Real, folder: Path, program: str) -> None:
    """The charts, by helm; one with a provenance file."""
    home = folder / "home"
    plain = ["--plain-http"]
    if real.tokens:
        words = ["registry", "login", real.host, "-u", USER, "-p", PASSWORD]
        done = run(
            helm(program), home, *words, "--plain-http" if program == "helm4" else "--insecure"
        )
        assert done.code == 0, done.err
    for name, release in CHARTS:
        path = folder / f"{name}-{release}.tgz"
        path.write_bytes(chart_bytes(name, release))
        if name == "web":
            path.with_name(f"{path.name}.prov").write_bytes(PROV)
        done = run(helm(program), home, "push", path, f"oci://{real.host}/team", *plain)
        assert done.code == 0, done.err


def synced(folder: Path, http_reader: HttpReader, **settings: Any) -> Project:
    project = make(folder, "oci")
    source = OciSource("up", http_reader, **settings)
    (report,) = sync(project, [(source, Rules())], NOW).sources
    assert (report.error, report.holes) == ("", []), report
    assert check(project).findings == []
    return project


@pytest.mark.parametrize("program", ["helm3", "helm4"])
def test_what_helm_pushed_comes_with_its_manifest_and_provenance(
    real: Real, tmp_path: Path, program: str
) -> None:
    pushed(real, tmp_path, program)
    reader = real.http()
    # Of a registry behind tokens only the user sees the catalog.
    project = synced(tmp_path / "mirror", reader)
    assert releases(project) == {f"team/{name}@{release}" for name, release in CHARTS}
    for name, release in CHARTS:
        found = project.document(f"team/{name}").find(release, "helm")
        assert found is not None
        assert found.blob.digest == hashlib.sha256(chart_bytes(name, release)).hexdigest()
        types = [a.media_type for a in found.attachments]
        assert types.count(oci.OCI_MANIFEST) == 1 and types.count(oci.HELM_CONFIG) == 1
        assert types.count(oci.HELM_PROVENANCE) == (name == "web")
    before = reader.requests
    (report,) = sync(project, [(OciSource("up", reader), Rules())], NOW).sources
    assert report.fetched == 0 and report.exit_code == 0
    tokens = 4 if real.tokens else 0
    assert reader.requests - before == 1 + 3 + tokens + bool(tokens)
    reader.close()


def test_named_repositories_need_no_catalog_and_no_user(tmp_path: Path) -> None:
    service = TokenService(tmp_path, anonymous=True)
    with (
        giving_tokens(service) as realm,
        registry_running(tmp_path / "registry", realm, service.bundle) as host,
    ):
        real = Real(host, service)
        pushed(real, tmp_path, "helm4")
        service.asked.clear()
        reader = real.http(password=False)
        named = [f"team/{name}" for name in ("web", "db", "cache")]
        project = synced(tmp_path / "mirror", reader, repositories=named)
        reader.close()
    assert len(releases(project)) == len(CHARTS)
    scopes = [scope for scope, _ in service.asked]
    assert sorted(set(scopes)) == [f"repository:{name}:pull" for name in sorted(named)]
    assert {given for _, given in service.asked} == {""} and len(scopes) <= 2 * len(named)


def put(host: str, method: str, path: str, body: bytes, kind: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request(method, path, body, {"Content-Type": kind})
    answer = connection.getresponse()
    answer.read()
    location = answer.getheader("Location", "")
    connection.close()
    return answer.status, location


def copied(double: Registry, host: str) -> None:
    """All that a double has, into a real registry, by its API."""
    for repository, tags in double.tags.items():
        for data in double.blobs.values():
            _, location = put(host, "POST", f"/v2/{repository}/blobs/uploads/", b"", "")
            parts = urlsplit(location)
            address = f"{parts.path}?{parts.query}&digest={digest_of(data)}"
            assert put(host, "PUT", address, data, "application/octet-stream")[0] == 201
        by_digest = {digest: tag for tag, digest in tags.items()}
        own = [(d, m) for (where, d), m in double.manifests.items() if where == repository]
        for digest, (body, kind) in sorted(own, key=lambda item: item[1][1] == oci.OCI_INDEX):
            path = f"/v2/{repository}/manifests/{by_digest.get(digest, digest)}"
            status, _ = put(host, "PUT", path, body, kind)
            assert status == 201, (path, status)


def filled() -> Registry:
    """Two charts, a package of another type, a signature and a referrer, in a double."""
    double = Registry()
    digest = double.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0"), PROV)
    double.chart("ns/a", "1.1.0_b.1", chart_bytes("a", "1.1.0+b.1"))
    double.put("ns/a/kpm", "1.0.0", [(KPM, KPM_LAYER)],
               config=(b"{}", oci.EMPTY_CONFIG), artifactType=KPM_MANIFEST)  # fmt: skip
    tag = f"sha256-{digest.partition(':')[2]}"
    double.put("ns/a", f"{tag}.sig", [(b"payload", "application/simple-signing")])
    data, kind = double.manifests["ns/a", digest]
    subject = {"mediaType": kind, "digest": digest, "size": len(data)}
    sbom = double.put("ns/a", "", [(b"sbom", "text/spdx")], config=(b"{}", oci.EMPTY_CONFIG),
                      artifactType="text/spdx", subject=subject)  # fmt: skip
    member = {"mediaType": oci.OCI_MANIFEST, "digest": sbom, "artifactType": "text/spdx",
              "size": len(double.manifests["ns/a", sbom][0])}  # fmt: skip
    double.index("ns/a", tag, [member])
    double.put("ns/image", "1.0.0", [(tar_gz({"x": b"x"}), f"{oci.OCI_MANIFEST}+layer")],
               config=(b"{}", "application/vnd.oci.image.config.v1+json"))  # fmt: skip
    return double


def test_a_real_registry_and_the_double_give_the_same_packages(tmp_path: Path) -> None:
    """A registry without the list of referrers (distribution 2.8): they come by their tag."""
    double = filled()
    with registry_running(tmp_path / "registry") as host:
        copied(double, host)
        reader = HttpReader(f"http://{host}")
        theirs = synced(tmp_path / "theirs", reader)
        reader.close()
    with hosting(tmp_path) as hosted:
        hosted.fault = double
        reader = HttpReader(hosted.url)
        ours = synced(tmp_path / "ours", reader)
        reader.close()
    document = theirs.document("ns/a")
    assert document == ours.document("ns/a")
    assert {(r.release, r.media_type) for r in document.releases} == {
        ("1.0.0", "helm"), ("1.1.0+b.1", "helm"), ("1.0.0", "kpm")
    }  # fmt: skip
    signed = document.find("1.0.0", "helm")
    assert signed is not None
    roles = sorted(a.annotations.get(oci.ROLE, "") for a in signed.attachments)
    assert roles == ["", "blob", "blob", "blob", "blob", "manifest", "referrer", "tag"]


def test_a_mirror_of_a_static_mirror_of_a_registry_has_the_same_digests(tmp_path: Path) -> None:
    """Registry, mirror, its files over HTTP, and a mirror of those by their /v2 alone."""
    with registry_running(tmp_path / "registry") as host:
        copied(filled(), host)
        reader = HttpReader(f"http://{host}")
        first = synced(tmp_path / "first", reader)
        reader.close()
    with hosting(first.site) as hosted:
        hosted.fault = by_rule(first.site)
        reader = HttpReader(hosted.url)
        second = synced(tmp_path / "second", reader)
        named = [f"{name}/{FORMATS}" for name in releases_of_types(first)]
        formats = synced(tmp_path / "formats", reader, repositories=named)
        before = reader.requests
        (report,) = sync(second, [(OciSource("up", reader), Rules())], NOW).sources
        assert (report.exit_code, report.fetched) == (0, 0)
        # The catalog, and the tags of ns/a, ns/a/kpm and ns/a/formats.
        assert reader.requests - before == 1 + 3
        reader.close()
    theirs, ours = first.document("ns/a"), second.document("ns/a")
    assert {(r.key, r.blob, r.content.digest) for r in ours.releases} == {
        (r.key, r.blob, r.content.digest) for r in theirs.releases
    }  # fmt: skip
    for release in theirs.releases:
        found = ours.find(*release.key)
        assert found is not None and found.attachments == release.attachments, release.key
    both = [r.key for r in theirs.releases if r.release == "1.0.0"]
    assert [r.key for r in formats.document("ns/a").releases] == both


def by_rule(site: Path) -> Fault:
    """Answers from the files of a site by the rule that every host has."""

    def answer(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        address = urlsplit(handler.path).path.strip("/")
        if address in ("v2/_catalog",) or address.endswith("/tags/list"):
            return False
        found = [site / name for name in oci_paths.files_of(address)]
        file = next((each for each in found if each.is_file()), None)
        if file is None:
            return False
        reply(handler, file.read_bytes())
        return True

    return answer


def releases_of_types(project: Project) -> list[str]:
    """The packages that have a release of several formats."""
    found = []
    for ref in project.catalog.packages(project.tree()):
        document = project.catalog.document(ref)
        if any(len(document.of_release(r)) > 1 for r in document.versions()):
            found.append(ref.name)
    return found
