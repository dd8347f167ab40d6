"""A sync whose archives other processes fetch: the same mirror, whatever becomes of them."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from cnrmirror.bundle.places import reader_for
from cnrmirror.cli.cluster import write_certificates
from cnrmirror.crew import cluster
from cnrmirror.crew.certificates import certificates
from cnrmirror.crew.crew import Crew
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import ConflictError, NetworkError, StorageError
from cnrmirror.sources.base import Offer
from cnrmirror.sync import bring, chunk
from cnrmirror.sync.chunk import Chunk, Done, Missed, chunks, do
from cnrmirror.sync.meter import Meter
from cnrmirror.sync.open import open_sources
from cnrmirror.sync.report import SourceReport
from cnrmirror.sync.run import sync
from tests.conftest import NOW, chart_bytes
from tests.hostile import Host, hosting
from tests.interop.ports import free_port
from tests.machine import Machine
from tests.mirrors import make
from tests.places import files

NAMES = [f"app-{number}" for number in range(12)]


def repository(folder: Path, names: list[str], releases: int = 2) -> None:
    """A Helm repository on a disk."""
    folder.mkdir(exist_ok=True)
    entries: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        for number in range(releases):
            release = f"1.{number}.0"
            data = chart_bytes(name, release)
            (folder / f"{name}-{release}.tgz").write_bytes(data)
            entries.setdefault(name, []).append(
                {
                    "name": name, "version": release, "apiVersion": "v2",
                    "digest": hashlib.sha256(data).hexdigest(),
                    "urls": [f"{name}-{release}.tgz"],
                }
            )  # fmt: skip
    (folder / "index.yaml").write_text(json.dumps({"apiVersion": "v1", "entries": entries}))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    repository(tmp_path / "repo", NAMES)
    with hosting(tmp_path / "repo") as found:
        yield found


@pytest.fixture
def mirror(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A mirror of the repository; a chunk has few archives."""
    monkeypatch.setattr(bring, "chunks", partial(chunks, size=5))
    return with_source(make(tmp_path / "mirror", "workers"), host.url)


def with_source(project: Project, url: str, more: str = "") -> Project:
    with (project.folder / "mirror.yaml").open("a") as file:
        file.write(f"sources:\n  up: {{type: helm, url: '{url}', namespace: c, {more}}}\n")
    signer, project = project.signer, Project(project.folder)
    project.signer = signer
    return project


def synced(project: Project, crew: Crew | None, only_fetch: bool = False) -> SourceReport:
    meter = Meter()
    sources = open_sources(project, [], os.environ, reader_for, meter)
    report = sync(project, sources, NOW, meter=meter, crew=crew, only_fetch=only_fetch)
    return report.sources[0]


