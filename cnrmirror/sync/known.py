"""What a sync must know of every package, kept between runs by the shards of the tree.

Each file is of one subtree, and says of which node it was made. Where the node is the same now,
nothing below it is read; elsewhere only the documents that changed. One more file, the index, has
the sums of each: so a file is read only if somebody asks for a package in it. The files are a
cache: what is missing, damaged or of another form is made again from the catalog.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from cnrmirror.catalog.tree import Catalog, Subtree
from cnrmirror.mirror.project import Project
from cnrmirror.model import typed
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import (
    Attachment,
    Channel,
    Content,
    Node,
    PackageDocument,
    PackageRef,
    Release,
    Tombstone,
    name_digest,
)
from cnrmirror.objects.sealed import keep_only, read_sealed, write_sealed

SHARD = 512
"""Packages of one file, at most."""
# Raise it when a row or a sum has other fields: files of other forms are made again.
_FORM = 2
_INDEX = "index.json"


class _KeptRelease(msgspec.Struct, frozen=True, array_like=True):
    release: str
    media_type: str
    origin: str
    content: str
    blob: Descriptor
    attachments: list[Attachment] = []


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """A package; ``digest`` is that of its document."""

    digest: str
    releases: list[_KeptRelease]
    channels: list[Channel]
    tombstones: list[Tombstone]


class Sums(msgspec.Struct, frozen=True, array_like=True):
    """What can be said of many packages without their rows.

    ``origins``: how many releases are from each source; ``signed``: how many of them carry a
    signature, by its kind.
    """

    origins: dict[str, int] = {}
    signed: dict[str, dict[str, int]] = {}


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    node: str
    sums: Sums


class _Index(msgspec.Struct, frozen=True):
    form: int
    shards: dict[str, _Entry]


class _Shard(msgspec.Struct, frozen=True):
    form: int
    node: str
    rows: dict[str, msgspec.Raw]


def outlined(document: PackageDocument) -> PackageDocument:
    """A document with only what a plan looks at.

    Of releases: what they are, from where, their digests and attachments. Channels and tombstones
    are whole; there are no facts.
    """
    return _outline(document.package, _row("", document))


def _row(digest: str, document: PackageDocument) -> _Row:
    kept = [
        _KeptRelease(r.release, r.media_type, r.origin, r.content.digest, r.blob, r.attachments)
        for r in document.releases
    ]
    return _Row(digest, kept, document.channels, document.tombstones)


def _outline(package: str, row: _Row) -> PackageDocument:
    releases = [
        Release(
            r.release, r.media_type, "", "", Content(r.content, "", 0), r.blob, origin=r.origin,
            attachments=r.attachments,
        )
        for r in row.releases
    ]  # fmt: skip
    return PackageDocument(package, releases, row.channels, row.tombstones)


def sums_of(outlines: Iterable[PackageDocument]) -> Sums:
    """The sums of some packages."""
    origins: Counter[str] = Counter()
    signed: dict[str, Counter[str]] = {}
    for outline in outlines:
        for release in outline.releases:
            origins[release.origin] += 1
            for kind in release.signatures:
                signed.setdefault(release.origin, Counter())[kind] += 1
    return Sums(dict(origins), {origin: dict(kinds) for origin, kinds in signed.items()})


class Known(Mapping[str, PackageDocument]):
    """The outlines of all packages of a tree (``outlined``), in its order.

    What changed since the last run is read at once; of the rest, the parts that are asked for.

    Args:
        project: the mirror; nobody else changes it meanwhile.
        tree: the revision.
    """

    def __init__(self, project: Project, tree: Node) -> None:
        self._catalog: Catalog = project.catalog
        self._folder, self._scratch = project.layout.ledger, project.layout.making
        self._rows: dict[str, dict[str, msgspec.Raw]] = {}
        self._last: PackageDocument | None = None
        self._parts = {part.prefix: part for part in self._catalog.subtrees(tree, SHARD)}
        self._lengths = sorted({len(prefix) for prefix in self._parts})
        before = self._index()
        self._entries = {
            prefix: entry
            if (entry := before.get(prefix)) is not None and entry.node == part.digest
            else _Entry(part.digest, sums_of(self._outlines(prefix)))
            for prefix, part in self._parts.items()
        }
        if self._entries != before:
            self._write(self._folder / _INDEX, _Index(_FORM, self._entries))
            keep_only(self._folder, {_INDEX, *(self._path(prefix).name for prefix in self._parts)})

    def _path(self, prefix: str) -> Path:
        return self._folder / f"{prefix or 'all'}.json"

    def _index(self) -> dict[str, _Entry]:
        index = _read(self._folder / _INDEX, _Index)
        return index.shards if index is not None else {}

    def _write(self, path: Path, body: _Index | _Shard) -> None:
        with contextlib.suppress(OSError):  # a full disk is no reason not to go on
            write_sealed(path, msgspec.json.encode(body), self._scratch)

    # -- the rows of a part, read when they are asked for --

    def _shard(self, prefix: str) -> dict[str, msgspec.Raw]:
        rows = self._rows.get(prefix)
        if rows is None:
            rows = self._rows[prefix] = self._read(self._parts[prefix])
        return rows

    def _read(self, part: Subtree) -> dict[str, msgspec.Raw]:
        path = self._path(part.prefix)
        old = _read(path, _Shard)
        if old is not None and old.node == part.digest:
            return old.rows
        refs = list(self._catalog.packages(self._catalog.subtree(part)))
        rows = self._updated(old.rows if old is not None else {}, refs)
        self._write(path, _Shard(_FORM, part.digest, rows))
        return rows

    def _updated(
        self, old: Mapping[str, msgspec.Raw], refs: list[PackageRef]
    ) -> dict[str, msgspec.Raw]:
        """The rows of these packages; only documents that changed are read."""
        same = {ref.name for ref in refs if ref.name in old and _is_of(old[ref.name], ref)}
        other = [ref for ref in refs if ref.name not in same]
        fresh = {
            ref.name: msgspec.Raw(msgspec.json.encode(_row(ref.digest, document)))
            for ref, document in zip(other, self._catalog.documents(other), strict=True)
        }
        return {ref.name: old[ref.name] if ref.name in same else fresh[ref.name] for ref in refs}

    def _outlines(self, prefix: str) -> Iterator[PackageDocument]:
        for package, row in self._shard(prefix).items():
            yield _outline(package, typed.decode(row, _Row))

    def _row_of(self, package: str) -> msgspec.Raw | None:
        digits = name_digest(package)
        for length in self._lengths:
            if digits[:length] in self._parts:
                return self._shard(digits[:length]).get(package)
        return None

    # -- all of them --

    def count(self, origin: str) -> int:
        """How many releases are from a source."""
        return sum(entry.sums.origins.get(origin, 0) for entry in self._entries.values())

    def signed(self, origin: str) -> Counter[str]:
        """How many releases of a source carry a signature, by its kind."""
        found: Counter[str] = Counter()
        for entry in self._entries.values():
            found.update(entry.sums.signed.get(origin, {}))
        return found

    def owned(self, origin: str) -> Iterator[tuple[str, str, str]]:
        """Package, release and media type of all that is from a source."""
        for prefix, entry in self._entries.items():
            if origin in entry.sums.origins:
                for outline in self._outlines(prefix):
                    yield from owned_in(outline, origin)

    def __getitem__(self, package: str) -> PackageDocument:
        if self._last is None or self._last.package != package:
            row = self._row_of(package)
            if row is None:
                raise KeyError(package)
            self._last = _outline(package, typed.decode(row, _Row))
        return self._last

    def __contains__(self, package: object) -> bool:
        return isinstance(package, str) and self._row_of(package) is not None

    def __iter__(self) -> Iterator[str]:
        for prefix in self._parts:
            yield from self._shard(prefix)

    def __len__(self) -> int:
        return sum(len(self._shard(prefix)) for prefix in self._parts)


def owned_in(outline: PackageDocument, origin: str) -> Iterator[tuple[str, str, str]]:
    """Package, release and media type of what is from a source in a package."""
    for release in outline.releases:
        if release.origin == origin:
            yield outline.package, release.release, sys.intern(release.media_type)


def _is_of(row: msgspec.Raw, ref: PackageRef) -> bool:
    try:
        return typed.decode(row, _Row).digest == ref.digest
    except msgspec.DecodeError:
        return False


F = TypeVar("F", _Index, _Shard)


def _read(path: Path, kind: type[F]) -> F | None:
    data = read_sealed(path)
    if data is None:
        return None
    try:
        found = typed.decode(data, kind)
    except msgspec.DecodeError:
        return None
    return found if found.form == _FORM else None
