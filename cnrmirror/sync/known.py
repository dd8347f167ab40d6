"""What a sync must know of every package, kept between runs by the shards of the tree.

Each file is of one subtree, and says of which node it was made. Where the node is the same now,
nothing below it is read; elsewhere only the documents that changed. The files are a cache: what is
missing, damaged or of another form is made again from the catalog.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

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
)
from cnrmirror.objects.sealed import keep_only, read_sealed, write_sealed

SHARD = 512
"""Packages of one file, at most."""
# Raise it when a row has other fields: files of other forms are made again.
_FORM = 1


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


class Known(Mapping[str, PackageDocument]):
    """The outlines of all packages of a tree (``outlined``), in its order.

    Args:
        project: the mirror; nobody else changes it meanwhile.
        tree: the revision.
    """

    def __init__(self, project: Project, tree: Node) -> None:
        self._catalog: Catalog = project.catalog
        self._folder, self._scratch = project.layout.ledger, project.layout.making
        self._rows: dict[str, msgspec.Raw] = {}
        self._last: PackageDocument | None = None
        names = set()
        for part in self._catalog.subtrees(tree, SHARD):
            path = self._folder / f"{part.prefix or 'all'}.json"
            names.add(path.name)
            self._rows.update(self._shard(path, part))
        keep_only(self._folder, names)

    def _shard(self, path: Path, part: Subtree) -> dict[str, msgspec.Raw]:
        old = _read(path)
        if old is not None and old.node == part.digest:
            return old.rows
        refs = list(self._catalog.packages(self._catalog.subtree(part)))
        rows = self._updated(old.rows if old is not None else {}, refs)
        shard = _Shard(_FORM, part.digest, rows)
        with contextlib.suppress(OSError):  # a full disk is no reason not to go on
            write_sealed(path, msgspec.json.encode(shard), self._scratch)
        return rows

    def _updated(
        self, old: Mapping[str, msgspec.Raw], refs: list[PackageRef]
    ) -> dict[str, msgspec.Raw]:
        """The rows of these packages; only documents that changed are read."""
        same = {
            ref.name
            for ref in refs
            if ref.name in old and typed.decode(old[ref.name], _Row).digest == ref.digest
        }
        other = [ref for ref in refs if ref.name not in same]
        fresh = {
            ref.name: msgspec.Raw(msgspec.json.encode(_row(ref.digest, document)))
            for ref, document in zip(other, self._catalog.documents(other), strict=True)
        }
        return {ref.name: old[ref.name] if ref.name in same else fresh[ref.name] for ref in refs}

    def __getitem__(self, package: str) -> PackageDocument:
        if self._last is None or self._last.package != package:
            self._last = _outline(package, typed.decode(self._rows[package], _Row))
        return self._last

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _read(path: Path) -> _Shard | None:
    data = read_sealed(path)
    if data is None:
        return None
    try:
        shard = typed.decode(data, _Shard)
        for row in shard.rows.values():
            typed.decode(row, _Row)
    except msgspec.DecodeError:
        return None
    return shard if shard.form == _FORM else None
