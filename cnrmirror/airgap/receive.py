"""Import: a bundle, or any other site, taken in after everything about it was checked.

Two ways, as mirror.yaml says. A mirror that *follows* (``follow: root.json``) becomes what the
sender signed, file for file, and needs no keys. Any other mirror takes the sender's packages in
beside its own ones, and signs the result itself: that is a sync.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from cnrmirror.airgap.have import Have
from cnrmirror.bundle.overlay import Overlay
from cnrmirror.bundle.read import BundleReader, check_volumes
from cnrmirror.catalog.nodes import LayeredNodes, RemoteNodes
from cnrmirror.catalog.tree import EMPTY, CatalogReader
from cnrmirror.client.remote import PARALLEL, Remote
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import CHUNK, Descriptor
from cnrmirror.model.documents import CatalogRoot, Node, PackageRef, blob_path
from cnrmirror.model.errors import (
    CnrMirrorError,
    DamageError,
    Equivocation,
    IncompleteError,
    InputError,
    NetworkError,
    NotFoundError,
    Rollback,
    StaleError,
    Tampered,
    TrustError,
    UsageError,
)
from cnrmirror.model.progress import stage
from cnrmirror.model.signed import (
    MAX_BYTES,
    METADATA,
    TIMESTAMP,
    FileInfo,
    SignedHead,
    parse_role,
    signed_head_of,
)
from cnrmirror.objects.base import Reader, read
from cnrmirror.objects.files import replace_durably, storage_errors, sync_filesystem
from cnrmirror.objects.parallel import threads
from cnrmirror.objects.store import Store
from cnrmirror.sources.mirror import MirrorSource, refuse_older, upstream_of
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.report import SourceReport, SyncReport
from cnrmirror.sync.run import sync
from cnrmirror.trust.lint import StrictMetadata
from cnrmirror.trust.verify import Policy, Trust, Verified


def source_name(registry: str) -> str:
    """What a sender is called among the sources; no name in mirror.yaml has a dot."""
    safe = re.fullmatch(r"[A-Za-z0-9_-]{1,64}", registry)
    return f"import.{registry if safe else Descriptor.of(registry.encode()).digest}"


class Imported(msgspec.Struct, frozen=True):
    """What was taken in; ``revision`` is the sender's."""

    place: str
    revision: int
    catalog: str
    packages: int
    blobs: int
    bytes: int
    fresh: bool
    notes: list[str]
    sync: SyncReport | None = None


