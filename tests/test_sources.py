"""Every source, one suite; then what is peculiar to each."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.archive.inspect import inspect
from cnrmirror.archive.scan import Limits
from cnrmirror.mirror.push import push
from cnrmirror.model.errors import CnrMirrorError, IncompleteError, InputError, TooLarge, TrustError
from cnrmirror.objects.folder import FolderReader
from cnrmirror.objects.http import HttpReader, Patience
from cnrmirror.sources.backup import BackupSource
from cnrmirror.sources.base import Ask, Hole, Listing, Offer, Source
from cnrmirror.sources.charts import ChartsSource
from cnrmirror.sources.filters import Filter, Wanted
from cnrmirror.sources.helm import HelmSource
from cnrmirror.sources.keys import EtcdKeys, FolderKeys
from cnrmirror.sources.keyvalue import KeyValueSource
from cnrmirror.sources.oci import OciSource
from cnrmirror.sources.registry import RegistrySource
from cnrmirror.sync.open import open_sources
from tests.conftest import NOW, chart_bytes, tar_gz
from tests.hostile import Host, hosting
from tests.mirrors import make, reopen
from tests.oci_double import Registry
from tests.test_sync import Memory

MANIFEST = "application/vnd.appr.package-manifest.helm.v0.json"
PACKAGES = {"ns/a": ["1.0.0", "2.0.0"], "ns/b": ["1.0.0"], "ns/c": ["0.1.0-rc.1"]}
API = "/cnr/api/v1/packages"
LIMIT = 20_000
BIG = b"A" * (4 * LIMIT)


def archive(package: str, release: str) -> bytes:
    return chart_bytes(package.partition("/")[2], release)


def manifest(package: str, release: str, **changes: Any) -> dict[str, Any]:
    blob = archive(package, release) if "/" in package else b""
    digest = inspect(io.BytesIO(blob)).diff_id if blob else "0" * 64
    content = {"digest": digest, "size": len(blob), "urls": [], "mediaType": "x"}
    return {"package": package, "release": release, "mediaType": MANIFEST, "created_at": NOW,
            "metadata": None, "content": content, **changes}  # fmt: skip


def look(source: Source, *known: str, **filter: Any) -> Listing:
    """What a source has of what a filter takes; the mirror has these helm releases of it."""
    had: dict[str, set[tuple[str, str]]] = {}
    for package, _, release in (text.partition("@") for text in known):
        had.setdefault(package, set()).add((release, "helm"))
    return source.look(Ask(Wanted(Filter(**filter)), had, sure=True))


def read(source: Source, offer: Offer) -> bytes:
    return b"".join(source.open(offer))


class Place:
    """Packages in one kind of place, and the ways to break it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.fill(PACKAGES)

    def fill(self, packages: dict[str, list[str]]) -> None:
        """Put these there, and nothing else."""

    def source(self) -> Source:
        raise NotImplementedError

    def break_package(self) -> str:
        """Make ``ns/b`` unreadable; the name that its hole must have ("" if nobody can know)."""
        raise NotImplementedError

    def damage(self) -> None:
        """Make the list of all packages unreadable."""
        raise NotImplementedError

    def remove(self) -> None:
        shutil.rmtree(self.folder / "data")

    def swell(self) -> None:
        """Make the archive of ``ns/b`` longer than ``LIMIT``."""
        raise NotImplementedError


class InCharts(Place):
    def fill(self, packages: dict[str, list[str]]) -> None:
        (self.folder / "data").mkdir()
        for name, release in of(packages):
            (self.folder / "data" / file_of(name, release)).write_bytes(archive(name, release))

    def source(self) -> Source:
        return ChartsSource("up", self.folder / "data", "ns", "appr", Limits(packed=LIMIT))

    def break_package(self) -> str:
        (self.folder / "data/b-1.0.0.tgz").write_bytes(b"no archive")
        return ""

    def damage(self) -> None:
        self.remove()
        (self.folder / "data").mkdir()

    def swell(self) -> None:
        (self.folder / "data/b-1.0.0.tgz").write_bytes(BIG)


