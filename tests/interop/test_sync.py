"""Sync from the real servers and datastores: the same packages, whatever way they came."""

from __future__ import annotations

import base64
import json
import tarfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import redis as redis_py

from cnrmirror.cli.trusted import fetcher_for
from cnrmirror.documents import PackageDocument
from cnrmirror.fetcher import HttpFetcher
from cnrmirror.interfaces import NoProgress, Source
from cnrmirror.sources.backup import BackupSource
from cnrmirror.sources.keyvalue import EtcdKeys, FolderKeys, KeyValueSource, RedisKeys
from cnrmirror.sources.registry import RegistrySource
from cnrmirror.workflow.check import check
from cnrmirror.workflow.project import Project
from cnrmirror.workflow.sources import open_sources
from cnrmirror.workflow.sync import PARTIAL, Rules, sync
from tests.conftest import NOW
from tests.interop.ports import free_port
from tests.interop.reference import reference_server
from tests.interop.servers import need, running, serving
from tests.mirrors import make, reopen
from tests.recorded import CONFORMANCE

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not CONFORMANCE.is_dir(), reason="shared/conformance is not here"),
]
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with _OPENER.open(request, timeout=20) as answer:
        found: bytes = answer.read()
        return found


def documents(project: Project) -> dict[str, PackageDocument]:
    """Every package document, origin aside."""
    found = {}
    for ref in project.catalog.packages(project.tree()):
        document = project.catalog.document(ref)
        releases = [msgspec.structs.replace(r, origin="") for r in document.releases]
        found[ref.name] = msgspec.structs.replace(document, releases=releases)
    return found


def synced(folder: Path, source: Source) -> Project:
    project = make(folder, "synced")
    report = sync(project, [(source, Rules())], NOW)
    assert report.exit_code in (0, PARTIAL), report
    # The servers answer with 3.0.0+build.7 to whoever asks for this 3.0.0: it cannot be had there.
    assert {hole.what for hole in report.sources[0].holes} <= {"charts/redis_cluster@3.0.0"}
    assert check(project).findings == []
    return project


@pytest.fixture(scope="module", params=["appr", "cnr"])
def live(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, Path]]:
    """A reference server with the recorded packages: its name, address and datastore."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    with reference_server(name, folder / "server", free_port()) as url:
        pushes = json.loads((CONFORMANCE / "pushes.json").read_text())
        for push in pushes["packages"]:
            blob = base64.b64encode((CONFORMANCE / push["file"]).read_bytes()).decode()
            ask(f"{url}/cnr/api/v1/packages/{push['package']}", {
                "blob": blob, "release": push["release"], "media_type": push["media_type"],
                "metadata": push["metadata"], "package": push["package"]})  # fmt: skip
        for move in pushes["channels"]:
            ask(f"{url}/cnr/api/v1/packages/{move['package']}/channels/{move['channel']}/"
                f"{move['release']}", {})  # fmt: skip
        yield name, url, folder / "server" / "db"


def test_a_mirror_of_a_live_registry_answers_as_it_does(
    live: tuple[str, str, Path], tmp_path: Path
) -> None:
    _, url, _ = live
    http = HttpFetcher(url)
    project = synced(tmp_path / "mirror", RegistrySource("live", http))
    http.close()
    with serving("nginx", project.site, tmp_path / "nginx") as mirror:
        compared = 0
        for name, document in documents(project).items():
            if name == "charts/redis_cluster":
                continue  # see above
            paths = ["", "/channels"]
            for item in document.releases:
                one = f"/{item.release}/{item.media_type}"
                paths += [f"/{item.release}", one, f"{one}/pull"]
                paths += [f"/blobs/sha256/{item.content.digest}"]
            for path in paths:
                address = f"/cnr/api/v1/packages/{name}{path}"
                ours, theirs = ask(mirror + address), ask(url + address)
                if "pull" not in path and "blobs" not in path:
                    assert _sets(json.loads(ours)) == _sets(json.loads(theirs)), address
                else:
                    assert ours == theirs, address
                compared += 1
        assert compared > 80


def _sets(value: object) -> object:
    """Lists as sets: the servers list in hash order."""
    if isinstance(value, list):
        return sorted(json.dumps(_sets(item), sort_keys=True) for item in value)
    if isinstance(value, dict):
        return {key: _sets(item) for key, item in value.items()}
    return value


def test_a_second_sync_asks_little_and_writes_nothing(
    live: tuple[str, str, Path], tmp_path: Path
) -> None:
    _, url, _ = live
    http = HttpFetcher(url)
    project = synced(tmp_path / "mirror", RegistrySource("live", http))
    before = {p: p.lstat().st_mtime_ns for p in project.site.rglob("*")}
    requests = http.requests
    report = sync(project, [(RegistrySource("live", http), Rules())], NOW)
    http.close()
    packages = len(documents(project))
    assert report.revision is None and report.sources[0].fetched == 0
    assert http.requests - requests == 1 + 2 * packages + len(report.sources[0].holes)
    assert {p: p.lstat().st_mtime_ns for p in project.site.rglob("*")} == before


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The datastore of a dead appr, out of its archive."""
    folder = tmp_path_factory.mktemp("store")
    with tarfile.open(CONFORMANCE / "datastores/appr-0.7.4-filesystem.tar") as tar:
        tar.extractall(folder, filter="data")
    return folder


