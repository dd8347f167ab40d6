"""The attack table of docs/trust.md, mounted: on a folder and over HTTP, with and without state."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets

from cnrmirror.archive.identify import Override
from cnrmirror.archive.scan import Limits
from cnrmirror.audit.compare import compare
from cnrmirror.audit.report import Order
from cnrmirror.audit.run import audit
from cnrmirror.audit.signed import Witness
from cnrmirror.client.pull import pull
from cnrmirror.client.remote import Remote, first_good
from cnrmirror.mirror.push import push
from cnrmirror.mirror.rotate import install_root
from cnrmirror.model.canonical import encode
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, Head
from cnrmirror.model.errors import (
    BadSignature,
    CnrMirrorError,
    IncompleteError,
    NetworkError,
    Rollback,
    StaleError,
    Tampered,
    TrustError,
)
from cnrmirror.model.names import Reference
from cnrmirror.objects.files import locked
from cnrmirror.objects.folder import FolderReader
from cnrmirror.objects.http import HttpReader, Patience
from cnrmirror.trust import rotation, verify
from cnrmirror.trust.chain import read_chain
from cnrmirror.trust.keys import KeyFolder, write_key
from cnrmirror.trust.roles import to_bytes
from cnrmirror.trust.signing import Repository
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import NOW, chart_bytes
from tests.hostile import A_STUCK_TEST, HeldClock, Host, drip, endless, hosting
from tests.mirrors import key, make, reopen

CLOCK = datetime.fromisoformat(NOW).replace(tzinfo=UTC) + timedelta(hours=1)
META = "catalog/metadata"
PACKAGES = 70
STRICTLY = Order(Policy(), CLOCK, strict=True, views=False)
MUTATIONS = int(os.environ.get("CNRMIRROR_MUTATIONS", "300"))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror project with two revisions of 70 packages."""
    folder = tmp_path_factory.mktemp("attacks")
    charts = folder / "charts"
    charts.mkdir()
    for number in range(PACKAGES):
        (charts / f"p{number}-1.0.0.tgz").write_bytes(chart_bytes(f"p{number}", "1.0.0"))
    project = make(folder / "mirror", "attacked")
    push(project, [charts], Override(namespace="ns"), NOW)
    newer = folder / "p7-1.1.0.tgz"
    newer.write_bytes(chart_bytes("p7", "1.1.0"))
    push(project, [newer], Override(namespace="ns"), NOW)
    return folder / "mirror"