class InHelm(InCharts):
    def fill(self, packages: dict[str, list[str]]) -> None:
        super().fill(packages)
        self.entries: dict[str, Any] = {}
        for name, release in of(packages):
            row = {"version": release, "urls": [file_of(name, release)], "created": f"{NOW}Z",
                   "digest": hashlib.sha256(archive(name, release)).hexdigest()}  # fmt: skip
            self.entries.setdefault(name.partition("/")[2], []).append(row)
        self.write()
        self.host = self.stack.enter_context(hosting(self.folder / "data"))
        self.http = HttpReader(self.host.url, Patience(attempts=1))
        self.stack.callback(self.http.close)

    def write(self) -> None:
        text = json.dumps({"apiVersion": "v1", "entries": self.entries})
        (self.folder / "data/index.yaml").write_text(text)

    def source(self) -> Source:
        return HelmSource("up", self.http, "ns", max_archive=LIMIT)

    def break_package(self) -> str:
        self.entries["b"] = "nothing"
        self.write()
        return "ns/b"

    def damage(self) -> None:
        (self.folder / "data/index.yaml").write_text("entries: [")


class InOci(Place):
    def fill(self, packages: dict[str, list[str]]) -> None:
        (self.folder / "data").mkdir()
        self.registry = Registry()
        for name, release in of(packages):
            self.registry.chart(name, release, archive(name, release))
        self.host = self.stack.enter_context(hosting(self.folder / "data"))
        self.host.fault = self.registry
        self.http = HttpReader(self.host.url, Patience(attempts=1), sleep=lambda seconds: None)
        self.stack.callback(self.http.close)

    def source(self) -> Source:
        return OciSource("up", self.http, max_archive=LIMIT)

    def break_package(self) -> str:
        self.registry.answers["/v2/ns/b/tags/list"] = 200, b'{"tags": 3}', {}
        return "ns/b"

    def damage(self) -> None:
        self.registry.answers["/v2/_catalog"] = 200, b"[{", {}

    def remove(self) -> None:
        self.registry.answers["/v2/_catalog"] = 404, b"{}", {}

    def swell(self) -> None:
        digest = self.registry.tags["ns/b"]["1.0.0"]
        layer = json.loads(self.registry.manifests["ns/b", digest][0])["layers"][0]
        self.registry.blobs[layer["digest"]] = BIG


class InRegistry(Place):
    def fill(self, packages: dict[str, list[str]]) -> None:
        (self.folder / "data").mkdir()
        self.answers: dict[str, Any] = {API: rows(packages)}
        for name, releases in packages.items():
            self.answers[f"{API}/{name}"] = [manifest(name, r) for r in releases]
            self.answers[f"{API}/{name}/channels"] = []
            for r in releases:
                self.answers[f"{API}/{name}/{r}"] = [manifest(name, r)]
                self.answers[f"{API}/{name}/{r}/helm/pull"] = archive(name, r)
        self.host, self.http = self.stack.enter_context(answering(self.folder, self.answers))

    def source(self) -> Source:
        return RegistrySource("up", self.http, max_archive=LIMIT)

    def break_package(self) -> str:
        self.answers[f"{API}/ns/b"] = {"no": "list"}
        self.answers[f"{API}/ns/b/1.0.0"] = b"{"
        return "ns/b"

    def damage(self) -> None:
        self.answers[API] = b"[{"

    def remove(self) -> None:
        self.answers.clear()

    def swell(self) -> None:
        self.answers[f"{API}/ns/b/1.0.0/helm/pull"] = BIG


class InKeys(Place):
    def fill(self, packages: dict[str, list[str]]) -> None:
        base = self.folder / "data/cnr/packages"
        index: dict[str, Any] = {}
        for name, releases in packages.items():
            namespace, _, short = name.partition("/")
            index.setdefault(namespace, {})[short] = {}
            found = {}
            for r in releases:
                one = manifest(name, r)
                found[r] = {"channels": [], "manifests": {"helm": one}}
                blob = base / name / "digests/sha256" / one["content"]["digest"]
                blob.parent.mkdir(parents=True, exist_ok=True)
                blob.write_bytes(base64.encodebytes(archive(name, r)))
            text = json.dumps({"releases": found, "channels": {}})
            (base / name / "releases.json").write_text(text)
        (base / "packages.json").write_text(json.dumps({"packages": index}))

    def source(self) -> Source:
        return KeyValueSource("up", FolderKeys(self.folder / "data"), max_archive=LIMIT)

    def break_package(self) -> str:
        path = self.folder / "data/cnr/packages/ns/b/releases.json"
        path.unlink()
        path.mkdir()
        return "ns/b"

    def damage(self) -> None:
        shutil.rmtree(self.folder / "data/cnr/packages/ns")
        (self.folder / "data/cnr/packages/packages.json").write_text('{"packages": 3}')

    def swell(self) -> None:
        (path,) = (self.folder / "data/cnr/packages/ns/b/digests/sha256").iterdir()
        path.write_bytes(BIG)


