"""Sync from the real servers and datastores: the same packages, whatever way they came."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import redis as redis_py

from cnrmirror.bundle.places import reader_for
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.model.documents import PackageDocument
from cnrmirror.objects.http import HttpReader
from cnrmirror.sources.backup import BackupSource
from cnrmirror.sources.base import Ask, Source
from cnrmirror.sources.keys import EtcdKeys, FolderKeys, RedisKeys
from cnrmirror.sources.keyvalue import KeyValueSource
from cnrmirror.sources.registry import RegistrySource
from cnrmirror.sync.open import open_sources
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.run import sync
from tests.conftest import NOW
from tests.interop.ports import free_port
from tests.interop.reference import legacy, reference_server
from tests.interop.servers import need, running, serving
from tests.mirrors import make, reopen
from tests.recorded import CONFORMANCE

pytestmark = pytest.mark.interop
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
    # The servers answer with 3.0.0+build.7 to whoever asks for 3.0.0: that one comes by its digest.
    assert (report.exit_code, report.sources[0].holes) == (0, []), report
    assert check(project).findings == []
    return project


# -- the servers' own datastores ------------------------------------------------------------------

STORES = ("filesystem", "redis", "etcd")
_BACKUP = {
    "appr": "from appr.models import ApprDB as D; import sys; D.backup_to_file(sys.argv[1])",
    "cnr": "from cnr.models import CnrDB as D; import sys; D.backup_to_file(sys.argv[1])",
}


class Registry(msgspec.Struct):
    """A reference server that runs, and what stands behind it."""

    server: str
    url: str
    store: str
    host: str
    folder: Path
    environment: dict[str, str]

    def datastore(self) -> Iterator[Source]:
        """The source that reads the datastore without the server."""
        if self.store == "filesystem":
            yield KeyValueSource("dead", FolderKeys(self.folder / "db"))
        elif self.store == "redis":
            with redis_py.Redis(host=self.host) as client:
                yield KeyValueSource("dead", RedisKeys(client))
        else:
            http = HttpReader(f"http://{self.host}:2379")
            yield KeyValueSource("dead", EtcdKeys(http))
            http.close()

    def backup(self, path: Path) -> Source:
        """The dump that the server's own code writes."""
        gunicorn = legacy("cnr-server" if self.server == "cnr" else self.server, "gunicorn")
        subprocess.run(
            [gunicorn.parent / "python", "-c", _BACKUP[self.server], path], check=True,
            env={**os.environ, **self.environment},
        )  # fmt: skip
        return BackupSource("dump", path)


@contextmanager
def store_running(store: str, host: str, folder: Path) -> Iterator[None]:
    """Redis or etcd with nothing in it, at ``host``; a filesystem needs nothing to run."""
    if store == "filesystem":
        yield
    elif store == "redis":
        command = [need("redis-server"), "--port", "6379", "--bind", host, "--save", "",
                   "--dir", str(folder)]  # fmt: skip
        with running(command, 6379, folder, host=host):
            yield
    else:
        url, peers = f"http://{host}:2379", f"http://{host}:2380"
        command = [need("etcd"), "--enable-v2", "--data-dir", str(folder / "etcd"),
                   "--listen-client-urls", url, "--advertise-client-urls", url,
                   "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
                   "--initial-cluster", f"default={peers}"]  # fmt: skip
        with running(command, 2379, folder, host=host):
            yield


def fill(url: str) -> None:
    """The recorded packages and channels into a reference server, by its own API."""
    pushes = json.loads((CONFORMANCE / "pushes.json").read_text())
    for push in pushes["packages"]:
        blob = base64.b64encode((CONFORMANCE / push["file"]).read_bytes()).decode()
        ask(f"{url}/cnr/api/v1/packages/{push['package']}", {
            "blob": blob, "release": push["release"], "media_type": push["media_type"],
            "metadata": push["metadata"], "package": push["package"]})  # fmt: skip
    for move in pushes["channels"]:
        ask(f"{url}/cnr/api/v1/packages/{move['package']}/channels/{move['channel']}/"
            f"{move['release']}", {})  # fmt: skip