class Victim:
    """A client, its state, and the copy of the mirror that is attacked."""

    def __init__(self, original: Path, folder: Path, transport: str) -> None:
        self.project = folder / "mirror"
        # The views of the mirror play no part here.
        shutil.copytree(original, self.project, ignore=shutil.ignore_patterns("cnr", "api"))
        self.site = self.project / "site"
        self.meta = self.site / META
        self.good = FolderReader(original / "site")
        self.folder = folder
        self.transport = transport
        self.host: Host | None = None
        self.http: HttpReader | None = None
        pinned = (original / "site" / META / "1.root.json").read_bytes()
        self.trust = Trust(pinned, folder / "cache", folder / "marks")

    def reader(self) -> FolderReader | HttpReader:
        if self.host is None:
            return FolderReader(self.site)
        if self.http is None:
            self.http = HttpReader(self.host.url, Patience(10, 100_000, attempts=1))
        return self.http

    def pull(self, now: datetime = CLOCK, policy: Policy = Policy()) -> Path:
        """A verified pull of ns/p7; whatever appears on disk is looked at by the tests."""
        dest = self.folder / "dest"
        shutil.rmtree(dest, ignore_errors=True)
        remote = Remote(self.reader(), self.trust.verify(self.reader(), policy, now))
        pulled = pull(remote, Reference.parse("ns/p7@1.1.0"), None, dest, True, Limits())
        assert Path(pulled.path).read_bytes() == chart_bytes("p7", "1.1.0")
        return Path(pulled.path)

    def refused(
        self, *kinds: type[CnrMirrorError], now: datetime = CLOCK, then_good: bool = True
    ) -> CnrMirrorError:
        """The pull fails with one of these, leaves nothing, and does not poison the state."""
        with pytest.raises(kinds) as caught:
            self.pull(now)
        dest = self.folder / "dest"
        assert not dest.exists() or not list(dest.iterdir())
        if now == CLOCK and then_good:
            self.trust.verify(self.good, Policy(), CLOCK)
        return caught.value

    @property
    def document(self) -> str:
        project = reopen(self.project)
        ref = project.catalog.find(project.tree(), "ns/p7")
        assert ref is not None
        return f"catalog/nodes/sha256/{ref.digest[:2]}/{ref.digest}"

    @property
    def blob(self) -> str:
        blob = reopen(self.project).document("ns/p7").releases[0].blob
        return f"catalog/blobs/sha256/{blob.digest[:2]}/{blob.digest}"

    @property
    def root(self) -> str:
        return f"catalog/targets/{reopen(self.project).head().catalog.digest}.catalog.json"

    @property
    def leaf(self) -> str:
        tree = reopen(self.project).tree()
        child = reopen(self.project).catalog
        digest = next(
            c.digest
            for c in child.nodes(tree)
            if 'ns/p7"' in (self.site / _node(c.digest)).read_text()
        )
        return _node(digest)

    def replace(self, path: str, data: bytes) -> None:
        """Another file in its place, for a client that does not happen to have the old one."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        target = self.site / path
        target.unlink(missing_ok=True)
        target.write_bytes(data)


def _node(digest: str) -> str:
    return f"catalog/nodes/sha256/{digest[:2]}/{digest}"


@pytest.fixture(params=["folder", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=["with state", "without state"])
def victim(
    request: pytest.FixtureRequest, transport: str, original: Path, tmp_path: Path
) -> Iterator[Victim]:
    found = Victim(original, tmp_path, transport)
    if request.param == "with state":
        found.trust.verify(found.good, Policy(), CLOCK)
    with _served(found):
        yield found


@contextmanager
def _served(victim: Victim) -> Iterator[None]:
    if victim.transport == "http":
        with hosting(victim.site) as host:
            victim.host = host
            yield
            if victim.http is not None:
                victim.http.close()
    else:
        yield


def signed_by(path: Path, signer: CryptoSigner, **changes: object) -> None:
    metadata: Metadata = Metadata.from_bytes(path.read_bytes())  # type: ignore[type-arg]
    for name, value in changes.items():
        setattr(metadata.signed, name, value)
    metadata.sign(signer)
    path.write_bytes(to_bytes(metadata))


def test_an_honest_mirror_is_used(victim: Victim) -> None:
    assert victim.pull().name == "ns_p7_1.1.0.tar.gz"


@pytest.mark.parametrize(
    "which", ["timestamp", "snapshot", "targets", "catalog", "root", "leaf", "document", "blob"]
)
def test_a_flipped_byte_is_refused(victim: Victim, which: str) -> None:
    names = {
        "timestamp": f"{META}/timestamp.json",
        "snapshot": f"{META}/3.snapshot.json",
        "targets": f"{META}/1.targets.json",
        "catalog": f"{META}/3.catalog.json",
    }
    path = names.get(which) or getattr(victim, which)
    data = bytearray((victim.site / path).read_bytes())
    if which == "timestamp":
        data = bytearray(bytes(data).replace(b'"version":3', b'"version":4'))
    else:
        data[len(data) // 2] ^= 1
    victim.replace(path, bytes(data))
    victim.refused(Tampered, BadSignature)


@pytest.mark.parametrize("wrong", ["publish", "targets", "root-1", "stranger"])
def test_a_signature_by_another_roles_key_is_refused(victim: Victim, wrong: str) -> None:
    signed_by(victim.meta / "timestamp.json", key(wrong), version=9)
    victim.refused(BadSignature)


def test_an_old_state_is_refused_by_a_client_that_saw_a_newer_one(
    transport: str, original: Path, tmp_path: Path
) -> None:
    victim = Victim(original, tmp_path, transport)
    old = (victim.meta / "timestamp.json").read_bytes()
    project = reopen(victim.project)
    path = tmp_path / "z-1.0.0.tgz"
    path.write_bytes(chart_bytes("z", "1.0.0"))
    push(project, [path], Override(namespace="ns"), NOW)
    with _served(victim):
        newest = victim.trust.verify(victim.reader(), Policy(), CLOCK)
        victim.replace(f"{META}/timestamp.json", old)
        with pytest.raises(Rollback):
            victim.pull()
        # Deleting the library's cache does not help the attacker: the mark is kept apart.
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        with pytest.raises(Rollback):
            victim.pull()
        # A client without state has only the receipt.
        shutil.rmtree(tmp_path / "marks")
        with pytest.raises(TrustError):
            victim.pull(policy=Policy(expect=newest.at.digest))
        victim.pull()


def test_stolen_online_keys_cannot_bring_back_an_older_catalog(
    transport: str, original: Path, tmp_path: Path
) -> None:
    victim = Victim(original, tmp_path, transport)
    victim.trust.verify(victim.good, Policy(), CLOCK)
    project = reopen(victim.project)
    older = project.revision("1")[0]
    assert project.signer is not None
    project.signer.sign_revision(Head(older, 1), NOW)
    with _served(victim):
        victim.refused(Rollback)


def test_recovery_from_a_fast_forward_is_a_root_with_another_refresh_key(
    transport: str, original: Path, tmp_path: Path
) -> None:
    victim = Victim(original, tmp_path, transport)
    attacked = tmp_path / "attacked"
    shutil.copytree(victim.project, attacked, symlinks=True)
    meta = attacked / "site" / META
    snapshot = meta / "3.snapshot.json"
    far = meta / f"{2**31}.snapshot.json"
    shutil.copy(snapshot, far)
    signed_by(far, key("refresh"), version=2**31)
    info = MetaFile.from_data(2**31, far.read_bytes(), ["sha256"])
    signed_by(meta / "timestamp.json", key("refresh"), version=2**31, snapshot_meta=info)
    victim.trust.verify(FolderReader(attacked / "site"), Policy(), CLOCK)
    with _served(victim):
        victim.refused(Rollback, then_good=False)
        project = reopen(victim.project)
        repository = project.signer
        assert isinstance(repository, Repository)
        _rotate_refresh(victim, repository)
        victim.pull()


def _rotate_refresh(victim: Victim, repository: Repository) -> None:
    project = reopen(victim.project)
    fresh = key(f"refresh after the theft of {victim.folder}")
    write_key(repository.keys.folder, "refresh", fresh, None)
    old = repository.root().roles["timestamp"].keyids[0]
    proposal = rotation.propose(repository, {old: fresh.public_key}, None, NOW)
    for name in ("root-1", "root-3"):
        proposal.proposed.sign(key(name), append=True)
    install_root(project, repository, proposal, NOW)


@pytest.mark.parametrize("days", [8, 100, 366])
def test_a_frozen_mirror_is_stale(victim: Victim, days: int) -> None:
    victim.refused(StaleError, now=CLOCK + timedelta(days=days))


def test_a_clock_that_is_behind_is_refused(victim: Victim) -> None:
    victim.pull()
    with pytest.raises(StaleError, match="clock"):
        victim.pull(CLOCK - timedelta(days=2))


def test_what_expired_is_accepted_only_when_allowed_and_said(victim: Victim) -> None:
    late = CLOCK + timedelta(days=10)
    allowed = Policy(allow_expired=timedelta(days=5))
    verified = victim.trust.verify(victim.reader(), allowed, late)
    assert not verified.fresh and "NOT fresh" in verified.notes[0]
    with pytest.raises(StaleError):
        victim.trust.verify(victim.reader(), Policy(allow_expired=timedelta(days=2)), late)
    with pytest.raises(StaleError):  # the root itself
        far = CLOCK + timedelta(days=400)
        victim.trust.verify(victim.reader(), Policy(allow_expired=timedelta(days=999)), far)


def test_a_chosen_time_lies_neither_in_the_future_nor_before_what_was_seen(
    victim: Victim,
) -> None:
    late = CLOCK + timedelta(days=100)
    verified = victim.trust.verify(victim.reader(), Policy(at=CLOCK), late)
    assert not verified.fresh and "NOT fresh" in verified.notes[-1]
    for moment in (late + timedelta(days=1), CLOCK - timedelta(days=3)):
        with pytest.raises(StaleError):
            victim.trust.verify(victim.reader(), Policy(at=moment), late)


@pytest.mark.parametrize(
    ("old", "new"),
    [("2.snapshot.json", "3.snapshot.json"), ("2.catalog.json", "3.catalog.json"),
     ("1.catalog.json", "1.targets.json"), ("3.snapshot.json", "3.catalog.json")],
)  # fmt: skip
def test_old_files_under_new_names_are_refused(victim: Victim, old: str, new: str) -> None:
    victim.replace(f"{META}/{new}", (victim.meta / old).read_bytes())
    victim.refused(Tampered, BadSignature, Rollback)


def test_an_old_document_under_the_new_name_is_refused(victim: Victim) -> None:
    project = reopen(victim.project)
    old = project.catalog.find(project.revision("1")[1].tree, "ns/p7")
    assert old is not None
    victim.replace(victim.document, (victim.site / _node(old.digest)).read_bytes())
    victim.refused(Tampered)


@pytest.mark.parametrize("which", ["timestamp", "snapshot", "root", "document", "blob"])
def test_a_file_without_end_is_refused_early(victim: Victim, which: str) -> None:
    names = {"timestamp": f"{META}/timestamp.json", "snapshot": f"{META}/3.snapshot.json"}
    path = names.get(which) or getattr(victim, which)
    if victim.host is not None:
        shutil.rmtree(victim.folder / "cache", ignore_errors=True)
        victim.host.fault = endless(Path(path).name, victim.host)
        victim.refused(Tampered)
        # What the kernel had buffered on both sides when the client hung up is counted, too.
        assert victim.host.sent < 12 << 20
    else:
        victim.replace(path, (victim.site / path).read_bytes())
        os.truncate(victim.site / path, 4 << 30)
        before = _read_bytes()
        victim.refused(Tampered)
        assert _read_bytes() - before < 4 << 20


def _read_bytes() -> int:
    """How many bytes this process has read from files so far (Linux)."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize("which", ["timestamp", "blob"])