class Told(Executor):
    """Does what it is told with each chunk, at once; the rest is done well."""

    def __init__(self, *deeds: Callable[[bytes], bytes]) -> None:
        self.deeds = list(deeds)
        self.given: list[Chunk] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.given.append(msgspec.json.decode(args[0], type=Chunk))
        try:
            future.set_result((self.deeds.pop(0) if self.deeds else fn)(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def crew(self, afar: bool = False) -> Crew:
        return Crew(2, lambda: self, afar)


def archives(host: Host) -> list[str]:
    return sorted(path for path in host.requests if path.endswith(".tgz"))


ALL = sorted(f"/{name}-1.{number}.0.tgz" for name in NAMES for number in range(2))


# -- the same mirror ------------------------------------------------------------------------------


def test_a_mirror_is_the_same_whoever_fetched_its_archives(tmp_path: Path) -> None:
    upstream = Machine(tmp_path / "upstream")
    repository(tmp_path / "upstream/charts", NAMES)
    archives = sorted(map(str, (tmp_path / "upstream/charts").glob("*.tgz")))
    upstream("init", "m")
    upstream("-C", "m", "push", "--namespace", "c", *archives)
    root = tmp_path / "upstream/m/site/catalog/metadata/1.root.json"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    kinds = {
        "helm": f"type: helm, url: '{url}/helm/c', namespace: helm",
        "registry": f"type: registry, url: '{url}', names: {{'c/*': 'registry/*'}}",
        "oci": f"type: oci, url: '{url}', names: {{'c/*': 'oci/*'}}",
        "mirror": f"type: mirror, location: '{url}', root: '{root}'",
    }
    machine = Machine(tmp_path / "here")
    machine("init", "alone")
    with (machine.folder / "alone/mirror.yaml").open("a") as file:
        file.write("sources:\n" + "".join(f"  {k}: {{{v}}}\n" for k, v in kinds.items()))
    subprocess.run(["cp", "-a", "alone", "many"], cwd=machine.folder, check=True)
    serve = [sys.executable, "-m", "cnrmirror", "-C", str(tmp_path / "upstream/m"), "serve"]
    server = subprocess.Popen([*serve, "--port", str(port)], stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None and "http" in server.stderr.readline()
        now = str(int(datetime.now(UTC).timestamp()))
        machine("-C", "alone", "sync", SOURCE_DATE_EPOCH=now)
        text = machine("-C", "many", "sync", "--workers", "2", SOURCE_DATE_EPOCH=now)
    finally:
        server.terminate()
        server.communicate()
    for kind in kinds:
        assert re.search(rf"^{kind}: 24 .* 24 fetched", text, re.M), text
    assert files(machine.folder / "alone/site") == files(machine.folder / "many/site")
    alone, many = (json.loads(machine("-C", m, "--json", "report")) for m in ("alone", "many"))
    more = {
        one["source"]: two["requests"] - one["requests"]
        for one, two in zip(alone, many, strict=False)
    }
    # An OCI manifest is asked for again, where the one who looked had it at hand.
    assert max(more["helm"], more["registry"], more["mirror"]) <= 0 and more["oci"] <= 24, more


def test_a_folder_is_fetched_by_the_mirrors_own_process(tmp_path: Path) -> None:
    repository(tmp_path / "charts", NAMES[:3])
    project = make(tmp_path / "mirror", "workers")
    with (project.folder / "mirror.yaml").open("a") as file:
        file.write("sources: {up: {type: charts, folder: ../charts, namespace: c}}\n")
    signer, project = project.signer, Project(project.folder)
    project.signer = signer
    told = Told()
    assert synced(project, told.crew()).fetched == 6 and told.given == []


def test_workers_of_a_store_elsewhere_leave_nothing_behind(tmp_path: Path, host: Host) -> None:
    machine = Machine(tmp_path / "here")
    machine("init", "m", "--store", "./place")
    with (machine.folder / "m/mirror.yaml").open("a") as file:
        file.write(f"sources: {{up: {{type: helm, url: '{host.url}', namespace: c}}}}\n")
    # Sockets can't be made in a folder with so long a path.
    temporary = tmp_path / ("temporary" * 15)
    temporary.mkdir()
    run = ("-C", "m", "sync", "--workers", "2")
    assert "24 fetched" in machine(*run, TMPDIR=str(temporary))
    assert list(temporary.iterdir()) == []
    assert archives(host) == ALL and "all well" in machine("-C", "m", "check")


# -- chunks ---------------------------------------------------------------------------------------


def offer(package: str, release: str) -> Offer:
    return Offer(package, release, "helm", "", "", "", 0, "")


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), unique=True),
    st.integers(1, 12),
    st.randoms(),
)
def test_a_chunk_has_enough_and_no_package_is_in_two(
    keys: list[tuple[int, int]], size: int, random: Any
) -> None:
    offers = [offer(f"c/p{package}", f"1.{release}.0") for package, release in keys]
    parts = list(chunks(offers, size))
    assert sorted(o.key for part in parts for o in part) == sorted(o.key for o in offers)
    assert all(len(part) >= size for part in parts[:-1])
    packages = [{o.package for o in part} for part in parts]
    assert sum(map(len, packages)) == len({o.package for o in offers})
    mixed = random.sample(offers, len(offers))
    assert [{o.key for o in part} for part in chunks(mixed, size)] == [
        {o.key for o in part} for part in parts
    ]