class InBackup(Place):
    def fill(self, packages: dict[str, list[str]]) -> None:
        (self.folder / "data").mkdir()
        self.dump: dict[str, Any] = {"channels": [], "packages": []}
        for name, release in of(packages):
            blob = base64.b64encode(archive(name, release)).decode()
            self.dump["packages"].append(manifest(name, release, blob=blob, channels=[]))
        self.write()

    def write(self) -> None:
        (self.folder / "data/dump").write_text(json.dumps(self.dump))

    def entry(self) -> dict[str, Any]:
        (found,) = [e for e in self.dump["packages"] if e["package"] == "ns/b"]
        return found  # type: ignore[no-any-return]

    def source(self) -> Source:
        return BackupSource("up", self.folder / "data/dump", LIMIT)

    def break_package(self) -> str:
        del self.entry()["content"]
        self.write()
        return "ns/b"

    def damage(self) -> None:
        (self.folder / "data/dump").write_text('{"packages": [')

    def swell(self) -> None:
        self.entry()["blob"] = BIG.decode()
        self.write()


class InMirror(Place):
    def fill(self, packages: dict[str, list[str]]) -> None:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat()
        self.first = make(self.folder / "data", "first", now)
        for number, (name, release) in enumerate(of(packages)):
            path = self.folder / f"{number}-{file_of(name, release)}"
            path.write_bytes(archive(name, release))
            push(self.first, [path], Override(namespace="ns"), now)
        self.second = make(self.folder / "second", "second")
        shutil.copy(self.first.metadata.path / "1.root.json", self.folder / "second/root.json")
        with (self.second.folder / "mirror.yaml").open("a") as config:
            config.write(
                "sources:\n  up:\n    type: mirror\n    root: root.json\n"
                f"    location: {self.first.folder}\n"
            )

    def source(self) -> Source:
        site = self.first.site
        ((source, _),) = open_sources(
            reopen(self.second.folder), [], {}, lambda location: FolderReader(site)
        )
        return source

    def break_package(self) -> str:
        ref = self.first.catalog.find(self.first.tree(), "ns/b")
        assert ref is not None
        self.rewrite(ref.digest)
        return "ns/b"

    def rewrite(self, digest: str) -> None:
        (path,) = (self.first.site / "catalog").rglob(f"*{digest}*")
        path.chmod(0o600)
        path.write_bytes(b"{}")

    def damage(self) -> None:
        path = self.first.site / "catalog/metadata/timestamp.json"
        path.write_text("{}")

    def swell(self) -> None:
        (release,) = self.first.document("ns/b").releases
        path = next((self.first.site / "catalog/blobs").rglob(f"*{release.blob.digest}"))
        path.chmod(0o600)
        path.write_bytes(BIG)


class InMemory(Place):
    def fill(self, packages: dict[str, list[str]]) -> None:
        self.memory = Memory()
        for name, release in of(packages):
            self.memory.put(name, release)

    def source(self) -> Source:
        return self.memory

    def break_package(self) -> str:
        del self.memory.blobs["ns/b", "1.0.0"]
        self.memory.holes = [Hole("ns/b", "it cannot be read", "ns/b")]
        return "ns/b"

    def damage(self) -> None:
        self.memory.failure = InputError("damaged")

    remove = damage


def of(packages: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(name, release) for name, releases in packages.items() for release in releases]


def file_of(name: str, release: str) -> str:
    return f"{name.partition('/')[2]}-{release}.tgz"


def rows(packages: dict[str, list[str]]) -> list[dict[str, Any]]:
    return [{"name": name, "releases": releases} for name, releases in packages.items()]