def keys_of(store: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(store.rglob("*")):
        if path.is_file():
            yield path.relative_to(store).as_posix(), path.read_bytes()


def _redis(store: Path, folder: Path) -> Iterator[Source]:
    port = free_port()
    command = [need("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "",
               "--dir", str(folder)]  # fmt: skip
    with running(command, port, folder):
        client = redis_py.Redis(port=port)
        for key, value in keys_of(store):
            client.set(key, value)
        yield KeyValueSource("dead", RedisKeys(client))
        client.close()


def _etcd(store: Path, folder: Path) -> Iterator[Source]:
    port, peer = free_port(), free_port()
    url, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    command = [need("etcd"), "--enable-v2", "--data-dir", str(folder / "etcd"),
               "--listen-client-urls", url, "--advertise-client-urls", url,
               "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
               "--initial-cluster", f"default={peers}"]  # fmt: skip
    with running(command, port, folder):
        for key, value in keys_of(store):
            body = urllib.parse.urlencode({"value": value.decode()}).encode()
            request = urllib.request.Request(f"{url}/v2/keys/{key}", body, method="PUT")
            _OPENER.open(request, timeout=20).close()
        http = HttpFetcher(url)
        yield KeyValueSource("dead", EtcdKeys(http))
        http.close()


def _folder(store: Path, folder: Path) -> Iterator[Source]:
    yield KeyValueSource("dead", FolderKeys(store))


def _backup(store: Path, folder: Path) -> Iterator[Source]:
    """What the server's own ``backup`` writes, made from its datastore."""
    base = store / "appr/packages"
    packages, channels = [], []
    for path in sorted(base.glob("*/*/releases.json")):
        data = json.loads(path.read_text())
        name = path.parent.relative_to(base).as_posix()
        for release in data["releases"].values():
            for manifest in release["manifests"].values():
                blob = path.parent / "digests/sha256" / manifest["content"]["digest"]
                entry = {**manifest, "channels": release["channels"], "blob": blob.read_text()}
                packages.append(entry)
        for channel in data["channels"].values():
            channels.append({**channel, "package": name})
    dump = folder / "dump.json"
    dump.write_text(json.dumps({"packages": packages, "channels": channels}))
    yield BackupSource("dead", dump)


KINDS: dict[str, Callable[[Path, Path], Iterator[Source]]] = {
    "folder": _folder, "redis": _redis, "etcd": _etcd, "backup": _backup,
}  # fmt: skip


def test_every_kind_of_datastore_gives_the_same_documents(store: Path, tmp_path: Path) -> None:
    found = {}
    for kind, opened in KINDS.items():
        (tmp_path / kind).mkdir()
        generator = opened(store, tmp_path / kind)
        project = synced(tmp_path / kind / "mirror", next(generator))
        assert next(generator, None) is None
        found[kind] = documents(project)
    assert len(found["folder"]) > 5
    assert all(found[kind] == found["folder"] for kind in KINDS)
    # And out of the first mirror, by its signed catalog:
    second = make(tmp_path / "second", "second")
    root = project.metadata.path / "1.root.json"
    with (second.folder / "mirror.yaml").open("a") as config:
        config.write(
            f"sources:\n  first:\n    type: mirror\n    location: {project.folder}\n"
            f"    root: {root}\n"
        )
    refresh(project)
    second = reopen(second.folder)
    sources = open_sources(second, [], {}, fetcher_for)
    report = sync(second, sources, NOW)
    assert report.exit_code == 0, report
    assert documents(second) == found["folder"]
    listing = sources[0][0].look(NoProgress())
    assert len(listing.offers) == report.sources[0].offered


def refresh(project: Project) -> None:
    """Signed now: the mirror source goes by the clock."""
    assert project.signer is not None
    project.signer.publish(project.head(), datetime.now(UTC).replace(tzinfo=None).isoformat())
