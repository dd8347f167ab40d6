"""Merge two catalogs that diverged from a common revision.

What the other one published is brought in, our own changes are made again on top of it, and the
result is a revision after both. Nothing is decided here: what both changed differently is a
conflict, and nothing is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from cnrmirror.catalog.delta import Span, bring
from cnrmirror.catalog.nodes import LayeredNodes, RemoteNodes
from cnrmirror.catalog.tree import EMPTY, CatalogReader
from cnrmirror.client.remote import Remote
from cnrmirror.mirror.project import Project, newest_upstreams
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import (
    ArchiveFacts,
    CatalogRoot,
    Channel,
    Head,
    PackageDocument,
    Release,
    Tombstone,
    all_attachments,
)
from cnrmirror.model.errors import ConflictError, IncompleteError
from cnrmirror.model.format import newest, require_writable
from cnrmirror.model.signed import MAX_BYTES, METADATA, SignedHead
from cnrmirror.objects.base import Reader, read
from cnrmirror.objects.files import replace_durably

T = TypeVar("T")


def merge(
    project: Project, remote: Remote, nodes: RemoteNodes | LayeredNodes, above: SignedHead, now: str
) -> Head:
    """Make the mirror's current revision one that has theirs and ours, signed above theirs.

    Only what brings something is a new revision. Where one of the two has all that the other has,
    that one is signed; of two with the same packages the one with the higher number, so that
    mirrors that publish in turns come to an end.

    Args:
        remote: the other mirror, verified.
        nodes: reads its documents.
        above: what it stands at; the new revision's files get higher versions.

    Raises:
        ConflictError: a release, channel or removal that both changed.
    """
    with project.signing(now):
        require_writable(remote.verified.root.format, remote.reader.name)
        ours, theirs = project.head().catalog, remote.verified.at
        known = {at.digest for at, _ in project.catalog.history(ours)}
        known |= project.lineage.of(ours.digest)
        since: list[tuple[Descriptor, CatalogRoot]] = []
        base = None
        for at, root in CatalogReader(nodes).history(theirs):
            if at.digest in known:
                base = root
                break
            since.append((at, root))
        if base is not None and not since:  # they stand at what we came from
            head = _sign(project, project.head(), above, now)
        else:
            keeping = LayeredNodes(project.store, nodes, keep=True)
            everything = Span(EMPTY, [], remote.verified.root.tree)
            span = Span(base.tree, since[::-1]) if base else everything
            bring(span, keeping, remote.blob, project.progress)
            head = _joined(project, remote, CatalogReader(keeping), base, above, now)
        project.lineage.join(head.catalog.digest, [at.digest for at, _ in reversed(since)])
        take_superseded(project, remote.reader, above)
        return head


def _sign(project: Project, head: Head, above: SignedHead, now: str) -> Head:
    """Sign a revision that is there, ours or theirs, as the current one."""
    assert project.signer is not None
    before = project.head().catalog.digest
    project.signer.sign_revision(head, now, above)
    if head.catalog.digest != before:
        project.lineage.add(head.catalog.digest, before)
    project.builder.bring_up(head)
    return head


def _joined(
    project: Project, remote: Remote, reader: CatalogReader, base: CatalogRoot | None,
    above: SignedHead, now: str,
) -> Head:  # fmt: skip
    """Our changes since ``base``, made again on top of their revision.

    Where nobody knows a common revision any more, everything is compared.
    """
    ours, theirs = project.root(), remote.verified.root
    changes = {}
    for difference in reader.diff(base.tree if base else EMPTY, ours.tree):
        name = difference.name
        documents = reader.get(ours.tree, name), reader.get(theirs.tree, name)
        if base is None:
            changes[name] = joined(name, *documents)
        else:
            changes[name] = merged(name, reader.get(base.tree, name), *documents)
    # With the facts of both sides: a merge keeps those of the higher extractor.
    refs = {
        name: project.put(document, theirs.tree, _facts(reader, ours, name))
        for name, document in changes.items()
    }
    tree = project.catalog.change(theirs.tree, refs)
    both = (
        tree, newest(ours.format, theirs.format),
        newest_upstreams(ours.upstreams, theirs.upstreams),
    )  # fmt: skip
    mine, other = project.head(), Head(remote.verified.at, theirs.revision)
    if (theirs.tree, theirs.format, theirs.upstreams) == both:
        if _order(other) > _order(mine):
            return _sign(project, other, above, now)
        if (ours.tree, ours.format, ours.upstreams) == both:
            return _sign(project, mine, above, now)
    return project.commit_after(
        tree,
        (remote.verified.at, theirs),
        max(ours.revision, theirs.revision) + 1,
        f"merge with revision {theirs.revision} of {remote.reader.name}",
        now,
        above,
    )


def _facts(reader: CatalogReader, root: CatalogRoot, name: str) -> dict[str, ArchiveFacts]:
    document = reader.get(root.tree, name)
    return reader.facts(document) if document else {}


def _order(head: Head) -> tuple[int, str]:
    return head.revision, head.catalog.digest


def take_superseded(project: Project, reader: Reader, above: SignedHead) -> None:
    """Superseded files as they are there, in the place of ours that nobody has seen.

    Args:
        above: what stands there, above which ours is signed.
    """
    retained = above.retained()
    for role in ("catalog", "snapshot"):
        for version in reversed(retained[role]):
            name = f"{version}.{role}.json"
            path = project.metadata.path / name
            try:
                data = read(reader.fetch(f"{METADATA}/{name}", MAX_BYTES))
            except IncompleteError:
                break  # not kept any more
            if path.exists() and path.read_bytes() == data:
                break  # from here on, both have one history
            replace_durably(path, data, project.layout.making)


def merged(
    name: str,
    base: PackageDocument | None,
    ours: PackageDocument | None,
    theirs: PackageDocument | None,
) -> PackageDocument:
    """One package of three: what only one side changed is as that side has it.

    Raises:
        ConflictError: both changed the same release or channel, differently.
    """

    def parts(pick: Callable[[PackageDocument], dict[Any, T]]) -> dict[Any, T]:
        found = [pick(document) if document else {} for document in (base, ours, theirs)]
        return _three_way(name, *found)

    def releases(document: PackageDocument) -> dict[Any, Release]:
        return {r.key: r for r in document.releases}

    def channels(document: PackageDocument) -> dict[Any, Channel]:
        return {c.name: c for c in document.channels}

    def tombstones(document: PackageDocument) -> dict[Any, Tombstone]:
        return {(t.release, t.media_type): t for t in document.tombstones}

    kept = parts(releases)
    known = {release for release, _ in kept}
    before = channels(base) if base else {}
    pointing = parts(channels)
    for channel in pointing.values():
        if channel.current not in known and before.get(channel.name) != channel:
            raise ConflictError(
                f"{name}: one mirror set channel {channel.name} to {channel.current}, the other "
                "removed that release: decide in one of them, and publish again"
            )
    result = PackageDocument(
        name,
        list(kept.values()),
        [c for c in pointing.values() if c.current in known],
        [t for key, t in parts(tombstones).items() if key not in kept],
    )
    return result.sorted()


def joined(
    name: str, ours: PackageDocument | None, theirs: PackageDocument | None
) -> PackageDocument:
    """One package of two of which nobody knows what they were before.

    A removal counts: its tombstone says that the other one has not heard of it. Of a channel that
    points at two releases, the one whose history has the other counts, or else ours.

    Raises:
        ConflictError: one release with two contents.
    """
    documents = [document for document in (theirs, ours) if document]
    removed = {
        (stone.release, stone.media_type, stone.digest): stone.removed_at
        for document in documents
        for stone in document.tombstones
    }

    def alive(document: PackageDocument | None) -> PackageDocument | None:
        """What was not removed since, without what is joined by itself."""
        if document is None:
            return None
        left = [r for r in document.releases
                if r.created_at > removed.get((*r.key, r.content.digest), "")]  # fmt: skip
        return PackageDocument(name, left)

    channels = {c.name: c for c in theirs.channels} if theirs else {}
    for channel in ours.channels if ours else []:
        other = channels.get(channel.name)
        ahead = other is not None and channel.current in other.releases
        behind = other is not None and other.current in channel.releases
        if behind or not ahead:
            channels[channel.name] = channel
    releases = merged(name, None, alive(ours), alive(theirs)).releases
    known = {release.release for release in releases}
    there = {release.key for release in releases}
    stones = {(t.release, t.media_type): t for d in documents for t in d.tombstones}
    return PackageDocument(
        name,
        releases,
        [channel for channel in channels.values() if channel.current in known],
        [stone for key, stone in stones.items() if key not in there],
    ).sorted()


def _three_way(
    name: str, base: dict[Any, T], ours: dict[Any, T], theirs: dict[Any, T]
) -> dict[Any, T]:
    result = {}
    for key in sorted(base.keys() | ours.keys() | theirs.keys()):
        before, mine, other = base.get(key), ours.get(key), theirs.get(key)
        if other in (before, mine):
            chosen = mine
        elif mine == before:
            chosen = other
        else:
            chosen = _joined_part(mine, other)
            if chosen is None:
                raise ConflictError(
                    f"{name}: both mirrors changed {_called(key)}: decide in one of them, for "
                    "example with 'cnrmirror remove' or 'channel set', and publish again"
                )
        if chosen is not None:
            result[key] = chosen
    return result


def _joined_part(mine: T | None, other: T | None) -> T | None:
    """One release pushed to both, or removed from both: as it is there, with what both know of it.

    None if they differ in more than that.
    """
    if isinstance(mine, Tombstone) and isinstance(other, Tombstone):
        return other
    if isinstance(mine, Release) and isinstance(other, Release):
        attachments = all_attachments(other.attachments, mine.attachments)
        like_mine = msgspec.structs.replace(
            other, created_at=mine.created_at, origin=mine.origin, attachments=mine.attachments
        )
        if like_mine == mine:
            return msgspec.structs.replace(other, attachments=attachments)
    return None


def _called(key: Any) -> str:
    return f"release {key[0]} ({key[1]})" if isinstance(key, tuple) else f"channel {key}"