@contextmanager
def answering(folder: Path, answers: dict[str, Any]) -> Iterator[tuple[Host, HttpReader]]:
    """A registry over HTTP: JSON, bytes or a function by path; 404 for the rest."""

    def answer(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        value = answers.get(handler.path)
        if callable(value):
            value(handler)
            return True
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        reply(handler, body, 404 if value is None else 200)
        return True

    with hosting(folder) as host:
        host.fault = answer
        http = HttpReader(host.url, Patience(attempts=1), sleep=lambda seconds: None)
        try:
            yield host, http
        finally:
            http.close()


def reply(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    try:
        handler.wfile.write(body)
    except OSError:
        handler.close_connection = True


KINDS: dict[str, type[Place]] = {
    "registry": InRegistry, "helm": InHelm, "oci": InOci, "charts": InCharts, "keyvalue": InKeys,
    "backup": InBackup, "mirror": InMirror, "memory": InMemory,
}  # fmt: skip


@pytest.fixture(params=list(KINDS))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield KINDS[request.param](tmp_path, stack)


# -- what every source does -----------------------------------------------------------------------


def test_it_lists_the_same_packages_as_every_other(place: Place) -> None:
    listing = look(place.source())
    assert {(o.package, o.release) for o in listing.offers} == set(of(PACKAGES))
    assert {o.media_type for o in listing.offers} == {"helm"}
    assert (listing.holes, listing.complete) == ([], True)


def test_its_archives_have_the_promised_digests(place: Place) -> None:
    source = place.source()
    for offer in look(source).offers:
        data = read(source, offer)
        assert data == archive(offer.package, offer.release)
        info = inspect(io.BytesIO(data))
        assert offer.digest or offer.blob_digest or isinstance(place, InMemory)
        assert offer.digest in ("", info.diff_id)
        assert offer.blob_digest in ("", info.blob.digest)


def test_it_says_the_same_twice(place: Place) -> None:
    source = place.source()
    first = look(source)
    assert look(source) == first
    assert look(place.source()) == first


def test_an_error_of_one_package_is_a_hole_that_names_it(place: Place) -> None:
    package = place.break_package()
    listing = look(place.source())
    assert {o.package for o in listing.offers} == {"ns/a", "ns/c"}
    assert {hole.package for hole in listing.holes} == {package}
    assert listing.holes[0].what and listing.holes[0].reason


def test_a_damaged_whole_is_an_error_and_no_empty_listing(place: Place) -> None:
    place.damage()
    with pytest.raises(CnrMirrorError):
        look(place.source())


def test_an_unreachable_whole_is_an_error_and_no_empty_listing(place: Place) -> None:
    place.remove()
    with pytest.raises(CnrMirrorError):
        look(place.source())


def test_an_archive_is_not_read_without_bound(place: Place) -> None:
    if isinstance(place, InMemory):
        return  # it has nothing that it could read
    place.swell()
    with pytest.raises((TooLarge, TrustError, InputError)):
        source = place.source()
        listing = look(source)
        for hole in listing.holes:
            raise InputError(hole.reason)
        got = 0
        for piece in source.open(next(o for o in listing.offers if o.package == "ns/b")):
            got += len(piece)
            assert got < len(BIG)


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("registry", "registrylist.MAX_LIST_BYTES"), ("helm", "helm.MAX_INDEX"),
     ("oci", "ociclient.MAX_PAGE"), ("oci", "ociclient.MAX_MANIFEST"),
     ("keyvalue", "keyvalue.MAX_DOCUMENT_BYTES"),
     ("registry", "registrypackage.MAX_DOCUMENT_BYTES"), ("backup", "backup.MAX_DOCUMENT_BYTES")],
)  # fmt: skip
def test_a_list_is_not_read_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, limit: str
) -> None:
    with ExitStack() as stack:
        place = KINDS[kind](tmp_path, stack)
        monkeypatch.setattr(f"cnrmirror.sources.{limit}", 20)
        if "DOCUMENT" in limit or "MANIFEST" in limit:
            listing = look(place.source())
            assert listing.offers == [] and len(listing.holes) >= 3
        else:
            with pytest.raises((TooLarge, TrustError)):
                look(place.source())


@pytest.mark.parametrize(
    ("name", "package"),
    [("../x", "ns/x"), ("a/b/c", "ns/c"), ("é", ""), ("x.json", ""), ("..", "")],
)
def test_a_name_in_a_chart_cannot_leave_its_namespace(
    tmp_path: Path, name: str, package: str
) -> None:
    place = InCharts(tmp_path, ExitStack())
    evil = tar_gz({"x/Chart.yaml": f"name: '{name}'\nversion: 7.0.0\n".encode()})
    (tmp_path / "data/evil.tgz").write_bytes(evil)
    listing = look(place.source())
    found = [o.package for o in listing.offers if o.release == "7.0.0"]
    assert found == ([package] if package else []) and len(listing.holes) == (not package)