def check_bundle(project: Project, fetcher: BundleReader) -> None:
    """Every volume, before anything is taken in.

    Raises:
        DamageError: a volume is missing or damaged; the message says how to make it again.
    """
    contents = fetcher.contents
    steps = sum(-(-volume.size // CHUNK) for volume in contents.volumes)
    with stage(project.progress, "Checking volumes", steps) as progress:
        faults = check_volumes(fetcher.found, progress)
    if not faults:
        return
    names = [volume.name for volume in contents.volumes]
    remedies = ", ".join(str(names.index(f.volume) + 1) for f in faults)
    raise DamageError(
        "; ".join(f"{fault.volume}: {fault.problem}" for fault in faults)
        + ". Nothing was taken in. To have just these made again, give the sender this "
        f"bundle.json: 'cnrmirror export FOLDER --again bundle.json --volume N' (N: {remedies})"
    )


def overlay(project: Project, fetcher: Reader) -> Reader:
    """A bundle together with what the receiver has; any other site as it is."""
    if not isinstance(fetcher, BundleReader):
        return fetcher
    kept = project.layout.upstream_cache(source_name(fetcher.contents.registry))

    def mine(path: str) -> BinaryIO:
        return open(project.site / path, "rb")

    def theirs(path: str) -> BinaryIO:
        return open(kept / path.removeprefix("catalog/"), "rb")

    return Overlay(fetcher, [mine, theirs])


def follow(project: Project, fetcher: Reader, policy: Policy, now: datetime) -> Imported:
    """Become what the sender signed. Nothing changes before all that is needed is here, checked.

    Raises:
        TrustError, StaleError: it must not be taken in.
        IncompleteError: something that is needed is neither in the bundle nor here.
    """
    if isinstance(fetcher, BundleReader) and fetcher.contents.cut.is_part:
        raise InputError(
            f"{fetcher.name}: it holds only a part; a mirror with 'follow' needs all of it"
        )
    both = overlay(project, fetcher)
    with storage_errors(str(project.folder)), project.alone():
        pinned = _pinned(project)
        trust = project_trust(project, pinned)
        verified = _verified(trust, both, policy, now)
        remote = Remote(both, verified)
        edition = _edition(both)
        blobs = size = 0
        there = project.metadata.path / "timestamp.json"
        if not there.exists() or there.read_bytes() != edition.timestamp:
            try:
                _check_metadata(project, both, pinned, now)
                blobs, size = _bring(project, remote, edition)
                _bring_metadata(project, both, edition)
            except IncompleteError as error:
                before = project.signed_head_or_none()
                ours = f"revision {before.revision}" if before else "nothing"
                raise _continues(fetcher, ours, error) from error
            sync_filesystem(project.site)
            # Only now: what could not be taken in must not keep out what came before it.
            trust.verify(both, policy, now)
            replace_durably(there, edition.timestamp, project.layout.making)
        project.builder.bring_up(project.head())
    return Imported(
        both.name, edition.revision, edition.at.digest, verified.root.packages, blobs, size,
        verified.fresh, verified.notes,
    )  # fmt: skip


def project_trust(project: Project, pinned: bytes) -> Trust:
    """What a mirror itself trusts and remembers of a sender."""
    return Trust(pinned, project.layout.trust_cache, project.layout.trust_memory)


def _pinned(project: Project) -> bytes:
    path = project.folder / project.config.follow
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; it is the sender's root.json") from error


def _edition(fetcher: Reader) -> SignedHead:
    """What the place stands at; signatures were checked before."""

    def get(name: str, info: FileInfo) -> bytes:
        return read(fetcher.fetch(f"{METADATA}/{name}", MAX_BYTES))

    timestamp = read(fetcher.fetch(TIMESTAMP, MAX_BYTES))
    return signed_head_of(timestamp, get, f"{fetcher.name}/{METADATA}")


def _verified(trust: Trust, fetcher: Reader, policy: Policy, now: datetime) -> Verified:
    """A look at a place, which is not remembered yet."""
    try:
        verified = trust.verify(fetcher, policy, now, remember=False)
    except Rollback as error:
        raise Rollback(
            f"{error.message}: it is older than what was taken in before, and nothing was changed; "
            "take a newer one"
        ) from error
    edition = _edition(fetcher)
    if edition.at != verified.at:
        if edition.version == verified.timestamp_version:
            raise Equivocation(
                f"{fetcher.name}: its timestamp {edition.version} names catalog {edition.at.digest}"
                f", the one that was taken in before {verified.at.digest}: there are two histories"
            )
        raise IncompleteError(f"{fetcher.name}: it changed while it was read; try again")
    return verified


class _KnownMetadata:
    """A place's files; signed files that were taken in before are read here."""

    def __init__(self, fetcher: Reader, folder: Path) -> None:
        self.name = fetcher.name
        self._fetcher = fetcher
        self._folder = folder

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``interfaces.Reader``."""
        folder, _, name = path.rpartition("/")
        if folder == METADATA and path != TIMESTAMP and (self._folder / name).is_file():
            yield (self._folder / name).read_bytes()
        else:
            yield from self._fetcher.fetch(path, max_bytes)

    def close(self) -> None:
        """See ``interfaces.Reader``."""
        self._fetcher.close()


def _check_metadata(project: Project, fetcher: Reader, pinned: bytes, now: datetime) -> None:
    """Every signed file that is kept, also those that only readers of older states want.

    Raises:
        IncompleteError, Tampered: one is missing, or does not go with what is here already.
    """
    strict = StrictMetadata(_KnownMetadata(fetcher, project.metadata.path), pinned)
    strict.check(now)
    for finding in sorted(strict.findings):
        text = f"{fetcher.name}: {finding.path}: {finding.reason or finding.problem}"
        if finding.problem == "missing":
            raise IncompleteError(text)
        raise Tampered(f"{text}; nothing was taken in")


def _bring(project: Project, remote: Remote, edition: SignedHead) -> tuple[int, int]:
    """Nodes and blobs of the revisions that are kept and not here; how many blobs, and bytes.

    Oldest first, and a root only after all that it needs: a root that is here is whole.
    """
    elsewhere = RemoteNodes(remote.fetcher)
    reader = CatalogReader(LayeredNodes(project.store, elsewhere, keep=True))
    missing: list[tuple[Descriptor, CatalogRoot]] = []
    here: Descriptor | None = edition.at
    while here is not None and not project.store.has_root(here):
        root: CatalogRoot = elsewhere.get(here.digest, here.size, CatalogRoot)
        missing.append((here, root))
        here = root.parent if root.revision > edition.kept.revision else None
    ours = project.signed_head_or_none()
    for _, root in missing:
        if ours is not None and root.revision <= ours.revision:
            raise Equivocation(
                f"{remote.fetcher.name}: its revision {root.revision} is another than the one that "
                "was taken in before: the sender's history was forked, and nothing was taken in; "
                "if the sender says so, begin with a new copy (init --follow)"
            )
    before: Node = project.catalog.root(here).tree if here else EMPTY
    count = size = 0
    with stage(project.progress, f"Taking in {remote.fetcher.name}", None) as progress:
        for _, root in reversed(missing):
            for difference in reader.diff(before, root.tree):
                releases = reader.document(difference.new).releases if difference.new else []
                for blob in sorted({r.blob for r in releases}):
                    if not project.store.has_blob(blob):
                        project.store.add_blob(blob, remote.blob(blob))
                        count += 1
                        size += blob.size
                        progress.advance(1, blob.size)
            for _node in reader.added(before, root.tree):
                pass  # reading keeps them
            before = root.tree
    # A root that survives a power cut must find all that it needs: so it comes after a sync.
    sync_filesystem(project.site)
    for _, root in reversed(missing):
        project.store.put(root)
    return count, size


def _bring_metadata(project: Project, fetcher: Reader, edition: SignedHead) -> None:
    """The signed files that are kept; the timestamp comes last, and by itself."""
    folder = project.metadata.path
    folder.mkdir(parents=True, exist_ok=True)
    spans = {
        "root": range(1, edition.kept.root + 1),
        "targets": range(1, edition.targets.version + 1),
        "catalog": range(edition.kept.catalog, edition.catalog.version + 1),
        "snapshot": range(edition.kept.snapshot, edition.snapshot.version + 1),
    }
    for role, versions in spans.items():
        for version in versions:
            name = f"{version}.{role}.json"
            if not (folder / name).exists():
                data = read(fetcher.fetch(f"{METADATA}/{name}", MAX_BYTES))
                parse_role(data, f"{fetcher.name}/{METADATA}/{name}")
                replace_durably(folder / name, data, project.layout.making)


def _continues(fetcher: Reader, ours: str, error: IncompleteError) -> IncompleteError:
    """What a receiver can do about a bundle that continues from something that it has not."""
    if not isinstance(fetcher, BundleReader) or fetcher.contents.since_revision < 0:
        return error
    return IncompleteError(
        f"{fetcher.name}: it continues from revision {fetcher.contents.since_revision}, and here "
        f"is {ours}; nothing was taken in: give the sender what 'cnrmirror have' writes "
        f"({error.message})"
    )


def take_in(
    project: Project,
    fetcher: Reader,
    trust: Trust,
    policy: Policy,
    clock: datetime,
    now: str,
) -> Imported:
    """The sender's packages beside our own, in a revision that we sign.

    Raises:
        TrustError, StaleError: it must not be taken in.
    """
    both = overlay(project, fetcher)
    bundle = fetcher if isinstance(fetcher, BundleReader) else None
    part = bundle is not None and bundle.contents.cut.is_part
    selected = set(bundle.contents.selected) if bundle else set()
    remote = Remote(both, _verified(trust, both, policy, clock))
    verified = remote.verified
    registry = verified.root.registry
    if bundle is not None and bundle.contents.registry != registry:
        raise Tampered(f"{both.name}: its bundle.json is of another registry than what is signed")
    if bundle is not None and not part:
        _require_base(project, bundle, remote)
    _refuse_fork(_haves(project).get(registry), remote)
    recorded = project.root().upstreams.get(source_name(registry))
    refuse_older(both.name, recorded, upstream_of(verified))
    trust.verify(both, policy, clock)

    def wanted(ref: PackageRef) -> bool:
        return not part or ref.name in selected

    def at_hand(blob: Descriptor) -> bool:
        inside = bundle is not None and bundle.has(blob_path(blob.digest))
        return not part or inside or project.store.has_blob(blob)

    name = source_name(registry)
    store = Store(project.layout.upstream_cache(name), project.layout.making)
    source = MirrorSource(name, lambda: remote, store, wanted, at_hand, part)
    rules = Rules(deletes="keep" if part else "follow", max_shrink=1.0)
    report = sync(project, [(source, rules)], now)
    outcome = report.sources[0]
    if outcome.error:
        raise _as_error(outcome)
    if not outcome.holes and not part:
        have = Have(registry, verified.at.digest, verified.root.revision, now)
        path = project.layout.import_memory(registry)
        with storage_errors(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_durably(path, msgspec.json.encode(have), project.layout.making)
    return Imported(
        both.name, verified.root.revision, verified.at.digest, verified.root.packages,
        outcome.fetched, outcome.bytes, verified.fresh, verified.notes, report,
    )  # fmt: skip


def _refuse_fork(before: Have | None, remote: Remote) -> None:
    """Raises Equivocation if what was taken in is not in the history of what is offered."""
    if before is None or before.revision > remote.verified.root.revision:
        return
    try:
        for at, root in remote.catalog.history(remote.verified.at):
            if root.revision <= before.revision:
                if root.revision == before.revision and at.digest != before.catalog:
                    raise Equivocation(
                        f"{remote.fetcher.name}: its revision {root.revision} is another than the "
                        "one that was taken in before: the sender's history was forked"
                    )
                return
    except IncompleteError:
        return  # older revisions are not in the bundle: nobody can tell


def _require_base(project: Project, bundle: BundleReader, remote: Remote) -> None:
    """Make sure that what a difference continues from was taken in, or that it is not needed.

    Raises:
        IncompleteError: neither.
    """
    contents = bundle.contents
    before = _haves(project).get(contents.registry)
    if contents.since_revision < 0 or (before and before.catalog == contents.cut.since):
        return
    try:
        with threads(PARALLEL) as executor:
            for document in remote.documents(executor):
                for release in document.releases:
                    path = blob_path(release.blob.digest)
                    if not (bundle.has(path) or project.store.has_blob(release.blob)):
                        raise IncompleteError(f"{path}: neither in this bundle nor here")
    except IncompleteError as error:
        here = f"revision {before.revision}" if before else "nothing"
        raise _continues(bundle, here, error) from error


def _as_error(outcome: SourceReport) -> CnrMirrorError:
    """The error that ended a sync, with its own exit code."""
    kinds = (TrustError, StaleError, IncompleteError, NetworkError, InputError)
    kind = next((k for k in kinds if k.exit_code == outcome.error_code), CnrMirrorError)
    return kind(outcome.error)


def have(project: Project, now: str, registry: str | None = None) -> Have:
    """What this mirror holds of a sender's registry.

    Raises:
        NotFoundError: nothing was imported yet.
        UsageError: from more than one sender; one has to be named.
    """
    if project.config.follow:
        project.head()  # says so if there is nothing yet
        edition = project.metadata.edition()
        followed = project.catalog.root(edition.at).registry
        return Have(followed, edition.at.digest, edition.revision, now)
    found = _haves(project)
    if registry is None and len(found) > 1:
        raise UsageError(f"of which registry? say --registry; there are {', '.join(sorted(found))}")
    for name in found if registry is None else [registry]:
        if name in found:
            return found[name]
    raise NotFoundError("nothing was imported yet; see 'cnrmirror import'")


def _haves(project: Project) -> dict[str, Have]:
    """What was taken in whole, by registry."""
    found = {}
    for path in sorted(project.layout.imports_memory.glob("*.json")):
        try:
            have = msgspec.json.decode(path.read_bytes(), type=Have)
        except msgspec.DecodeError:
            continue
        found[have.registry] = have
    return found
