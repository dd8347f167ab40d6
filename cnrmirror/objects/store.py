"""The catalog's bytes on disk: blobs and nodes, each under its own sha256.

::

    root/blobs/sha256/ab/HEX    package archives
    root/nodes/sha256/ab/HEX    canonical JSON documents
    root/targets/HEX.catalog.json    catalog roots, named as the signed metadata wants it

Files here never change. They appear by rename, so one that is there is whole; whether its bytes
are still right is checked whenever a node is read, and for all by ``cnrmirror check``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import msgspec

from cnrmirror.model.canonical import decode, encode
from cnrmirror.model.digest import HEX64, Descriptor, verified
from cnrmirror.model.documents import CatalogRoot
from cnrmirror.model.errors import DamageError, DigestMismatch
from cnrmirror.objects.files import write_new

D = TypeVar("D", bound=msgspec.Struct)


class Named(Protocol):
    """What names a node: its digest, and how many bytes it has."""

    @property
    def digest(self) -> str:
        """The sha256 of its bytes, in hex digits."""

    @property
    def size(self) -> int:
        """How many bytes it has."""


N = TypeVar("N", bound=Named)


class Store:
    """Blobs and nodes below ``root``; ``scratch`` is for files in the making, same file system.

    What is not there is read from the store ``beneath``, in which nothing is written.
    """

    def __init__(self, root: Path, scratch: Path, beneath: Store | None = None) -> None:
        self.root = root
        self._beneath = beneath
        self._blobs = f"{root}/blobs/sha256/"
        self._nodes = f"{root}/nodes/sha256/"
        self._scratch = str(scratch)
        self._folders: set[str] = set()

    def blob_path(self, digest: str) -> str:
        """Where the blob of this digest is, or would be."""
        return f"{self._blobs}{digest[:2]}/{digest}"

    def node_path(self, digest: str) -> str:
        """Where the node of this digest is, or would be."""
        return f"{self._nodes}{digest[:2]}/{digest}"

    def root_path(self, digest: str) -> str:
        """Where the catalog root of this digest is, or would be."""
        return f"{self.root}/targets/{digest}.catalog.json"

    def _path(self, kind: object, digest: str) -> str:
        return self.root_path(digest) if kind is CatalogRoot else self.node_path(digest)

    def has_root(self, root: Descriptor) -> bool:
        """Whether this catalog root is kept (its bytes are not read)."""
        here = os.path.exists(self.root_path(root.digest))
        return here or bool(self._beneath and self._beneath.has_root(root))

    def has_blob(self, blob: Descriptor) -> bool:
        """Whether a blob of this digest and size is there (its bytes are not read)."""
        try:
            return os.stat(self.blob_path(blob.digest)).st_size == blob.size
        except FileNotFoundError:
            return bool(self._beneath and self._beneath.has_blob(blob))

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """The blob, open at its beginning.

        Raises:
            DamageError: it is missing, or not of the size that it must have.
        """
        path = self.blob_path(blob.digest)
        try:
            stream = open(path, "rb")
        except FileNotFoundError:
            if self._beneath:
                return self._beneath.open_blob(blob)
            raise DamageError(f"{path}: this blob is missing; restore it from a copy") from None
        except IsADirectoryError:
            raise DamageError(f"{path}: a folder is in this blob's place; restore it") from None
        if os.fstat(stream.fileno()).st_size != blob.size:
            stream.close()
            raise DamageError(f"{path}: this blob is not {blob.size} bytes long; restore it")
        return stream

    def add_blob(self, blob: Descriptor, chunks: Iterable[bytes]) -> None:
        """Keep a blob whose chunks are known to be of this digest; nothing to do if it is there."""
        if not self._is_whole(blob):
            self._add(self.blob_path(blob.digest), chunks)

    def _is_whole(self, blob: Descriptor) -> bool:
        """Whether the blob is there with its own bytes: a damaged one is to be replaced."""
        try:
            with open(self.blob_path(blob.digest), "rb") as stream:
                for _ in verified(stream, blob, ""):
                    pass
        except (FileNotFoundError, DigestMismatch):
            return False
        return True

    def adopt_blob(self, blob: Descriptor, path: str) -> None:
        """Keep a scratch file as a blob (it is moved)."""
        if self._is_whole(blob):
            os.unlink(path)
            return
        target = self.blob_path(blob.digest)
        self._folder(target)
        os.rename(path, target)

    def announce(self) -> None:
        """Let others know that archives come which no revision needs yet: here, nobody."""

    def holds(self, blobs: Iterable[Descriptor]) -> bool:
        """Whether blobs that another process of this run has put there are there."""
        return all(map(self.has_blob, blobs))

    def arrived(self, blob: Descriptor) -> None:
        """Another process kept a blob here: nothing has to be done."""

    def scratch_file(self, name: str) -> str:
        """A path for a file in the making that no other process uses."""
        path = f"{self._scratch}/{os.getpid()}.{name}"
        if os.path.lexists(path):
            os.unlink(path)
        return path

    def put(self, document: msgspec.Struct) -> Descriptor:
        """Keep a document as a node; its descriptor. Writes nothing if it is there already.

        Raises:
            TooLarge, InvalidDocument: it has more, or longer texts, than a document may have.
        """
        data = encode(document)
        # What could not be read back must never be signed.
        decode(data, type(document), type(document).__name__.lower())
        node = Descriptor.of(data)
        path = self._path(type(document), node.digest)
        try:
            if os.stat(path).st_size == node.size:
                return node
        except FileNotFoundError:
            pass
        self._add(path, [data])
        return node

    def restore(self, kind: object, digest: str, data: bytes) -> None:
        """Keep the bytes of a document that is missing or damaged here, as they are.

        They are known to have this digest. What lies in their place is replaced.
        """
        self._add(self._path(kind, digest), [data])

    def get(self, digest: str, size: int, kind: type[D] | Any) -> D:
        """The document of this digest.

        Raises:
            DamageError: missing or not the bytes that the digest names.
            InvalidDocument: not a document of this kind.
        """
        document: D = decode(self.data(digest, size, kind), kind, self._path(kind, digest))
        return document

    def data(self, digest: str, size: int, kind: object) -> bytes:
        """The bytes of a document. Raises DamageError: missing, or not what the digest names."""
        path = self._path(kind, digest)
        try:
            with open(path, "rb", buffering=0) as stream:
                data = stream.read(size + 1)
        except FileNotFoundError:
            if self._beneath:
                return self._beneath.data(digest, size, kind)
            raise DamageError(f"{path}: this node is missing; restore it from a copy") from None
        return Descriptor(digest, size).check(data, path)

    def ahead(self, nodes: Iterable[N]) -> Iterable[N]:
        """The same nodes: they are here, when their turn comes to be read."""
        return nodes

    def walk(self, what: str) -> Iterator[tuple[str, str, os.stat_result]]:
        """Every file below ``blobs``, ``nodes`` or ``targets`` as (path, digest, stat), sorted.

        The digest is "" for a file whose name is not one, or that lies in the wrong folder.
        """
        base = self.root / what if what == "targets" else self.root / what / "sha256"
        if not base.is_dir():
            return
        for entry in sorted(os.scandir(base), key=lambda e: e.name):
            if what != "targets" and entry.is_dir(follow_symlinks=False):
                for inner in sorted(os.scandir(entry), key=lambda e: e.name):
                    good = HEX64.fullmatch(inner.name) and inner.name.startswith(entry.name)
                    digest = inner.name if good else ""
                    yield inner.path, digest, inner.stat(follow_symlinks=False)
            else:
                digest = entry.name.removesuffix(".catalog.json") if what == "targets" else ""
                digest = digest if HEX64.fullmatch(digest) else ""
                yield entry.path, digest, entry.stat(follow_symlinks=False)

    def _add(self, path: str, chunks: Iterable[bytes]) -> None:
        self._folder(path)
        # Two threads may bring the same bytes: what two releases share.
        temporary = self.scratch_file(f"{threading.get_ident()}.{os.path.basename(path)}")
        write_new(temporary, chunks)
        os.rename(temporary, path)

    def _folder(self, path: str) -> None:
        folder = os.path.dirname(path)
        if folder not in self._folders:
            os.makedirs(folder, exist_ok=True)
            self._folders.add(folder)
