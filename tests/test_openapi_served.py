"""What a served mirror answers, held against its OpenAPI document: each path, each status."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from werkzeug.test import Client

from cnrmirror.airgap.export import plan, write
from cnrmirror.archive.identify import Override
from cnrmirror.bundle.format import Selection
from cnrmirror.bundle.read import BundleReader
from cnrmirror.mirror import change
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Head
from cnrmirror.model.errors import BusyError, DamageError, StorageError
from cnrmirror.model.oci import HELM_PROVENANCE
from cnrmirror.model.resource import Alias
from cnrmirror.server.app import Application
from cnrmirror.server.bundle import BundleMirror
from cnrmirror.server.tokens import Token, TokensUnusable, one_token
from cnrmirror.server.writing import Writing
from cnrmirror.views.site import Site
from tests.conftest import NOW, chart_bytes, tar_gz
from tests.contract import Contract
from tests.mirrors import make, reopen

NS = Override(namespace="charts")
NGINX = "/cnr/api/v1/packages/charts/nginx"
HEX = "0" * 64
# Of hosts with rules alone, or of a moment that a test cannot bring about for one path.
ELSEWHERE = {("/cnr/api/v1/packages", "get", 400)}
# What is in memory from the start cannot be damaged.
IN_MEMORY = ("/cnr/version", "/openapi.json", "/recover.sh", "/.well-known/app-registry-uri.json")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A mirror that has something at every path: see ``Contract``."""
    folder = tmp_path_factory.mktemp("full")
    project = _mirror(folder)
    (folder / "sbom").write_bytes(b"{}")
    (folder / "prov").write_bytes(b"-----BEGIN PGP SIGNED MESSAGE-----\n")
    attached = [("application/spdx+json", folder / "sbom"), (HELM_PROVENANCE, folder / "prov")]
    _push(project, folder, "nginx-1.2.0.tgz", chart_bytes("nginx", "1.2.0"), NS, attached)
    _push(project, folder, "nginx-1.3.0.tgz", chart_bytes("nginx", "1.3.0-rc.1"), NS, [])
    kpm = Override("charts/nginx", None, "1.2.0", "kpm")
    sbom = [("application/spdx+json", folder / "sbom")]
    _push(project, folder, "kpm.tgz", tar_gz({"manifest.yaml": b"package: {}\n"}), kpm, sbom)
    for package in range(70):  # so many that the catalog branches
        other = Override(f"many/p{package}", None, "1.0.0", "kpm")
        _push(project, folder, "kpm.tgz", tar_gz({"a": str(package).encode()}), other, [])
    change.set_channel(project, "charts/nginx", "stable", "1.2.0", NOW)
    return project


def _mirror(folder: Path) -> Project:
    hub = {"owners": [{"name": "a", "email": "a@example.com"}]}
    where = folder / "mirror"
    make(where, "00000000-0000-4000-8000-000000000001")
    settings = yaml.safe_load((where / "mirror.yaml").read_text())
    views = {**(settings.get("views") or {}), "artifacthub": hub}
    (where / "mirror.yaml").write_text(yaml.safe_dump({**settings, "views": views}))
    return reopen(where)


def _push(
    project: Project, folder: Path, name: str, archive: bytes, wish: Override,
    attached: list[tuple[str, Path]],
) -> None:  # fmt: skip
    (folder / name).write_bytes(archive)
    push(project, [folder / name], wish, NOW, What(attached=attached))