def test_a_host_that_drips_is_given_up(original: Path, tmp_path: Path, which: str) -> None:
    victim = Victim(original, tmp_path, "http")
    path = f"{META}/timestamp.json" if which == "timestamp" else victim.blob
    with _served(victim):
        assert victim.host is not None
        clock = HeldClock()
        victim.host.fault = drip(Path(path).name, clock)
        victim.http = HttpReader(victim.host.url, Patience(attempts=1), **clock.times)
        assert "slower than 8000 bytes a second" in str(victim.refused(NetworkError))
        assert clock.now > 20


def test_swapped_packages_are_refused(victim: Victim) -> None:
    project = reopen(victim.project)
    other = project.document("ns/p8").releases[0].blob
    data = (victim.site / f"catalog/blobs/sha256/{other.digest[:2]}/{other.digest}").read_bytes()
    victim.replace(victim.blob, data)
    victim.refused(Tampered)


@pytest.mark.parametrize("lie", ["kind", "package", "registry", "revision"])
def test_a_signed_object_of_another_identity_is_refused(
    transport: str, original: Path, tmp_path: Path, lie: str
) -> None:
    """Even with the online keys: an object has to be what it is named as."""
    victim = Victim(original, tmp_path, transport)
    project = reopen(victim.project)
    root = project.root()
    tree = root.tree
    if lie in ("kind", "package"):
        other = project.catalog.find(tree, "ns/p8")
        mine = project.catalog.find(tree, "ns/p7")
        assert other is not None and mine is not None
        child = next(c for c in project.catalog.nodes(tree) if c.packages)
        digest, size = (
            (other.digest, other.size) if lie == "package" else (child.digest, child.size)
        )
        wrong = type(mine)(mine.name, digest, size, 2)
        tree = project.catalog.change(tree, {"ns/p7": wrong})
    forged = CatalogRoot(
        "another" if lie == "registry" else root.registry, 3, NOW, "forged",
        root.packages, root.releases, tree, project.head().catalog,
    )  # fmt: skip
    head = Head(project.store.put(forged), 4 if lie == "revision" else 3)
    assert project.signer is not None
    project.signer.sign_revision(head, NOW)
    with _served(victim):
        # A lie below the root is met when the package is asked for: by then the root was accepted.
        victim.refused(Tampered, then_good=lie in ("registry", "revision"))


