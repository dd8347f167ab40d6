"""Push: archives and package folders into the catalog, as one revision."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from cnrmirror.archive.facts import facts_of
from cnrmirror.archive.identify import Identity, Override, find, identify
from cnrmirror.archive.inspect import ArchiveInfo, ArchiveReader
from cnrmirror.archive.scan import Limits
from cnrmirror.catalog.tree import Catalog
from cnrmirror.mirror.build import processes
from cnrmirror.mirror.folder import keep_folder
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import CHUNK, Descriptor
from cnrmirror.model.documents import (
    ArchiveFacts,
    Attachment,
    Channel,
    Content,
    Node,
    PackageDocument,
    Release,
    Tombstone,
    all_attachments,
)
from cnrmirror.model.errors import CnrMirrorError, InputError, ReleaseConflict, UsageError
from cnrmirror.model.names import Vendor, content_type, manifest_type, newest_first
from cnrmirror.model.progress import stage
from cnrmirror.objects.files import read_given, write_all
from cnrmirror.objects.store import Store

_WORTH_PROCESSES = 200
_CHUNK = 100


class Incoming(msgspec.Struct, frozen=True):
    """One archive that is in the store already, and what is to be said of it."""

    where: str
    identity: Identity
    info: ArchiveInfo
    metadata: msgspec.Raw
    facts: ArchiveFacts | None = None
    attachments: list[Attachment] = []


Outcome = Literal["new", "replaced", "attached", "unchanged"]


class Pushed(msgspec.Struct, frozen=True):
    """What became of one archive."""

    identity: Identity
    digest: str
    size: int
    outcome: Outcome
    flags: tuple[str, ...]


class Report(msgspec.Struct, frozen=True):
    """What a push did; ``revision`` is None if nothing changed."""

    revision: int | None
    pushed: list[Pushed]


def push(
    project: Project,
    paths: Sequence[Path],
    wish: Override,
    now: str,
    channels: Sequence[str] = (),
    metadata: msgspec.Raw = msgspec.Raw(b"null"),
    accept: bool = False,
    attached: Sequence[tuple[str, Path]] = (),
    outside: bool = False,
) -> Report:
    """Put everything at ``paths`` into the mirror: all of it as one revision, or nothing.

    Args:
        wish: what to call it, where it does not tell itself.
        now: the time of the push, ISO 8601, UTC without an offset (as the registry writes it).
        channels: names to point at the highest release that is pushed of each package.
        accept: let a release that is there already be replaced by one of other content.
        attached: media types and files of what belongs to the one release that is pushed.
        outside: follow symlinks that lead out of a package folder, too.

    Raises:
        InputError: a path that is no package, or a hostile archive.
        TooLarge: a file to be attached is larger than an archive may be, or there are too many.
        ReleaseConflict: a release is there with another digest.
        UsageError: several packages, and one name and release for all of them.
    """
    found = [p for path in paths for p in find(path)]
    if len(found) > 1 and wish.package and wish.release:
        raise UsageError(f"{len(found)} packages cannot all be {wish.package}@{wish.release}")
    if len(found) > 1 and attached:
        raise UsageError(f"attachments belong to one release, and these are {len(found)} packages")
    with project.signing():
        incoming = list(_take_all(project, found, wish, metadata, outside))
        if attached:
            files = all_attachments(_attachment(project, kind, path) for kind, path in attached)
            incoming = [msgspec.structs.replace(incoming[0], attachments=files)]
        return adopt(project, incoming, now, channels, accept, f"push {_what(incoming)}")


def push_blob(
    project: Project, data: bytes, identity: Identity, metadata: msgspec.Raw, now: str, force: bool
) -> Report:
    """Put one archive given as bytes, as the registry's POST does.

    Raises:
        ReleaseConflict: the release is there, whatever its digest, and ``force`` is not set.
    """
    with project.signing():
        document = project.catalog.get(project.tree(), identity.package)
        if document and document.find(identity.release, identity.media_type) and not force:
            raise ReleaseConflict(
                "Package exists already",
                package=identity.package,
                release=identity.release,
                media_type=identity.media_type,
            )
        info = _take(project.store, io.BytesIO(data), project.config.limits)
        item = Incoming("POST", identity, info, metadata, facts_of(info.telling))
        return adopt(project, [item], now, (), force, f"push {_what([item])}")


def _what(incoming: Sequence[Incoming]) -> str:
    if len(incoming) == 1:
        identity = incoming[0].identity
        return f"{identity.package}@{identity.release} ({identity.media_type})"
    return f"{len(incoming)} packages"


def adopt(
    project: Project,
    incoming: Sequence[Incoming],
    now: str,
    channels: Sequence[str],
    accept: bool,
    message: str,
) -> Report:
    """One revision out of archives that are in the store; call it while ``writing``."""
    by_package: dict[str, list[Incoming]] = {}
    for item in incoming:
        by_package.setdefault(item.identity.package, []).append(item)
    tree = project.tree()
    changed: dict[str, PackageDocument | None] = {}
    pushed: list[Pushed] = []
    for package, items in sorted(by_package.items()):
        old = project.catalog.get(tree, package) or PackageDocument(package, [])
        releases = {r.key: r for r in old.releases}
        _check_twice(items)
        for item in items:
            pushed.append(_merge(releases, item, now, accept, project.config.views.dialect))
        tombstones = [t for t in old.tombstones if (t.release, t.media_type) not in releases]
        _check_tombstones(old.tombstones, tombstones, releases, accept)
        highest = newest_first(item.identity.release for item in items)[0]
        moved = dict.fromkeys(channels, highest)
        new = msgspec.structs.replace(
            old,
            releases=list(releases.values()),
            channels=move(old.channels, moved),
            tombstones=tombstones,
        ).sorted()
        if new != old:
            changed[package] = new
    facts = {item.info.blob.digest: item.facts for item in incoming if item.facts}
    head = project.commit(changed, message, now, facts)
    return Report(head.revision if head else None, pushed)


def _check_twice(items: Sequence[Incoming]) -> None:
    """One push must not say two things of one release: which one is meant is for a person."""
    seen: dict[tuple[str, str], Incoming] = {}
    for item in items:
        key = (item.identity.release, item.identity.media_type)
        other = seen.setdefault(key, item)
        if other.info.diff_id != item.info.diff_id:
            raise ReleaseConflict(
                f"{other.where} and {item.where} are both {item.identity.package}@{key[0]} "
                f"({key[1]}), with different content: push only one of them",
                package=item.identity.package,
                release=key[0],
                media_type=key[1],
            )


def _check_tombstones(
    old: Sequence[Tombstone],
    kept: Sequence[Tombstone],
    releases: dict[tuple[str, str], Release],
    accept: bool,
) -> None:
    """Law 5 outlives a removal: a release that comes back has the digest that it had."""
    for stone in old:
        again = releases.get((stone.release, stone.media_type))
        if stone not in kept and again and again.content.digest != stone.digest and not accept:
            raise ReleaseConflict(
                f"release {stone.release} ({stone.media_type}) was removed on {stone.removed_at} "
                f"({stone.reason}) and had digest {stone.digest}, not {again.content.digest}; "
                "push a new release, or say --accept",
                release=stone.release,
                media_type=stone.media_type,
            )


def move(channels: Sequence[Channel], moved: dict[str, str]) -> list[Channel]:
    """The channels, with some of them pointing at another release now."""
    result = {c.name: c for c in channels}
    for name, release in moved.items():
        before = result[name].releases if name in result else []
        releases = newest_first(dict.fromkeys([*before, release]))
        result[name] = Channel(name, release, releases)
    return list(result.values())


def _merge(
    releases: dict[tuple[str, str], Release],
    item: Incoming,
    now: str,
    accept: bool,
    vendor: Vendor,
) -> Pushed:
    identity, info = item.identity, item.info
    old = releases.get((identity.release, identity.media_type))
    same = old is not None and old.content.digest == info.diff_id
    if old and not same and not accept:
        raise ReleaseConflict(
            f"{item.where}: {identity.package}@{identity.release} ({identity.media_type}) is there "
            f"already with digest {old.content.digest}, this one has {info.diff_id}; "
            "push it as a new release, or say --accept to replace it",
            package=identity.package,
            release=identity.release,
            media_type=identity.media_type,
        )
    metadata = item.metadata
    attachments = all_attachments(old.attachments if old and same else [], item.attachments)
    if old and same and bytes(metadata) in (b"null", bytes(old.metadata)):
        more = attachments != old.attachments
        releases[old.key] = msgspec.structs.replace(old, attachments=attachments)
        outcome: Outcome = "attached" if more else "unchanged"
        return Pushed(identity, info.diff_id, old.content.size, outcome, info.flags)
    if old and same and not accept:
        raise ReleaseConflict(
            f"{item.where}: {identity.package}@{identity.release} is there with other metadata; "
            "say --accept to replace it",
            package=identity.package,
            release=identity.release,
        )
    content = Content(info.diff_id, content_type(identity.media_type, vendor), info.blob.size)
    releases[(identity.release, identity.media_type)] = Release(
        identity.release,
        identity.media_type,
        now,
        manifest_type(identity.media_type, vendor),
        content,
        info.blob,
        metadata,
        flags=list(info.flags),
        attachments=attachments,
    )
    outcome = "replaced" if old else "new"
    return Pushed(identity, info.diff_id, info.blob.size, outcome, info.flags)


def _take_all(
    project: Project,
    found: Sequence[Path],
    wish: Override,
    metadata: msgspec.Raw,
    outside: bool,
) -> Iterator[Incoming]:
    limits = project.config.limits
    tree = project.tree()
    with stage(project.progress, "Reading archives", len(found)) as progress:
        if len(found) < _WORTH_PROCESSES:
            for path in found:
                yield _take_path(project.catalog, tree, path, wish, metadata, limits, outside)
                progress.advance()
            return
        chunks = [found[i : i + _CHUNK] for i in range(0, len(found), _CHUNK)]
        root, scratch = project.store.root, project.layout.making
        with processes() as pool:
            jobs = [
                pool.submit(
                    _take_some, root, scratch, tree, chunk, wish, bytes(metadata), limits, outside
                )
                for chunk in chunks
            ]
            try:
                for job, chunk in zip(jobs, chunks, strict=True):
                    for where, identity, info, facts in job.result():
                        yield Incoming(where, identity, info, metadata, facts)
                    progress.advance(len(chunk))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _take_some(
    root: Path,
    scratch: Path,
    tree: Node,
    paths: Iterable[Path],
    wish: Override,
    metadata: bytes,
    limits: Limits,
    outside: bool,
) -> list[tuple[str, Identity, ArchiveInfo, ArchiveFacts | None]]:
    catalog = Catalog(Store(root, scratch))
    result = []
    for path in paths:
        item = _take_path(catalog, tree, path, wish, msgspec.Raw(metadata), limits, outside)
        slim = msgspec.structs.replace(item.info, telling={})
        result.append((item.where, item.identity, slim, item.facts))
    return result


def _take_path(
    catalog: Catalog,
    tree: Node,
    path: Path,
    wish: Override,
    metadata: msgspec.Raw,
    limits: Limits,
    outside: bool,
) -> Incoming:
    try:
        if path.is_dir():
            identity, info = keep_folder(catalog, tree, path, wish, limits, outside)
        else:
            info = _take_file(catalog.store, path, limits)
            identity = identify(info.telling, path, wish)
    except CnrMirrorError as error:
        if not error.message.startswith(str(path)):
            error.args = (f"{path}: {error.message}",)
            error.message = f"{path}: {error.message}"
        raise
    return Incoming(str(path), identity, info, metadata, facts_of(info.telling))


def _attachment(project: Project, media_type: str, path: Path) -> Attachment:
    """Keep a file that belongs to a release. Raises InputError, TooLarge."""
    data = read_given(path, project.config.limits.packed, "; see limits.packed")
    blob = Descriptor.of(data)
    project.store.add_blob(blob, [data])
    return Attachment(media_type, blob.digest, blob.size)


def _take_file(store: Store, path: Path, limits: Limits) -> ArchiveInfo:
    try:
        stream = path.open("rb", buffering=0)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    with stream:
        return _take(store, stream, limits)


def _take(store: Store, stream: io.RawIOBase | io.BytesIO, limits: Limits) -> ArchiveInfo:
    """Look into an archive while it is copied, and keep it: one pass, bounded memory."""
    reader = ArchiveReader(limits)
    first = stream.read(CHUNK) or b""
    reader.feed(first)
    rest = stream.read(CHUNK) or b""
    if rest:
        return _take_large(store, reader, stream, first, rest)
    info = reader.close()
    store.add_blob(info.blob, [first])
    return info


def _take_large(
    store: Store,
    reader: ArchiveReader,
    stream: io.RawIOBase | io.BytesIO,
    first: bytes,
    rest: bytes,
) -> ArchiveInfo:
    temporary = store.scratch_file("archive")
    with open(temporary, "xb", buffering=0) as copy:
        write_all(copy.fileno(), [first])
        while rest:
            reader.feed(rest)
            write_all(copy.fileno(), [rest])
            rest = stream.read(CHUNK) or b""
    info = reader.close()
    store.adopt_blob(info.blob, temporary)
    return info
