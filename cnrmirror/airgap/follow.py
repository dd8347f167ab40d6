"""Import into a mirror that follows another (``follow: root.json``): file for file, without keys.

look (the signed head, once) → every signed file that is retained → nodes and blobs → roots → signed
files → accepted → the timestamp. What the mirror's own files say that was accepted counts, even
where its memory is lost: an older state is never taken in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime

from cnrmirror.airgap.arrive import Imported, continues, looking, overlay
from cnrmirror.bundle.read import BundleReader
from cnrmirror.catalog.delta import Brought, Span, bring, revisions_from
from cnrmirror.catalog.nodes import LayeredNodes, RemoteNodes
from cnrmirror.catalog.tree import EMPTY
from cnrmirror.client.remote import Remote
from cnrmirror.mirror import retire
from cnrmirror.mirror.gc import unreached_paths
from cnrmirror.mirror.mark import own_mark
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot
from cnrmirror.model.errors import (
    DamageError,
    Equivocation,
    IncompleteError,
    InputError,
    Tampered,
)
from cnrmirror.model.progress import stage
from cnrmirror.model.signed import MAX_BYTES, METADATA, TIMESTAMP, SignedHead, parse_role
from cnrmirror.objects.base import Reader, read
from cnrmirror.objects.files import replace_durably, storage_errors, sync_filesystem
from cnrmirror.trust.lint import StrictMetadata
from cnrmirror.trust.verify import Look, Policy, Trust, Verified


def follow(
    project: Project, reader: Reader, policy: Policy, now: datetime, dry_run: bool = False
) -> Imported:
    """Become what the sender signed. Nothing changes before all that is needed is here, checked.

    Args:
        project: a mirror with ``follow`` in its mirror.yaml.
        reader: a bundle, or any other site of the sender.
        policy: how fresh it must be.
        now: the clock, UTC.
        dry_run: only look what would be taken in.

    Raises:
        TrustError, StaleError: it must not be taken in.
        IncompleteError: something that is needed is neither in the bundle nor here.
    """
    bundle = BundleReader.of(reader)
    if bundle is not None and bundle.contents.cut.is_part:
        raise InputError(
            f"{bundle.name}: it holds only a part; a mirror with 'follow' needs all of it"
        )
    both = overlay(project, reader)
    with storage_errors(str(project.folder)), project.alone():
        before = project.signed_head_or_none()
        trust = _trust(project, before)
        with looking(trust, both, policy, now) as look:
            brought = Brought()
            verified = look.verified
            if dry_run:
                return _imported(both, verified, brought)
            if before is None or before.timestamp != verified.head.timestamp:
                try:
                    brought = _become(project, both, trust.pinned, look, now)
                except IncompleteError as error:
                    here = f"revision {before.revision}" if before else "nothing"
                    raise continues(reader, here, error) from error
            # Only now: what could not be taken in must not keep out what came before it.
            look.accept()
            if before is None or before.timestamp != verified.head.timestamp:
                pointer = project.layout.timestamp
                replace_durably(pointer, verified.head.timestamp, project.layout.making)
        project.builder.bring_up(project.head())
        _retire(project, before, verified.head)
    return _imported(both, verified, brought)


def _imported(reader: Reader, verified: Verified, brought: Brought) -> Imported:
    return Imported(
        reader.name, verified.head.revision, verified.at.digest, verified.root.packages,
        brought.blobs, brought.bytes, verified.fresh, verified.notes,
    )  # fmt: skip


def _retire(project: Project, before: SignedHead | None, head: SignedHead) -> None:
    """Note what the sender retains no more: the next command removes it, when readers are done."""
    if before is None or head.kept.revision <= before.kept.revision:
        return
    with contextlib.suppress(DamageError):  # of an old revision: for 'check' to say
        chain = revisions_from(project.catalog, head.at, before.kept.revision)[::-1]
        going = retire.between(project.store, chain, before.kept, head.kept)
        if all(at != before.at for at, _ in chain):
            # Revisions between are not here: what was here before is found by looking at all.
            paths = [*going.paths, *unreached_paths(project, chain)]
            going = retire.Retirement(going.floor, list(dict.fromkeys(paths)))
        retire.note(going, project.layout)


def _trust(project: Project, before: SignedHead | None) -> Trust:
    """What a mirror trusts and remembers of its sender, and what its own files say of it."""
    path = project.folder / project.config.follow
    try:
        pinned = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; it is the sender's root.json") from error
    trust = Trust(pinned, project.layout.trust_cache, project.layout.trust_memory)
    if before is not None:
        trust.hold_to(own_mark(project, before))
    return trust


def _become(project: Project, reader: Reader, pinned: bytes, look: Look, now: datetime) -> Brought:
    """Bring all that the verified head needs, but for its timestamp."""
    head = look.verified.head
    _check_metadata(_SignedFiles(project, reader, head), pinned, now)
    elsewhere = RemoteNodes(reader)
    span = _span(project, elsewhere, reader.name, head)
    remote = Remote(reader, look.verified)
    nodes = LayeredNodes(project.store, elsewhere, keep=True)
    with stage(project.progress, f"Taking in {reader.name}", None) as progress:
        brought = bring(span, nodes, remote.blob, progress)
    _bring_metadata(project, reader, head)
    sync_filesystem(project.site)
    return brought


class _SignedFiles(Reader):
    """A site's files as they were looked at; signed files that are here are read here."""

    def __init__(self, project: Project, reader: Reader, head: SignedHead) -> None:
        self.name = reader.name
        self._reader = reader
        self._head = head
        self._folder = project.metadata.path

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``Reader``."""
        folder, _, name = path.rpartition("/")
        if path == TIMESTAMP:
            yield self._head.timestamp
        elif folder == METADATA and (self._folder / name).is_file():
            yield (self._folder / name).read_bytes()
        else:
            yield from self._reader.fetch(path, max_bytes)

    def close(self) -> None:
        """See ``Reader``."""
        self._reader.close()


def _check_metadata(reader: Reader, pinned: bytes, now: datetime) -> None:
    """Every signed file that is retained, also those that only readers of older states want.

    Raises:
        IncompleteError, Tampered: one is missing, or does not go with what is here already.
    """
    strict = StrictMetadata(reader, pinned)
    strict.check(now)
    for finding in sorted(strict.findings):
        text = f"{reader.name}: {finding.path}: {finding.reason or finding.problem}"
        if finding.problem == "missing":
            raise IncompleteError(text)
        raise Tampered(f"{text}; nothing was imported")


def _span(project: Project, elsewhere: RemoteNodes, name: str, head: SignedHead) -> Span:
    """The revisions that are retained and not here.

    Raises:
        Equivocation: one has a number that is here already: the history was forked.
    """
    missing: list[tuple[Descriptor, CatalogRoot]] = []
    at = head.at
    ours = project.signed_head_or_none()
    known = project.store.has_root(at)
    while not known:
        root: CatalogRoot = elsewhere.get(at.digest, at.size, CatalogRoot)
        if ours is not None and at == ours.at:
            ours = None  # from here on it is our own history, of which files are missing
        if ours is not None and root.revision <= ours.revision:
            raise Equivocation(
                f"{name}: its revision {root.revision} is another than the one that was imported "
                "before: the sender's history was forked, and nothing was imported; if the sender "
                "says so, begin with a new copy (init --follow)"
            )
        missing.append((at, root))
        if root.parent is None or root.revision <= head.kept.revision:
            break
        at = root.parent
        known = project.store.has_root(at)
    return Span(project.catalog.root(at).tree if known else EMPTY, missing[::-1])


def _bring_metadata(project: Project, reader: Reader, head: SignedHead) -> None:
    """The signed files that are retained; the timestamp comes last, and by itself."""
    folder = project.metadata.path
    folder.mkdir(parents=True, exist_ok=True)
    for role, versions in head.retained().items():
        for version in versions:
            name = f"{version}.{role}.json"
            if not (folder / name).exists():
                data = read(reader.fetch(f"{METADATA}/{name}", MAX_BYTES))
                parse_role(data, f"{reader.name}/{METADATA}/{name}")
                replace_durably(folder / name, data, project.layout.making)