@pytest.mark.parametrize(
    "which", ["timestamp", "snapshot", "targets", "catalog", "root", "leaf", "document", "blob"]
)
def test_a_missing_file_is_incomplete_and_the_next_mirror_serves(
    victim: Victim, which: str
) -> None:
    names = {
        "timestamp": "timestamp.json", "snapshot": "3.snapshot.json",
        "targets": "1.targets.json", "catalog": "3.catalog.json",
    }  # fmt: skip
    path = f"{META}/{names[which]}" if which in names else getattr(victim, which)
    (victim.site / path).unlink()
    shutil.rmtree(victim.folder / "cache", ignore_errors=True)
    victim.refused(IncompleteError)
    shutil.rmtree(victim.folder / "cache", ignore_errors=True)
    said: list[str] = []
    pulled = first_good(
        [lambda: (victim.reader(), victim.trust), lambda: (victim.good, victim.trust)],
        Policy(), CLOCK,
        lambda r: pull(r, Reference.parse("ns/p7"), None, victim.folder / "d", True, Limits()),
        said.append,
    )  # fmt: skip
    assert Path(pulled.path).exists() and said


def _root_2(victim: Victim, change: Callable[[Root], None], *signers: str) -> None:
    metadata = Metadata[Root].from_bytes((victim.meta / "1.root.json").read_bytes())
    metadata.signed.version = 2
    change(metadata.signed)
    metadata.signatures.clear()
    for name in signers:
        metadata.sign(key(name), append=True)
    (victim.meta / "2.root.json").write_bytes(to_bytes(metadata))


