"""A bundle served as it lies: what ``serve`` needs of a mirror, read from its volumes."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from cnrmirror.bundle.read import BundleReader
from cnrmirror.catalog.nodes import RemoteNodes
from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.mirror.config import Config
from cnrmirror.model.digest import HEX64, Descriptor, verified
from cnrmirror.model.documents import Head, Node, blob_path
from cnrmirror.model.errors import InputError
from cnrmirror.model.signed import MAX_BYTES, METADATA, TIMESTAMP, FileInfo, signed_head_of
from cnrmirror.objects.base import read
from cnrmirror.views.site import ViewEntries

# What is not larger is read and checked before its first byte goes out.
SMALL = 8 << 20


class BundleMirror:
    """A whole bundle as a mirror that is read only.

    Everything that is named by its digest is checked against it: small files before they are sent,
    larger ones while they are, and then the last piece of a damaged one never comes. Signatures are
    for clients to check: the signed files are served with the rest.

    Raises:
        InputError: the bundle continues from another, or is a part.
        DamageError: its metadata is damaged.
    """

    def __init__(self, reader: BundleReader) -> None:
        contents = reader.contents
        if contents.since_revision >= 0 or contents.cut.is_part:
            raise InputError(
                f"{reader.name}: only a whole bundle can be served; this one continues from "
                "another, or holds a part: import it"
            )
        self._reader = reader
        self.config = Config(contents.registry)
        self.catalog = CatalogReader(RemoteNodes(reader))

        def get(name: str, info: FileInfo) -> bytes:
            return read(reader.fetch(f"{METADATA}/{name}", MAX_BYTES))

        timestamp = read(reader.fetch(TIMESTAMP, MAX_BYTES))
        signed = signed_head_of(timestamp, get, f"{reader.name}: {METADATA}")
        self._head = Head(signed.at, signed.revision)
        self._tree = self.catalog.root(signed.at).tree

    def head(self) -> Head:
        """See ``reading.Served``."""
        return self._head

    def tree(self) -> Node:
        """See ``reading.Served``."""
        return self._tree

    def known_entries(self, head: Head) -> ViewEntries | None:
        """See ``reading.Served``: they have to be read."""
        return None

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """See ``reading.Served``."""
        return self._open(blob_path(blob.digest), blob)

    def open_file(self, path: str) -> BinaryIO:
        """See ``reading.Served``."""
        name = path.rpartition("/")[2].removesuffix(".catalog.json")
        if not HEX64.fullmatch(name):
            return self._reader.open(path)
        with self._reader.open(path) as stream:
            size = stream.seek(0, os.SEEK_END)
        return self._open(path, Descriptor(name, size))

    def _open(self, path: str, expected: Descriptor) -> BinaryIO:
        stream = self._reader.open(path)
        if expected.size > SMALL:
            return io.BufferedReader(_Verified(stream, expected, path), 1 << 16)
        with stream:
            return io.BytesIO(b"".join(verified(stream, expected, path)))


class _Verified(io.RawIOBase):
    """A file that is checked while it is read: ``verified`` as a stream, to be read from 0 on."""

    def __init__(self, stream: BinaryIO, expected: Descriptor, where: str) -> None:
        self._stream = stream
        self._expected = expected
        self._where = where
        self._rewind()

    def _rewind(self) -> None:
        self._stream.seek(0)
        self._pieces = verified(self._stream, self._expected, self._where)
        self._piece = memoryview(b"")
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """To the beginning; or to the end, where nothing comes any more."""
        if (position, whence) == (0, os.SEEK_SET):
            self._rewind()
        elif (position, whence) == (0, os.SEEK_END):
            self._pieces, self._piece = iter(()), memoryview(b"")
            self._at = self._expected.size
        elif (position, whence) != (0, os.SEEK_CUR):
            raise io.UnsupportedOperation("what is between cannot be checked")
        return self._at

    def readinto(self, buffer: object) -> int:
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        view = memoryview(buffer)  # type: ignore[arg-type]
        count = min(len(view), len(self._piece))
        view[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        self._at += count
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()