# -- hostile names --------------------------------------------------------------------------------

NAMES = ["../../etc/passwd", "ns/../x", "ns/a\x00", "ns", "ns/a/b", "/etc/x", "ns/é", "ns/x.json"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["registry", "helm", "keyvalue", "backup"])
def test_a_hostile_package_name_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    with ExitStack() as stack:
        place = KINDS[kind](tmp_path, stack)
        if isinstance(place, InRegistry):
            place.answers[API] += rows({name: ["1.0.0"]})
        elif isinstance(place, InHelm):
            place.entries[f"{name}/"] = place.entries["b"]
            place.write()
        elif isinstance(place, InKeys):
            path = tmp_path / "data/cnr/packages/packages.json"
            index = json.loads(path.read_text())
            namespace, _, short = name.partition("/")
            index["packages"].setdefault(namespace, {})[short or ".."] = {}
            path.write_text(json.dumps(index))
        elif isinstance(place, InBackup):
            place.dump["packages"].append({**place.entry(), "package": name})
            place.write()
        listing = look(place.source())
    assert {o.package for o in listing.offers} == set(PACKAGES)
    assert listing.holes or listing.notes


@pytest.mark.parametrize("release", ["../1.0.0", "1.0", "latest", "1.0.0/../x", "1.0.0\n", 3, None])
@pytest.mark.parametrize("kind", ["registry", "helm", "keyvalue", "backup"])
def test_a_hostile_release_is_refused(tmp_path: Path, kind: str, release: Any) -> None:
    with ExitStack() as stack:
        place = KINDS[kind](tmp_path, stack)
        bad = {**manifest("ns/b", "1.0.0"), "release": release}
        if isinstance(place, InRegistry):
            place.answers[f"{API}/ns/b"].append(bad)
        elif isinstance(place, InHelm):
            place.entries["b"].append({**place.entries["b"][0], "version": release})
            place.write()
        elif isinstance(place, InKeys):
            path = tmp_path / "data/cnr/packages/ns/b/releases.json"
            data = json.loads(path.read_text())
            data["releases"]["2.0.0"] = {"manifests": {"helm": bad}, "channels": []}
            path.write_text(json.dumps(data))
        elif isinstance(place, InBackup):
            place.dump["packages"].append({**place.entry(), "release": release})
            place.write()
        listing = look(place.source())
    assert {(o.package, o.release) for o in listing.offers} == set(of(PACKAGES))
    assert len(listing.holes) == 1
    assert listing.holes[0].release not in ("3", "None")  # nobody knows which: it may be any


# -- helm -----------------------------------------------------------------------------------------


@pytest.fixture
def helm(tmp_path: Path) -> Iterator[InHelm]:
    with ExitStack() as stack:
        yield InHelm(tmp_path, stack)


def index(helm: InHelm, text: str | bytes) -> Listing:
    data = text if isinstance(text, bytes) else text.encode()
    (helm.folder / "data/index.yaml").write_bytes(data)
    return look(helm.source())


def chart(helm: InHelm, **changes: Any) -> Listing:
    row = {"version": "1.0.0", "urls": ["b-1.0.0.tgz"], **changes}
    return index(helm, json.dumps({"entries": {"b": [row]}}))


def test_helm_reads_yaml_and_json_alike(helm: InHelm) -> None:
    text = "entries:\n  b:\n  - {version: 1.10.0, urls: [b-1.0.0.tgz], created: 2026-01-02}\n"
    (yaml_offer,) = index(helm, text).offers
    (json_offer,) = chart(helm, version="1.10.0").offers
    assert yaml_offer == json_offer and yaml_offer.release == "1.10.0"


def test_helm_takes_the_v_off_a_version(helm: InHelm) -> None:
    assert chart(helm, version="v1.2.3").offers[0].release == "1.2.3"