@pytest.mark.parametrize(
    "signers", [("root-1",), ("root-1", "stranger"), ("refresh",), ("publish", "targets")]
)
def test_too_few_root_keys_make_no_root(victim: Victim, signers: tuple[str, ...]) -> None:
    def change(root: Root) -> None:
        root.add_key(key("stranger").public_key, "timestamp")

    _root_2(victim, change, *signers)
    victim.refused(BadSignature)


def test_one_signature_twice_is_one(victim: Victim) -> None:
    _root_2(victim, lambda root: None, "root-1")
    path = victim.meta / "2.root.json"
    document = json.loads(path.read_bytes())
    document["signatures"] *= 2
    path.write_bytes(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
    victim.refused(Tampered, BadSignature)


@pytest.mark.parametrize(
    "data",
    [b"[" * 16_000, b'{"signed":' + b"1" * 15_000 + b"}", b"\xff\xfe", b'{"signed":NaN}', b"",
     b"{}", b"null", b'{"signed":{"_type":"timestamp"},"signatures":[]}'],
)  # fmt: skip
@pytest.mark.parametrize("name", ["timestamp.json", "2.root.json"])
def test_hostile_json_is_a_clean_error(victim: Victim, name: str, data: bytes) -> None:
    victim.replace(f"{META}/{name}", data)
    victim.refused(TrustError)


def test_a_kept_back_root_is_noticed(transport: str, original: Path, tmp_path: Path) -> None:
    victim = Victim(original, tmp_path, transport)
    project = reopen(victim.project)
    repository = project.signer
    assert isinstance(repository, Repository)
    proposal = rotation.propose(repository, {}, None, NOW)
    for name in ("root-1", "root-2"):
        proposal.proposed.sign(key(name), append=True)
    install_root(project, repository, proposal, NOW)
    (victim.meta / "2.root.json").unlink()
    with _served(victim):
        with pytest.raises(IncompleteError, match="root 2"):
            victim.pull()


def _with_a_new_publish_key(original: Path, tmp_path: Path) -> Victim:
    """The publish key was replaced, and the client has seen it."""
    victim = Victim(original, tmp_path, "folder")
    project = reopen(victim.project)
    repository = project.signer
    assert isinstance(repository, Repository)
    offline = tmp_path / "offline"
    write_key(offline, "targets", key("targets"), None)
    fresh = key(f"publish after the theft of {tmp_path}")
    write_key(repository.keys.folder, "publish", fresh, None)
    with project.writing():
        repository.renew_targets(fresh.public_key, KeyFolder(offline), NOW)
        repository.sign_revision(project.head(), NOW)
    victim.pull()
    return victim


def test_a_stolen_publish_key_signs_nothing_after_its_rotation(
    original: Path, tmp_path: Path
) -> None:
    victim = _with_a_new_publish_key(original, tmp_path)
    path = victim.meta / "4.catalog.json"
    signed_by(path, key("publish"), version=4)
    shutil.rmtree(tmp_path / "cache")
    victim.refused(Tampered, BadSignature, then_good=False)


def test_the_state_before_a_rotation_is_not_accepted_again(original: Path, tmp_path: Path) -> None:
    """What the stolen publish key signed is over, even for a client whose cache is gone."""
    victim = _with_a_new_publish_key(original, tmp_path)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(Rollback):
        victim.trust.verify(victim.good, Policy(), CLOCK)


@pytest.mark.parametrize("time", ["9999-01-01T00:00:00", "soon", "2026-01-02T03:04:05+02:00"])
def test_a_revision_of_an_impossible_time_does_not_spoil_the_memory(
    original: Path, tmp_path: Path, time: str
) -> None:
    victim = Victim(original, tmp_path, "folder")
    project = reopen(victim.project)
    root = project.root()
    forged = CatalogRoot(root.registry, 3, time, "forged", root.packages, root.releases,
                         root.tree, project.head().catalog)  # fmt: skip
    assert project.signer is not None
    project.signer.sign_revision(Head(project.store.put(forged), 3), NOW)
    # Of the future, it may be this machine's clock that is wrong.
    victim.refused(StaleError if time.startswith("9999") else Tampered)


def test_a_signed_release_that_is_no_release_writes_nothing(original: Path, tmp_path: Path) -> None:
    victim = Victim(original, tmp_path, "folder")
    project = reopen(victim.project)
    document = project.document("ns/p7")
    evil = msgspec.structs.replace(document.releases[0], release="1.0.0/../../escaped")
    ref = project.store.put(msgspec.structs.replace(document, releases=[evil]))
    root = project.root()
    old = project.catalog.find(root.tree, "ns/p7")
    assert old is not None
    wrong = type(old)("ns/p7", ref.digest, ref.size, 1)
    tree = project.catalog.change(root.tree, {"ns/p7": wrong})
    forged = CatalogRoot(root.registry, 3, NOW, "forged", root.packages, root.releases, tree,
                         project.head().catalog)  # fmt: skip
    assert project.signer is not None
    project.signer.sign_revision(Head(project.store.put(forged), 3), NOW)
    victim.refused(Tampered, then_good=False)


def test_a_host_that_drips_header_lines_is_given_up(original: Path, tmp_path: Path) -> None:
    clock, given_up = HeldClock(), Event()

    def fault(handler: Any, path: Path) -> bool:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(30):
            handler.wfile.write(f"X-{number}: y\r\n".encode())
            handler.wfile.flush()
            clock.advance(1)
        for _ in range(int(A_STUCK_TEST / 0.01)):
            if given_up.wait(0.01):
                break
            clock.advance(1)
        handler.close_connection = True
        return True

    victim = Victim(original, tmp_path, "http")
    with _served(victim):
        assert victim.host is not None
        victim.host.fault = fault
        victim.http = HttpReader(victim.host.url, Patience(attempts=1), **clock.times)
        assert "no answer within 40 seconds" in str(victim.refused(NetworkError))
        given_up.set()


@pytest.mark.parametrize(
    "change",
    [lambda d: d["signatures"][0].update(sig=None), lambda d: d["signatures"][0].update(sig=7),
     lambda d: d["signed"].update({"x-kept": []}), lambda d: d["signed"].update({"x-kept": 2**60}),
     lambda d: d["signed"]["x-kept"].update(root=2**52),
     lambda d: d["signed"]["x-kept"].update(root="a")],
)  # fmt: skip
@pytest.mark.parametrize("signed", [True, False])
def test_odd_types_in_metadata_are_findings_and_no_crash(
    original: Path, tmp_path: Path, change: Callable[[Any], None], signed: bool
) -> None:
    victim = Victim(original, tmp_path, "folder")
    path = victim.meta / "timestamp.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
    if signed:
        with contextlib.suppress(Exception):
            signed_by(path, key("refresh"))
    with contextlib.suppress(TrustError, IncompleteError):
        victim.trust.verify(victim.reader(), Policy(), CLOCK)
    report = audit(victim.reader(), victim.trust, STRICTLY)
    if not (signed and "sig" in str(change.__code__.co_consts)):
        assert report.findings


def test_two_mirrors_with_two_stories_are_found_out(original: Path, tmp_path: Path) -> None:
    witnesses = []
    for name in ("a", "b"):
        victim = Victim(original, tmp_path / name, "folder")
        path = tmp_path / f"{name}-1.0.0.tgz"
        path.write_bytes(chart_bytes(name, "1.0.0"))
        push(reopen(victim.project), [path], Override(namespace="ns"), NOW)
        verified = victim.trust.verify(victim.reader(), Policy(), CLOCK)
        chain = read_chain(victim.reader(), victim.trust.pinned)
        witnesses.append(Witness(name, victim.reader(), verified, chain))
    found = compare(witnesses[0], witnesses[1]).contradictions
    assert {each.what for each in found} >= {"revision", "timestamp"}
    honest = Victim(original, tmp_path / "c", "folder")
    verified = honest.trust.verify(honest.good, Policy(), CLOCK)
    older = Witness("c", honest.good, verified, read_chain(honest.good, honest.trust.pinned))
    told = compare(older, witnesses[0])
    assert told.contradictions == [] and told.agreed == 2


def _mutate(dice: random.Random, site: Path, files: list[Path]) -> set[str]:
    """One random change of one file below catalog/; the paths that are not as they were."""
    path = dice.choice(files)
    name = path.relative_to(site).as_posix()
    data = path.read_bytes()
    kind = dice.choice(["flip", "truncate", "grow", "swap", "rename", "delete"])
    path.unlink()
    if kind == "flip":
        changed = bytearray(data)
        changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(bytes(changed))
    elif kind == "truncate":
        path.write_bytes(data[: dice.randrange(len(data))])
    elif kind == "grow":
        path.write_bytes(data + dice.randbytes(dice.randint(1, 3000)))
    elif kind == "swap":
        other = dice.choice([f for f in files if f != path])
        path.write_bytes(other.read_bytes())
        if path.read_bytes() == data:
            path.write_bytes(b"")
    elif kind == "rename":
        path.with_name(f"{path.name}.moved").write_bytes(data)
    return {name}


def test_no_mutation_brings_a_wrong_byte_to_disk_and_the_audit_names_each(
    original: Path, tmp_path: Path
) -> None:
    victim = Victim(original, tmp_path, "folder")
    dice = random.Random(2026)
    files = sorted(p for p in (victim.site / "catalog").rglob("*") if p.is_file())
    auditor_trust = Trust(victim.trust.pinned, tmp_path / "c2", tmp_path / "m2")
    clean = audit(victim.reader(), auditor_trust, STRICTLY)
    assert clean.findings == [] and clean.complete
    packages = [f"ns/p{n}" for n in range(PACKAGES)]
    backup = {path: path.read_bytes() for path in files}
    for number in range(MUTATIONS):
        changed = _mutate(dice, victim.site, files)
        package = dice.choice(packages)
        dest = tmp_path / "dest"
        shutil.rmtree(dest, ignore_errors=True)
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        try:
            remote = Remote(victim.reader(), victim.trust.verify(victim.reader(), Policy(), CLOCK))
            pulled = pull(remote, Reference.parse(package), None, dest, True, Limits())
            release = "1.1.0" if package == "ns/p7" else "1.0.0"
            assert Path(pulled.path).read_bytes() == chart_bytes(package[3:], release)
        except (TrustError, IncompleteError):
            assert not dest.exists() or not list(dest.iterdir())
        report = audit(victim.reader(), auditor_trust, STRICTLY)
        named = {finding.path for finding in report.findings}
        assert changed <= named, (number, changed, report.findings)
        for path in (victim.site / "catalog").rglob("*.moved"):
            path.unlink()
        for name in changed:
            path = victim.site / name
            path.unlink(missing_ok=True)
            path.write_bytes(backup[path])


def test_descriptor_of_the_root_is_what_is_signed(original: Path) -> None:
    project = reopen(original)
    assert Descriptor.of(encode(project.root())) == project.head().catalog


# -- what was found by reading: each of these once passed --


def resigned(victim: Victim, **changes: object) -> None:
    """Other things said by targets, and all above it signed again with the right keys."""
    signed_by(victim.meta / "1.targets.json", key("targets"), **changes)
    signed = (victim.meta / "3.snapshot.json").read_bytes()
    snapshot: Metadata[Snapshot] = Metadata.from_bytes(signed)
    info = MetaFile.from_data(1, (victim.meta / "1.targets.json").read_bytes(), ["sha256"])
    meta = {**snapshot.signed.meta, "targets.json": info}
    signed_by(victim.meta / "3.snapshot.json", key("refresh"), meta=meta)
    info = MetaFile.from_data(3, (victim.meta / "3.snapshot.json").read_bytes(), ["sha256"])
    signed_by(victim.meta / "timestamp.json", key("refresh"), snapshot_meta=info)


def test_targets_that_delegate_to_nobody_are_a_clean_error(original: Path, tmp_path: Path) -> None:
    victim = Victim(original, tmp_path, "folder")
    signed = (victim.meta / "3.catalog.json").read_bytes()
    catalog: Metadata[Targets] = Metadata.from_bytes(signed)
    resigned(victim, delegations=None, targets=catalog.signed.targets)
    victim.refused(Tampered)


def test_targets_that_expired_below_a_fresh_timestamp_may_be_allowed(
    original: Path, tmp_path: Path
) -> None:
    victim = Victim(original, tmp_path, "folder")
    resigned(victim, expires=(CLOCK + timedelta(days=1)).replace(microsecond=0))
    late = CLOCK + timedelta(days=3)
    victim.refused(StaleError, now=late)
    with pytest.raises(StaleError):
        victim.trust.verify(victim.reader(), Policy(allow_expired=timedelta(days=1)), late)
    allowed = Policy(allow_expired=timedelta(days=5))
    verified = victim.trust.verify(victim.reader(), allowed, late)
    assert not verified.fresh and "NOT fresh" in verified.notes[0]


def test_a_clock_that_is_behind_is_said_to_a_client_without_memory(
    original: Path, tmp_path: Path
) -> None:
    victim = Victim(original, tmp_path, "folder")
    said = victim.refused(StaleError, now=CLOCK - timedelta(days=2))
    assert "set the clock" in said.message


class Reentrant(FolderReader):
    """While the first file is read, another process verifies the same mirror."""

    def __init__(self, folder: Path, other: Callable[[], object]) -> None:
        super().__init__(folder)
        self.others: list[Callable[[], object]] = [other]

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        if self.others:
            self.others.pop()()
        yield from super().fetch(path, max_bytes)


def test_nobody_waits_for_a_slow_host_of_another(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = Victim(original, tmp_path, "folder")
    monkeypatch.setattr(verify, "locked", lambda path, wait: locked(path, 0))

    def other() -> object:
        return victim.trust.verify(victim.good, Policy(), CLOCK)

    slow = Reentrant(victim.site, other)
    assert victim.trust.verify(slow, Policy(), CLOCK).root.revision == 2
    assert slow.others == []


@pytest.mark.parametrize("pinned", ["a later root", "the same, indented"])
def test_one_registry_has_one_memory_whatever_root_is_pinned(
    original: Path, tmp_path: Path, pinned: str
) -> None:
    victim = Victim(original, tmp_path, "folder")
    project = reopen(victim.project)
    repository = project.signer
    assert isinstance(repository, Repository)
    proposal = rotation.propose(repository, {}, None, NOW)
    for name in ("root-1", "root-2"):
        proposal.proposed.sign(key(name), append=True)
    install_root(project, repository, proposal, NOW)
    old = (victim.meta / "timestamp.json").read_bytes()
    path = tmp_path / "z-1.0.0.tgz"
    path.write_bytes(chart_bytes("z", "1.0.0"))
    push(project, [path], Override(namespace="ns"), NOW)
    victim.trust.verify(victim.reader(), Policy(), CLOCK)
    victim.replace(f"{META}/timestamp.json", old)
    data = (victim.meta / "2.root.json").read_bytes()
    if pinned == "the same, indented":
        data = json.dumps(json.loads(victim.trust.pinned), indent=2).encode()
    again = Trust(data, tmp_path / "cache", tmp_path / "marks")
    with pytest.raises(Rollback):
        again.verify(victim.reader(), Policy(), CLOCK)