class Asked:
    """A mirror that is asked, and every answer that it gave: path, method, status.

    Each answer is held against the document when it comes.
    """

    def __init__(self, application: Application, headers: Mapping[str, str] = {}) -> None:
        self._client = Client(application)
        self._headers = dict(headers)
        answer = self._client.get("/openapi.json")
        assert answer.content_type == "application/json"
        assert answer.headers["Cache-Control"] == "public, max-age=60"
        self.contract = Contract(json.loads(answer.data))
        self.seen: set[tuple[str, str, int]] = set()
        self.good: dict[str, str] = {}

    def ask(self, url: str, method: str = "GET", **more: Any) -> int:
        """The status of an answer, which is one that the document has."""
        headers = {**self._headers, **more.pop("headers", {})}
        with self._client.open(url, method=method, headers=headers, **more) as answer:
            found = self.contract.problems(
                method, url, answer.status_code, answer.headers, answer.data
            )
            assert not found, f"{method} {url}: {found}"
        call = self.contract.find(method, url.partition("?")[0])
        assert call is not None, url
        self.seen.add((call.path, call.method, answer.status_code))
        if method == "GET" and answer.status_code == 200:
            self.good.setdefault(call.path, url)
        return answer.status_code

    def said(self, methods: Iterable[str]) -> set[tuple[str, str, int]]:
        """Every answer that the document has."""
        return {
            (path, method, int(status))
            for path, item in self.contract.document["paths"].items()
            for method in methods
            if method in item
            for status in item[method]["responses"]
        }


def addresses(project: Project) -> list[str]:
    """The address of every file of the site, but for pages and error documents."""
    settings = project.config.views
    site = Site(settings, project.config.url, rules=False)
    root = project.catalog.root(project.head().catalog)
    packages = [
        site.load(project.catalog, project.catalog.document(ref), project.store)
        for ref in project.catalog.packages(project.tree())
    ]
    made = [r for package in packages for r in site.package(package)]
    made += [*site.all_lists(site.grouped(site.entries(packages)), root), *site.fixed()]
    pages = re.compile(
        r"(packages|revisions|search|assets)/|trust\.html|.*/40[45]\.json|.*\.gz|(api|version)$"
        r"|cnr/api/v1/packages-by/empty\.json"
    )
    found = [r for r in made if not pages.match(r.path)]
    # An alias of a folder is that folder's document.
    return [f"/{site.address(_document(r.path, r.body))}" for r in found]


def _document(path: str, body: object) -> str:
    return f"{path}/index.json" if isinstance(body, Alias) and not body.single else path


def catalog_files(project: Project) -> list[str]:
    return [
        f"/{p.relative_to(project.site).as_posix()}"
        for p in (project.site / "catalog").rglob("*")
        if p.is_file()
    ]


@pytest.fixture(scope="module")
def asked(full: Project) -> Asked:
    """The mirror, after it was asked for everything that it has."""
    found = Asked(Application(full))
    for address in {*addresses(full), *catalog_files(full)}:
        assert found.ask(address) == 200
    for address in ("/healthz", "/", "/v2", "/version", f"{NGINX}/1.2.0/helm/pull/json"):
        assert found.ask(address) == 200
    for url in list(found.good.values()):
        if "blobs/sha256/" in url and url.startswith("/cnr/"):
            assert found.ask(f"{url.partition('?')[0]}/json") == 200
    return found


def test_every_file_of_a_site_is_in_the_document_and_the_reverse(asked: Asked) -> None:
    paths = asked.contract.document["paths"]
    assert set(asked.good) == {path for path, item in paths.items() if "get" in item}


def test_what_serve_decides_itself_fits(asked: Asked) -> None:
    for query in ("?query=ngi", "?namespace=charts&media_type=helm", "?namespace=none", "/"):
        assert asked.ask(f"/cnr/api/v1/packages{query}") == 200
        assert asked.ask(f"/api/v1/packages{query}") == 200
    assert asked.ask("/cnr/api/v1/packages/search?q=ngi") == 200
    for query in ("helm", "none", ""):
        assert asked.ask(f"{NGINX}?media_type={query}") == 200
    for wanted in ("~1.2", "default", ">=1.0.0-0"):
        for form in ("", "/pull", "/pull?format=json", "/pull/json"):
            assert asked.ask(f"{NGINX}/{wanted}/helm{form}") == 200
    assert asked.ask("/cnr/api/v1/packages/many/p1/1.0.0/-/pull") == 200