@pytest.mark.parametrize(
    ("created", "time"),
    [("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05"), ("2026-01-02T03:04:05Z", NOW),
     ("2026-01-02T03:04:05.123456789-01:30", "2026-01-02T04:34:05.123456"),
     ("2026-13-45T99:99:99Z", ""), ("yesterday", ""), (7, ""), ("0001-01-01T00:00:00+23:00", "")],
)  # fmt: skip
def test_helm_times_are_utc_or_none(helm: InHelm, created: Any, time: str) -> None:
    assert chart(helm, created=created).offers[0].created_at == time


def test_helm_asks_the_next_address_where_the_first_has_nothing(helm: InHelm) -> None:
    urls = ["gone.tgz", "http://127.0.0.1:9/x.tgz", f"{helm.host.url}/b-1.0.0.tgz"]
    (offer,) = chart(helm, urls=urls).offers
    source = helm.source()
    look(source)
    assert read(source, offer) == archive("ns/b", "1.0.0")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "data:x", "//[x"])
def test_helm_refuses_what_is_no_web_address(helm: InHelm, url: str) -> None:
    listing = chart(helm, urls=[url])
    assert listing.offers == [] and [hole.package for hole in listing.holes] == ["ns/b"]


@pytest.mark.parametrize("digest", ["abc", "sha256:zz", "sha512:" + "0" * 128])
def test_helm_refuses_a_digest_that_is_none(helm: InHelm, digest: str) -> None:
    assert len(chart(helm, digest=digest).holes) == 1


def test_helm_archives_must_call_themselves_as_the_index_does(helm: InHelm) -> None:
    (offer,) = chart(helm).offers
    assert offer.named and (offer.digest, offer.blob_digest) == ("", "")


def test_helm_is_not_blown_up_by_aliases(helm: InHelm) -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    bomb = "\n".join(layers) + "\nentries: {b: *a11}\n"
    listing = index(helm, bomb)
    assert listing.offers == [] and len(str(listing.holes)) < 10_000


@pytest.mark.parametrize(
    "text", ["", "entries: 3", "[]", "entries:\n - x", "{}", b"\xff\xfe\x00", "a: !!python/name:x"]
)  # fmt: skip
def test_helm_refuses_what_is_no_index(helm: InHelm, text: str | bytes) -> None:
    with pytest.raises(InputError):
        index(helm, text)


# -- registry -------------------------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[InRegistry]:
    with ExitStack() as stack:
        yield InRegistry(tmp_path, stack)


def asked(registry: InRegistry) -> list[str]:
    found = [path.removeprefix(API) for path in registry.host.requests]
    registry.host.requests.clear()
    return sorted(found)


def test_a_registry_without_the_prefix_is_found_out(registry: InRegistry) -> None:
    bare = {k.removeprefix("/cnr"): v for k, v in registry.answers.items()}
    registry.answers.clear()
    registry.answers.update(bare)
    source = registry.source()
    listing = look(source)
    assert len(listing.offers) == 4
    assert read(source, listing.offers[0]) == archive("ns/a", "1.0.0")


def test_packages_can_be_named_where_the_list_is_refused(registry: InRegistry) -> None:
    del registry.answers[API]
    listing = look(RegistrySource("up", registry.http, packages=["ns/a", "ns/none"]))
    assert {o.package for o in listing.offers} == {"ns/a"}
    assert not listing.complete and "no list" in listing.notes[0]
    assert [hole.package for hole in listing.holes] == ["ns/none"]


def test_releases_are_asked_for_one_by_one_only_when_they_are_new(registry: InRegistry) -> None:
    look(registry.source())
    first = asked(registry)
    look(registry.source(), "ns/a@1.0.0", "ns/b@1.0.0", "ns/c@0.1.0-rc.1")
    again = asked(registry)
    assert len(first) == 1 + 2 * 3 + 4
    assert set(first) - set(again) == {"/ns/a/1.0.0", "/ns/b/1.0.0", "/ns/c/0.1.0-rc.1"}
    look(RegistrySource("up", registry.http, enumerate_releases="never"))
    assert len(asked(registry)) == 1 + 2 * 3


def test_a_release_that_only_its_own_address_shows_is_found(registry: InRegistry) -> None:
    registry.answers[f"{API}/ns/a"] = registry.answers[f"{API}/ns/a"][1:]
    more = manifest("ns/a", "2.0.0", mediaType=MANIFEST.replace("helm", "kpm"))
    registry.answers[f"{API}/ns/a/2.0.0"].append(more)
    keys = {o.key for o in look(registry.source()).offers if o.package == "ns/a"}
    assert keys == {("ns/a", "1.0.0", "helm"), ("ns/a", "2.0.0", "helm"), ("ns/a", "2.0.0", "kpm")}