def test_a_chunk_knows_no_secret_and_keeps_to_its_part_of_the_rate(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_TOKEN", "Bearer of-nobody")
    more = "authorization_env: UPSTREAM_TOKEN, rate: 100, parallel: 6"
    project = with_source(make(tmp_path / "m", "workers"), host.url, more)
    told = Told()
    assert synced(project, told.crew()).fetched == 24
    (given,) = told.given
    assert b"of-nobody" not in msgspec.json.encode(given)
    settings = msgspec.json.decode(given.settings)
    assert (settings["rate"], given.parallel) == (50, 3)


# -- workers that fail, or lie --------------------------------------------------------------------


def lie(data: bytes, **changes: Any) -> bytes:
    """A good answer, but for the first archive."""
    done = msgspec.json.decode(do(data))
    done["results"][0]["fetched"] |= changes
    return msgspec.json.encode(done)


def gone(data: bytes) -> bytes:
    """A good answer, about archives that are removed again."""
    done = do(data)
    where = Path(msgspec.json.decode(data, type=Chunk).catalog)
    for result in msgspec.json.decode(done)["results"]:
        next(where.rglob(result["fetched"]["blob"]["digest"])).unlink()
    return done


def failing(error: Exception) -> Callable[[bytes], bytes]:
    def fail(data: bytes) -> bytes:
        raise error

    return fail


OTHER = {"digest": "ab" * 32, "size": 7}
BAD: dict[str, Callable[[bytes], bytes]] = {
    "is not what was announced": lambda data: lie(data, blob=OTHER),
    "says what cannot be": lambda data: lie(data, flags=["invented"]),
    "is too large": lambda data: b" " * ((64 << 20) + 1),
    "is no JSON": lambda data: b"\x80\x04",
    "is of something else": lambda data: b'{"results":[]}',
    "is not in the store": gone,
    "is a full disk": lambda data: msgspec.json.encode(Done(failed="No space left on device")),
    "is an engine's error": failing(RuntimeError("lost")),
    "is a killed process": failing(BrokenExecutor("killed")),
}


@pytest.mark.parametrize("deed", BAD.values(), ids=BAD)
def test_what_a_worker_did_badly_is_done_again(
    mirror: Project, host: Host, deed: Callable[[bytes], bytes]
) -> None:
    report = synced(mirror, Told(deed).crew())
    assert (report.fetched, report.holes) == (24, [])
    assert report.notes and all(re.match("done again, [12] ×", n) for n in report.notes)
    assert set(archives(host)) == set(ALL)


@pytest.mark.parametrize("deed", BAD.values(), ids=BAD)
def test_what_no_worker_does_well_is_done_here(
    mirror: Project, host: Host, deed: Callable[[bytes], bytes]
) -> None:
    told = Told(*[deed] * 100)
    report = synced(mirror, told.crew())
    assert (report.fetched, report.holes) == (24, [])
    assert len(told.given) >= 12


def test_a_disk_that_is_full_here_too_ends_the_run(
    mirror: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = BAD["is a full disk"]
    monkeypatch.setattr("cnrmirror.sync.bring.do", full)
    with pytest.raises(StorageError, match="No space left"):
        synced(mirror, Told(*[full] * 100).crew())
    assert mirror.root().revision == 0


def test_a_source_that_gave_up_is_asked_for_nothing_more(mirror: Project, host: Host) -> None:
    def tired(data: bytes) -> bytes:
        offers = msgspec.json.decode(data, type=Chunk).offers
        return msgspec.json.encode(Done([Missed("too many failed", "network", True)] * len(offers)))

    told = Told(do, tired)
    report = synced(mirror, told.crew())
    assert report.error_code == NetworkError.exit_code and "too many failed" in report.error
    assert report.fetched + len(report.holes) == 24
    assert len(told.given) <= 3, "two are under way when it gives up"


def test_one_archive_that_is_bad_is_a_hole_and_no_fault_of_the_worker(
    mirror: Project, host: Host
) -> None:
    (host.folder / "app-3-1.0.0.tgz").write_bytes(chart_bytes("app-3", "1.0.0", "other"))
    (host.folder / "app-4-1.0.0.tgz").unlink()
    told = Told()
    report = synced(mirror, told.crew())
    assert [hole.what for hole in report.holes] == ["c/app-3@1.0.0", "c/app-4@1.0.0"]
    assert report.fetched == 22 and not any("again" in note for note in report.notes)


# -- a run in two halves --------------------------------------------------------------------------


def test_who_only_fetches_needs_no_keys_and_who_signs_fetches_nothing(
    mirror: Project, host: Host
) -> None:
    signer, mirror.signer = mirror.signer, None
    before = files(mirror.site / "catalog/metadata")
    assert synced(mirror, Told().crew(), only_fetch=True).fetched == 24
    assert files(mirror.site / "catalog/metadata") == before
    assert archives(host) == ALL
    mirror.signer = signer
    assert synced(mirror, None).fetched == 24
    assert mirror.root().revision == 1 and archives(host) == ALL


def noted(mirror: Project) -> Path:
    return mirror.layout.source_journal("up")


def test_who_signs_believes_no_note(mirror: Project, host: Host) -> None:
    synced(mirror, Told(gone).crew(afar=True), only_fetch=True)
    lines = [line for line in noted(mirror).read_bytes().split(b"\n") if line]
    wrong = json.loads(lines[-1])
    wrong["fetched"]["blob"] = OTHER
    noted(mirror).write_bytes(b"\n".join([*lines[:-1], json.dumps(wrong).encode()]))
    fetched = len(archives(host))
    report = synced(mirror, None)
    assert report.fetched == 24 and any("not in the store" in note for note in report.notes)
    lost = len(archives(host)) - fetched
    assert lost == int(next(n for n in report.notes if "noted" in n).partition(" ")[0]) > 5


# -- the command ----------------------------------------------------------------------------------


def test_what_cannot_be_is_said_before_anything_is_done(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "here")
    machine("init", "m")
    with (machine.folder / "m/mirror.yaml").open("a") as file:
        file.write("sources: {up: {type: registry, url: 'http://127.0.0.1:1'}}\n")
    machine("cluster", "certificates", "certs")
    at = ("--cluster", "tls://127.0.0.1:1", "--certificates", "certs")
    run = ("-C", "m", "sync")
    machine("cluster", "certificates", "certs", code=4)
    assert "without --cluster" in machine(*run, *at, "--workers", "2", code=2)
    assert "go together" in machine(*run, "--cluster", "tls://127.0.0.1:1", code=2)
    assert "go together" in machine(*run, "--certificates", "certs", code=2)
    assert "use --workers" in machine(*run, *at, code=2)
    assert "leave --only-fetch out" in machine(*run, "--only-fetch", "--dry-run", code=2)
    assert "no revision" in machine(*run, "--only-fetch", "--acknowledge", code=2)
    machine("init", "stored", "--store", "./place")
    assert "in a bucket" in machine("-C", "stored", "sync", *at, code=2)


@pytest.mark.parametrize("address", ["tcp://h:1", "tls://h", "tls://:1", "h:1", "tls://h:x"])
def test_an_address_without_certificates_is_refused(address: str) -> None:
    with pytest.raises(Exception, match="tls://HOST:PORT is needed"):
        cluster.check_address(address)


# -- certificates ---------------------------------------------------------------------------------


def test_certificates_are_of_one_authority_whose_key_is_not_kept(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    made = write_certificates(tmp_path / "c", certificates(30, now))
    parts = ("scheduler", "worker", "coordinator")
    names = ["ca.pem", *(f"{part}{end}" for part in parts for end in (".pem", "-key.pem"))]
    assert [path.name for path in made] == names
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == sorted(names)
    for path in made:
        private = path.name.endswith("-key.pem")
        assert stat.S_IMODE(path.stat().st_mode) & 0o77 == (0 if private else 0o44)
    authority = x509.load_pem_x509_certificate((tmp_path / "c/ca.pem").read_bytes())
    for part in parts:
        one = x509.load_pem_x509_certificate((tmp_path / f"c/{part}.pem").read_bytes())
        one.verify_directly_issued_by(authority)
        assert one.not_valid_after_utc - now == pytest.approx(
            timedelta(days=30), abs=timedelta(seconds=2)
        )
        context = ssl.create_default_context(cafile=str(tmp_path / "c/ca.pem"))
        context.load_cert_chain(tmp_path / f"c/{part}.pem", tmp_path / f"c/{part}-key.pem")
    with pytest.raises(ConflictError, match="there already"):
        write_certificates(tmp_path / "c", certificates(30, now))


# -- what Dask would unpickle ---------------------------------------------------------------------


class Attack:
    """What runs code when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


def test_a_pickle_of_a_cluster_runs_no_code(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    loads = cluster._Harmless().loads
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for value in (Attack(proof), [Attack(proof)], {"a": (Attack(proof), os.system)}):
            loads(pickle.dumps(value, protocol))
    assert not proof.exists()
    assert isinstance(loads(pickle.dumps(Attack(proof))), cluster.Opaque)
    error = loads(pickle.dumps(ModuleNotFoundError("no module named cnrmirror")))
    assert isinstance(error, ModuleNotFoundError) and "cnrmirror" in str(error)
    assert loads(pickle.dumps({"a": [1, b"x", None]})) == {"a": [1, b"x", None]}


def test_a_worker_says_what_it_cannot_do_in_json() -> None:
    for data in (b"", b"{}", b"\x80"):
        assert msgspec.json.decode(do(data), type=Done).failed
    assert chunk.SIZE >= 100