def test_every_answer_to_a_get_that_the_document_has_is_given(
    asked: Asked, full: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, url in asked.good.items():
        with asked._client.get(url) as answer:
            tag = answer.headers.get("ETag")
        if tag:
            assert asked.ask(url, headers={"If-None-Match": tag}) == 304
        if path not in ("/v2/", "/healthz"):
            assert asked.ask(url, headers={"Range": "bytes=0-0"}) == 206
            assert asked.ask(url, headers={"Range": "bytes=99999999-"}) == 416
        if "404" in asked.contract.document["paths"][path]["get"]["responses"]:
            assert asked.ask(missing(path)) == 404, missing(path)
    for form in ("", "/pull", "/pull/json"):
        assert asked.ask(f"{NGINX}/1.2.0/-{form}") == 400
        assert asked.ask(f"{NGINX}/abc/helm{form}") == 422
    broken = Asked(Application(full))
    broken.seen = asked.seen
    monkeypatch.setattr(full, "head", lambda: fail(OSError(5, "Input/output error")))
    monkeypatch.setattr(full, "tree", lambda: fail(DamageError("damaged")))
    monkeypatch.setattr(full, "open_file", lambda _: fail(OSError(5, "Input/output error")))
    assert broken.ask("/healthz") == 503
    said = broken.said(["get"])
    for path, url in asked.good.items():
        if (path, "get", 500) in said and path not in IN_MEMORY:
            assert broken.ask(url) == 500, url
    never = {(path, "get", 500) for path in IN_MEMORY} | ELSEWHERE
    assert said - asked.seen == never


def fail(error: Exception) -> Any:
    raise error


def missing(path: str) -> str:
    """An address of that form at which nothing is."""
    names = {"namespace": "none", "name": "none", "release": "9.9.9", "version": "99"}
    digests = {"blob": f"sha256:{HEX}", "subject": f"sha256:{HEX}", "first": "00"}
    words = {**names, **digests, "role": "root", "reference": "none", "channel": "none"}
    return re.sub(
        r"\{(\w+)\}",
        lambda m: words.get(m[1], HEX if m[1] in ("digest", "archive", "sha256") else "none"),
        path,
    )


def test_a_bundle_as_it_lies_answers_as_the_document_says(full: Project, tmp_path: Path) -> None:
    signed = full.metadata.signed_head()
    assert signed is not None
    write(full, tmp_path / "bundle", plan(full, Selection(signed.at.digest), signed))
    found = Asked(Application(BundleMirror(BundleReader([tmp_path / "bundle"]))))
    for address in addresses(full):
        assert found.ask(address) == 200, address


# -- changes -----------------------------------------------------------------------------------


def body(release: str, text: str = "") -> dict[str, str]:
    blob = base64.b64encode(chart_bytes("a", release, text)).decode()
    return {"blob": blob, "release": release, "media_type": "helm"}


def test_every_answer_to_a_change_that_the_document_has_is_given(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = Application(project, Writing(project, lambda: NOW, one_token("secret")))
    bearer = {"Authorization": "Bearer secret"}
    asked = Asked(application, bearer)
    package, calls = "/cnr/api/v1/packages/ns/a", changes(asked.contract)
    post = [
        (200, body("1.0.0")), (200, body("1.1.0")), (409, body("1.0.0", "other")),
        (422, body("no release")), (422, {**body("1.2.0"), "blob": "?"}), (400, {}), (400, []),
    ]  # fmt: skip
    for status, each in post:
        assert asked.ask(package, "POST", json=each) == status
    assert asked.ask(f"{package}?force=true", "POST", json=body("1.0.0", "other")) == 200
    assert asked.ask(package, "POST", data=b"{") == 422
    application.max_body = 10
    assert asked.ask(package, "POST", json=body("1.0.0")) == 413
    application.max_body = 1 << 20
    assert asked.ask(f"{package}/channels/stable/1.1.0", "POST") == 200
    assert asked.ask(f"{package}/channels/stable/9.9.9", "POST") == 404
    assert asked.ask(f"{package}/channels/..x/1.1.0", "POST") == 422
    for call, url in calls.items():
        assert asked.ask(url, call[1].upper(), headers={"Authorization": "Bearer no"}) == 401
        if call[1] == "delete":
            assert asked.ask(url.replace("/ns/a", "/ns/none"), "DELETE") == 404
        for error, status in ((BusyError("held"), 409), (StorageError("full"), 507),
                              (OSError(5, "Input/output error"), 500)):  # fmt: skip
            with monkeypatch.context() as patch:
                patch.setattr(project, "signing", lambda *_, e=error: fail(e))
                more = {"json": body("3.0.0")} if call == (package_path(), "post") else {}
                assert asked.ask(url, call[1].upper(), **more) == status, url
    for tokens, status in ((powerless, 403), (unusable, 503)):
        other = Asked(Application(project, Writing(project, lambda: NOW, tokens)), bearer)
        other.seen = asked.seen
        for call, url in calls.items():
            assert other.ask(url, call[1].upper()) == status, url
    reading = Asked(Application(project))
    reading.seen = asked.seen
    for call, url in calls.items():
        assert reading.ask(url, call[1].upper()) == 405
    for url in (f"{package}/channels/stable/1.0.0", f"{package}/channels/stable",
                f"{package}/1.0.0/helm"):  # fmt: skip
        assert asked.ask(url, "DELETE") == 200
    left = asked.said(["post", "delete"]) - asked.seen
    assert left == set()


def powerless() -> list[Token]:
    """One token that may do nothing."""
    return [msgspec.structs.replace(token, may=[]) for token in one_token("secret")()]


def unusable() -> list[Token]:
    raise TokensUnusable("the file of tokens is bad")


def package_path() -> str:
    return "/cnr/api/v1/packages/{namespace}/{name}"


def changes(contract: Contract) -> dict[tuple[str, str], str]:
    """Each call that changes something, with an address in ``ns/a``."""
    words = {"namespace": "ns", "name": "a", "release": "1.1.0", "media_type": "helm",
             "channel": "stable"}  # fmt: skip
    return {
        (path, method): path.format(**words)
        for path, item in contract.document["paths"].items()
        for method in ("post", "delete")
        if method in item
    }


def test_no_path_takes_a_change_of_which_the_document_says_nothing(project: Project) -> None:
    client = Client(Application(project, Writing(project, lambda: NOW, one_token("secret"))))
    contract = Contract(json.loads(client.get("/openapi.json").data))
    for path, item in contract.document["paths"].items():
        for method in ("post", "delete", "put", "patch"):
            if method in item:
                continue
            headers = {"Authorization": "Bearer secret"}
            answer = client.open(missing(path), method=method.upper(), headers=headers)
            assert answer.status_code in (404, 405), f"{method} {path}"


def test_the_contract_sees_what_is_wrong(asked: Asked) -> None:
    contract = asked.contract
    with asked._client.get(NGINX) as answer:
        good, headers = answer.data, dict(answer.headers)
    assert contract.problems("GET", NGINX, 200, headers, good) == ""
    wrong: dict[str, tuple[str, str, int, dict[str, str], bytes]] = {
        "no such path": ("GET", "/cnr/nothing", 200, headers, good),
        "no such method": ("PUT", NGINX, 200, headers, good),
        "no query": ("GET", f"{NGINX}?other=1", 200, headers, good),
        "201 is no answer": ("GET", NGINX, 201, headers, good),
        "no type of it": ("GET", NGINX, 200, {"Content-Type": "text/html"}, good),
        "a field too much": ("GET", NGINX, 200, headers, good.replace(b'"urls"', b'"other"')),
        "a body": ("GET", "/v2/", 200, headers, good),
    }
    for name, case in wrong.items():
        assert contract.problems(*case), name
    assert contract.misfit({"$ref": "#/components/schemas/Sha256"}, Descriptor.of(b"").digest) == ""
    assert contract.misfit({"$ref": "#/components/schemas/Sha256"}, "e3b0")
    assert contract.misfit({"type": "string", "format": "date-time"}, "yesterday")


def test_the_head_of_a_mirror_is_what_its_health_says(asked: Asked, full: Project) -> None:
    head: Head = full.head()
    assert asked._client.get("/healthz").json == {
        "state": "ok", "revision": head.revision, "catalog": head.catalog.digest,
    }  # fmt: skip