def test_a_server_that_ignores_the_namespace_filter_is_filtered_here(registry: InRegistry) -> None:
    registry.answers[f"{API}?namespace=ns"] = rows({**PACKAGES, "other/x": ["1.0.0"]})
    listing = look(RegistrySource("up", registry.http, namespaces=["ns"]))
    assert {o.package for o in listing.offers} == set(PACKAGES) and listing.holes == []


def test_a_channel_that_points_nowhere_is_a_hole(registry: InRegistry) -> None:
    registry.answers[f"{API}/ns/a/channels"] = [
        {"name": "stable", "current": "2.0.0", "releases": ["1.0.0", "2.0.0", "9.9.9", 3]},
        {"name": "edge", "current": "9.9.9", "releases": []},
        {"name": 3, "current": "1.0.0", "releases": []},
        {"name": "../x", "current": "1.0.0", "releases": []},
    ]
    listing = look(registry.source())
    assert [c.name for c in listing.channels["ns/a"]] == ["stable"]
    assert listing.channels["ns/a"][0].releases == ["2.0.0", "1.0.0"]
    assert [hole.package for hole in listing.holes] == ["ns/a"] * 3


def test_channels_that_cannot_be_read_are_a_hole_of_their_package(registry: InRegistry) -> None:
    for bad in (None, b"{", {"a": 1}, [3]):
        registry.answers[f"{API}/ns/a/channels"] = bad
        listing = look(registry.source())
        assert len(listing.offers) == 4
        assert [hole.package for hole in listing.holes] == ["ns/a"]


def test_rows_of_wrong_types_are_holes_and_a_list_of_nothing_else_an_error(
    registry: InRegistry,
) -> None:
    registry.answers[API] += [3, None, {"name": 3}, {}, [], {"name": "ns/c", "releases": 7}]
    listing = look(registry.source())
    (hole,) = listing.holes
    assert len(listing.offers) == 4 and hole.what == "5 rows of the list"
    registry.answers[API] = [3, None, {"name": {}}]
    with pytest.raises(InputError):
        look(registry.source())


def test_a_list_of_a_round_number_may_be_cut_off(registry: InRegistry) -> None:
    registry.answers[API] += [{"name": f"ns/x{n}", "releases": []} for n in range(47)]
    listing = look(registry.source())
    assert not listing.complete and "cut off" in listing.notes[0]


def test_kept_answers_are_asked_about_and_not_sent_again(
    registry: InRegistry, tmp_path: Path
) -> None:
    bodies = {path: v for path, v in registry.answers.items() if not path.endswith("/pull")}
    sent: list[str] = []

    def tagged(path: str) -> Callable[[BaseHTTPRequestHandler], None]:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            body = json.dumps(bodies[path]).encode()
            tag = f'"{hashlib.sha256(body).hexdigest()[:8]}"'
            if handler.headers.get("If-None-Match") == tag:
                reply(handler, b"", 304, ETag=tag)
            else:
                sent.append(path)
                reply(handler, body, ETag=tag)

        return answer

    registry.answers.update({path: tagged(path) for path in bodies})
    source = RegistrySource("up", registry.http, answers=tmp_path / "kept")
    first = look(source)
    assert len(sent) == 1 + 2 * 3 + 4
    sent.clear()
    assert look(source) == first and sent == []
    bodies[f"{API}/ns/b/channels"] = [{"name": "s", "current": "1.0.0", "releases": []}]
    assert look(source).channels.keys() == {"ns/b"} and sent == [f"{API}/ns/b/channels"]
    for path in (tmp_path / "kept").iterdir():
        path.write_bytes(b"damaged")
    assert look(source).offers == first.offers