@pytest.fixture(
    scope="module",
    params=[f"{server} on {store}" for server in ("appr", "cnr") for store in STORES],
)
def registry(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """Each server on each datastore, with the recorded packages pushed through it."""
    server, _, store = request.param.split()
    folder = tmp_path_factory.mktemp(f"{server}-{store}")
    # The servers know no port but 6379 and 2379: so each run takes an address of its own.
    host = f"127.{os.getpid() % 250 + 2}.{os.getpid() // 250 % 250}.{STORES.index(store) + 1}"
    environment = {
        "APPR_DB_CLASS": store,
        "CNR_DB_CLASS": f"cnr.models.kv.{store}.db:CnrDB",
        "DATABASE_URL": str(folder / "db"),
        "REDIS_HOST": host,
        "ETCD_HOST": host,
    }
    with (
        store_running(store, host, folder),
        reference_server(server, folder / "server", free_port(), environment) as url,
    ):
        fill(url)
        yield Registry(server, url, store, host, folder, environment)


@pytest.fixture(scope="module")
def mirror(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A mirror of the live server."""
    http = HttpReader(registry.url)
    project = synced(tmp_path_factory.mktemp("live") / "mirror", RegistrySource("live", http))
    http.close()
    return project


def test_server_datastore_backup_and_mirror_give_the_same_documents(
    registry: Registry, mirror: Project, tmp_path: Path
) -> None:
    found = {"live": documents(mirror)}
    assert len(found["live"]) > 5
    opened = registry.datastore()
    found["datastore"] = documents(synced(tmp_path / "datastore", next(opened)))
    assert next(opened, None) is None
    found["backup"] = documents(synced(tmp_path / "backup", registry.backup(tmp_path / "dump")))
    found["mirror"] = documents(mirror_of(mirror, tmp_path / "second"))
    assert found["mirror"] == found["live"]
    assert found["backup"] == found["datastore"]
    assert found["datastore"] == found["live"]


def mirror_of(first: Project, folder: Path) -> Project:
    """A mirror of a mirror, by its signed catalog."""
    second = make(folder, "second")
    with (second.folder / "mirror.yaml").open("a") as config:
        config.write(
            f"sources:\n  first:\n    type: mirror\n    location: {first.folder}\n"
            f"    root: {first.metadata.path / '1.root.json'}\n"
        )
    refresh(first)
    second = reopen(second.folder)
    sources = open_sources(second, [], {}, reader_for)
    report = sync(second, sources, NOW)
    assert report.exit_code == 0, report
    assert len(sources[0][0].look(Ask()).offers) == report.sources[0].offered
    return second


def paths(found: dict[str, PackageDocument]) -> Iterator[str]:
    """Every path that a client of these packages may ask for."""
    base = "/cnr/api/v1/packages"
    yield base
    for name, document in found.items():
        if name == "charts/redis_cluster":
            continue  # the servers give 3.0.0+build.7 to whoever asks for 3.0.0
        yield f"{base}/{name}"
        yield f"{base}/{name}/channels"
        for channel in document.channels:
            yield f"{base}/{name}/channels/{channel.name}"
            yield f"{base}/{name}/{channel.name}"
        for item in document.releases:
            yield f"{base}/{name}/{item.release}"
            yield f"{base}/{name}/{item.release}/{item.media_type}"
            yield f"{base}/{name}/{item.release}/{item.media_type}/pull"
            yield f"{base}/{name}/blobs/sha256/{item.content.digest}"


def status_and_body(url: str) -> tuple[int, bytes]:
    try:
        return 200, ask(url)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, b"{}"


def test_the_site_answers_as_the_live_server_path_by_path(
    registry: Registry, mirror: Project, tmp_path: Path
) -> None:
    found = documents(mirror)
    missing = ["/ns/none", "/charts/nginx/9.9.9", "/charts/nginx/channels/none"]
    asked = [*paths(found), *(f"/cnr/api/v1/packages{path}" for path in missing)]
    statuses = []
    with serving("nginx", mirror.site, tmp_path / "nginx") as ours:
        for path in asked:
            (mine, body), (theirs, wanted) = map(
                status_and_body, (ours + path, registry.url + path)
            )
            assert mine == theirs, path
            if path.endswith("/pull") or "/blobs/" in path:
                assert body == wanted, path
            else:
                assert _sets(json.loads(body)) == _sets(json.loads(wanted)), path
            statuses.append(mine)
    assert statuses[-3:] == [404] * 3 and statuses.count(200) > 80


def _sets(value: object) -> object:
    """Lists as sets: the servers list in hash order, and note when a package was first pushed."""
    if isinstance(value, dict):
        row = "default" in value and "releases" in value
        kept = {k: v for k, v in value.items() if not (row and k == "created_at")}
        if value.get("name") == "charts/redis_cluster":
            kept = {"name": value["name"]}
        return {k: _sets(v) for k, v in kept.items()}
    if isinstance(value, list):
        return sorted(json.dumps(_sets(v), sort_keys=True) for v in value)
    return value


def test_a_second_sync_asks_little_and_writes_nothing(registry: Registry, tmp_path: Path) -> None:
    http = HttpReader(registry.url)
    project = synced(tmp_path / "mirror", RegistrySource("live", http))
    before = {p: p.lstat().st_mtime_ns for p in project.site.rglob("*")}
    requests = http.requests
    report = sync(project, [(RegistrySource("live", http), Rules())], NOW)
    http.close()
    packages = len(documents(project))
    assert report.revision is None and report.sources[0].fetched == 0
    # charts/redis_cluster@3.0.0, which 3.0.0+build.7 hides, costs two more.
    assert http.requests - requests == 1 + 2 * packages + 2
    assert {p: p.lstat().st_mtime_ns for p in project.site.rglob("*")} == before


@pytest.mark.parametrize("name", ["appr-0.7.4", "cnr-0.2.7"])
def test_a_recorded_datastore_gives_what_was_pushed(name: str, tmp_path: Path) -> None:
    with tarfile.open(CONFORMANCE / f"datastores/{name}-filesystem.tar") as tar:
        tar.extractall(tmp_path / "store", filter="data")
    project = synced(tmp_path / "m", KeyValueSource("dead", FolderKeys(tmp_path / "store")))
    pushes = json.loads((CONFORMANCE / "pushes.json").read_text())["packages"]
    assert {
        (document.package, item.release, item.media_type, item.content.digest)
        for document in documents(project).values()
        for item in document.releases
    } == {(p["package"], p["release"], p["media_type"], p["digest"]) for p in pushes}


def refresh(project: Project) -> None:
    """Signed now: the mirror source goes by the clock."""
    assert project.signer is not None
    project.signer.sign_revision(project.head(), datetime.now(UTC).replace(tzinfo=None).isoformat())
