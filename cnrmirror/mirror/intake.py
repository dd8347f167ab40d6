"""Intake: what is pushed, looked into and kept in the store, before the catalog hears of it."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from cnrmirror.archive.clues import Clues
from cnrmirror.archive.facts import facts_of, flags_of, missing_dependencies, odd_keys
from cnrmirror.archive.identify import Identity, Override, identify
from cnrmirror.archive.inspect import ArchiveInfo, ArchiveReader
from cnrmirror.archive.scan import Limits
from cnrmirror.catalog.tree import Catalog
from cnrmirror.mirror.attach import attach
from cnrmirror.mirror.chunks import in_chunks
from cnrmirror.mirror.folder import keep_folder
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.repack import repack_for_helm
from cnrmirror.model.digest import CHUNK
from cnrmirror.model.documents import ArchiveFacts, Attachment, Node
from cnrmirror.model.errors import ConflictError, InputError, TooLarge
from cnrmirror.model.flags import REPEATED_KEYS, meaning_of
from cnrmirror.model.oci import HELM_PROVENANCE, MAX_PROVENANCE
from cnrmirror.model.progress import stage
from cnrmirror.objects.files import read_given, write_all
from cnrmirror.objects.store import Store

_WORTH_PROCESSES = 200
_CHUNK = 100


class How(msgspec.Struct, frozen=True):
    """How things are taken in.

    Args:
        wish: what to call them, where they do not tell themselves.
        outside: follow symlinks that lead out of a package folder, too.
        strict: refuse what is only warned of.
    """

    wish: Override
    limits: Limits
    outside: bool
    strict: bool


class Incoming(msgspec.Struct, frozen=True):
    """One archive that is in the store already, and what is to be said of it.

    Its ``info.telling`` and ``info.clues`` are empty: they were looked at.
    """

    where: str
    identity: Identity
    info: ArchiveInfo
    facts: ArchiveFacts | None = None
    warnings: list[str] = []
    attachments: list[Attachment] = []


class Refusal(NamedTuple):
    """Something that is not taken, and why."""

    where: str
    error: InputError | ConflictError


def take_all(project: Project, found: Sequence[Path], how: How) -> Iterator[Incoming | Refusal]:
    """Everything that was found, in its order; one that is bad stops no other.

    Raises:
        StorageError: the disk refuses.
    """
    catalog, tree = project.catalog, project.tree()
    with stage(project.progress, "Reading archives", len(found)) as progress:
        one = functools.partial(_take, catalog, tree, how)
        some = functools.partial(_take_some, project.store, tree, how)
        for each in in_chunks(found, one, some, progress, _WORTH_PROCESSES, _CHUNK):
            if isinstance(each, Incoming):
                project.store.arrived(each.info.blob)
            yield each


def _take_some(
    store: Store, tree: Node, how: How, paths: Sequence[Path]
) -> list[Incoming | Refusal]:
    catalog = Catalog(store)
    return [_take(catalog, tree, how, path) for path in paths]


def _take(catalog: Catalog, tree: Node, how: How, path: Path) -> Incoming | Refusal:
    where = str(path)
    try:
        if path.is_dir():
            identity, info = keep_folder(catalog, tree, path, how.wish, how.limits, how.outside)
        else:
            info = _take_file(catalog.store, path, how.limits)
            identity = identify(info.telling, path, how.wish)
        item = looked_into(where, identity, info)
        belongs = [*repack_for_helm(catalog.store, identity.package, info, item.info.flags),
                   *_provenance_beside(catalog.store, path, identity)]  # fmt: skip
        item = msgspec.structs.replace(item, attachments=belongs)
        if how.strict and item.warnings:
            raise InputError(f"--strict: {'; '.join(item.warnings)}")
        return item
    except InputError as error:
        if isinstance(error, TooLarge) and "limit" in error.details:
            error.message += " in mirror.yaml: raise it there if you trust this package"
        if not error.message.startswith(where):
            error.message = f"{where}: {error.message}"
        error.args = (error.message,)
        return Refusal(where, error)


def _provenance_beside(store: Store, path: Path, identity: Identity) -> list[Attachment]:
    """The ``.prov`` file of a chart, which lies beside its archive. Raises InputError, TooLarge."""
    beside = path.with_name(f"{path.name}.prov")
    if identity.media_type != "helm" or path.is_dir() or not beside.is_file():
        return []
    data = read_given(beside, MAX_PROVENANCE, "; no provenance file is so large")
    return [attach(store, HELM_PROVENANCE, data)]


def looked_into(where: str, identity: Identity, info: ArchiveInfo) -> Incoming:
    """What is to be said of an archive: its facts, what is odd about it, what to warn of."""
    facts = facts_of(info.telling, info.clues)
    flags = flags_of(info, identity.media_type)
    warnings = [
        meaning_of(flag) + (f": {', '.join(odd_keys(info.telling))}" * (flag == REPEATED_KEYS))
        for flag in flags
    ]
    if missing := missing_dependencies(facts, info.subcharts):
        warnings.append(
            f"its charts/ lacks {', '.join(missing)}, which its Chart.yaml declares; run "
            "'helm dependency build' first"
        )
    slim = msgspec.structs.replace(info, flags=tuple(flags), telling={}, clues=Clues())
    return Incoming(where, identity, slim, facts, warnings)


def _take_file(store: Store, path: Path, limits: Limits) -> ArchiveInfo:
    try:
        stream = path.open("rb", buffering=0)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error

    def read() -> bytes:
        try:
            return stream.read(CHUNK) or b""
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error

    with stream:
        return take_stream(store, read, limits)


def take_bytes(store: Store, data: bytes, limits: Limits) -> ArchiveInfo:
    """Look into an archive that is in memory, and keep it. Raises HostileArchive, TooLarge."""
    stream = io.BytesIO(data)
    return take_stream(store, lambda: stream.read(CHUNK), limits)


def take_stream(store: Store, read: Callable[[], bytes], limits: Limits) -> ArchiveInfo:
    """Look into an archive while it is copied, and keep it: one pass, bounded memory.

    Args:
        read: the next bytes; none at the end.

    Raises:
        HostileArchive, TooLarge: as ``ArchiveReader`` does; nothing is kept.
    """
    reader = ArchiveReader(limits)
    first = read()
    reader.feed(first)
    rest = read()
    if rest:
        return _take_large(store, reader, read, [first, rest])
    info = reader.close()
    store.add_blob(info.blob, [first])
    return info


def _take_large(
    store: Store, reader: ArchiveReader, read: Callable[[], bytes], begun: list[bytes]
) -> ArchiveInfo:
    temporary = store.scratch_file("archive")
    first, rest = begun
    try:
        with open(temporary, "xb", buffering=0) as copy:
            write_all(copy.fileno(), [first])
            while rest:
                reader.feed(rest)
                write_all(copy.fileno(), [rest])
                rest = read()
        info = reader.close()
        store.adopt_blob(info.blob, temporary)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return info