def test_json_may_come_gzipped_but_no_bomb(registry: InRegistry) -> None:
    def gzipped(body: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
        return lambda handler: reply(handler, gzip.compress(body), Content_Encoding="gzip")

    registry.answers[API] = gzipped(json.dumps(rows(PACKAGES)).encode())
    assert len(look(registry.source()).offers) == 4
    registry.answers[API] = gzipped(b" " * (65 << 20))
    with pytest.raises(TrustError):
        look(registry.source())


def test_an_archive_may_be_called_encoded_and_stays_as_it_is(registry: InRegistry) -> None:
    data = archive("ns/b", "1.0.0")
    registry.answers[f"{API}/ns/b/1.0.0/helm/pull"] = lambda handler: reply(
        handler, data, Content_Encoding="x-gzip"
    )
    source = registry.source()
    (offer,) = [o for o in look(source).offers if o.package == "ns/b"]
    assert read(source, offer) == data


# -- keyvalue -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["cnr/packages/", "appr/packages/", "packages/", ""])
def test_every_prefix_is_found_and_another_one_is_an_error(tmp_path: Path, prefix: str) -> None:
    InKeys(tmp_path, ExitStack())
    there = tmp_path / "there"
    (there / prefix).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(tmp_path / "data/cnr/packages", there / prefix, dirs_exist_ok=True)
    for asked_for in (None, prefix):
        source = KeyValueSource("up", FolderKeys(there), asked_for)
        (first, *others) = look(source).offers
        assert len(others) == 3 and read(source, first) == archive(first.package, first.release)
    with pytest.raises(IncompleteError):
        look(KeyValueSource("up", FolderKeys(there), "elsewhere/"))


@pytest.mark.parametrize("body", [b"{}", b'{"node": {}}', b'{"node": {"value": 3}}', b"[", b"\xff"])
def test_an_etcd_that_answers_nonsense_is_an_error(tmp_path: Path, body: bytes) -> None:
    with answering(tmp_path, {"/v2/keys/appr/packages/packages.json": body}) as (_, http):
        with pytest.raises(InputError):
            look(KeyValueSource("up", EtcdKeys(http)))


# -- backup ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    ['{"blob": 3}', "3", "null", "{}", "[]", '"x"', '{"blob": "AA==", "package": 3}',
     '{"blob": "AA==", "package": "ns/x", "release": "1.0.0"}'],
)  # fmt: skip
def test_a_bad_entry_of_a_backup_is_a_hole_and_no_more(tmp_path: Path, entry: str) -> None:
    place = InBackup(tmp_path, ExitStack())
    text = json.dumps(place.dump).replace('"packages": [', f'"packages": [{entry}, ')
    (tmp_path / "data/dump").write_text(text)
    listing = look(place.source())
    (hole,) = listing.holes
    assert len(listing.offers) == 4 and "entry 0" in hole.what + hole.reason


def test_lone_surrogates_in_a_backup_are_an_error_and_no_crash(tmp_path: Path) -> None:
    place = InBackup(tmp_path, ExitStack())
    place.entry()["metadata"] = {"text": "\ud800"}
    place.write()
    listing = look(place.source())
    assert {o.package for o in listing.offers} == {"ns/a", "ns/c"}
    assert any("surrogate" in hole.reason for hole in listing.holes)


def test_a_backup_with_escaped_slashes_gives_the_same_archives(tmp_path: Path) -> None:
    place = InBackup(tmp_path, ExitStack())
    path = tmp_path / "data/dump"
    path.write_text(path.read_text().replace("/", "\\/"))
    source = place.source()
    for offer in look(source).offers:
        assert read(source, offer) == archive(offer.package, offer.release)


def test_the_memory_for_a_backup_does_not_grow_with_its_archives(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from cnrmirror.sources.base import Ask\n"
        "from cnrmirror.sources.backup import BackupSource\n"
        "source = BackupSource('up', Path(sys.argv[1]))\n"
        "for offer in source.look(Ask()).offers:\n"
        "    for piece in source.open(offer): pass\n"
        "print(Path('/proc/self/status').read_text().split('RssAnon:')[1].split()[0])\n"
    )
    found = []
    for count in (4, 40):
        path = tmp_path / f"{count}.json"
        blob = base64.b64encode(bytes(2_000_000)).decode()
        with path.open("w") as stream:
            stream.write('{"channels": [], "packages": [')
            for number in range(count):
                entry = manifest("ns/b", f"{number}.0.0", blob=blob)
                stream.write(("," if number else "") + json.dumps(entry))
            stream.write("]}")
        command = [sys.executable, "-c", program, str(path)]
        found.append(int(subprocess.run(command, check=True, capture_output=True).stdout))
    assert found[1] - found[0] < 25_000, found  # KiB; the archives make 105,000 more
