"""A bundle served as it lies: what ``serve`` needs of a mirror, read from its volumes."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from cnrmirror.bundle.read import BundleReader
from cnrmirror.catalog.metadata import freshness_of
from cnrmirror.catalog.nodes import RemoteNodes
from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.mirror.metrics import mirror_families
from cnrmirror.mirror.settings import Config
from cnrmirror.model import typed
from cnrmirror.model.digest import HEX64, Descriptor, verified
from cnrmirror.model.documents import Head, Node, blob_path
from cnrmirror.model.errors import DamageError, InputError
from cnrmirror.model.exposition import Family
from cnrmirror.model.signed import MAX_BYTES, METADATA, TIMESTAMP, FileInfo, signed_head_of
from cnrmirror.objects.base import read
from cnrmirror.views.site import ViewGroups, ViewSettings

# What is not larger is checked each time it is sent; it waits in memory for a client that is slow.
SMALL = 1 << 16


class BundleMirror:
    """A whole bundle as a mirror that is read only.

    Everything that is named by its digest is checked against it before its first byte goes out:
    small files each time, larger ones once, and again when their volume changed. Signatures are for
    clients to check: the signed files are served with the rest.

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
        self._checked = _Checked()
        self.catalog = CatalogReader(RemoteNodes(reader))

        def get(name: str, info: FileInfo) -> bytes:
            return read(reader.fetch(f"{METADATA}/{name}", MAX_BYTES))

        timestamp = read(reader.fetch(TIMESTAMP, MAX_BYTES))
        signed = signed_head_of(timestamp, get, f"{reader.name}: {METADATA}")
        self._signed = signed
        self._head = Head(signed.at, signed.revision)
        self._root = self.catalog.root(signed.at)
        self.config = _config(contents.registry, self._root.settings)
        self.templates: Mapping[str, str] = {}

    def head(self) -> Head:
        """See ``reading.Served``."""
        return self._head

    def tree(self) -> Node:
        """See ``reading.Served``."""
        return self._root.tree

    def families(self) -> list[Family]:
        """What monitors are told of it. Raises DamageError, IncompleteError."""

        def get(name: str) -> bytes:
            return read(self._reader.fetch(f"{METADATA}/{name}", MAX_BYTES))

        where = f"{self._reader.name}: {METADATA}"
        return mirror_families(self._root, freshness_of(self._signed, get, where))

    def known_groups(self, head: Head) -> ViewGroups | None:
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
        if expected.size <= SMALL:
            with stream:
                return io.BytesIO(b"".join(verified(stream, expected, path)))
        try:
            self._checked.check(path, self._reader.volume(path), stream, expected)
        except BaseException:
            stream.close()
            raise
        stream.seek(0)
        return stream


def _config(registry: str, settings: Mapping[str, Any]) -> Config:
    """The views as the mirror has them from which the bundle came. Raises DamageError."""
    views = ViewSettings.from_catalog(settings)
    try:
        return Config(registry, typed.convert(settings.get("url", ""), str), views)
    except msgspec.ValidationError as error:
        raise DamageError(f"the catalog root's settings: {error}") from error


class _Checked:
    """Which files were read once and found right, or wrong, in a volume as it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, tuple[tuple[int, ...], DamageError | None]] = {}

    def check(self, path: str, volume: Path, stream: BinaryIO, expected: Descriptor) -> None:
        """Read a file to its end, unless that was done since its volume changed.

        Raises:
            DamageError: it is not what its name says.
        """
        with self._lock:  # several who want one file wait for one reading of it
            stamp = _stamp(volume)
            before, wrong = self._found.get(path, (None, None))
            if before != stamp:
                wrong = _mismatch(stream, expected, path)
                self._found[path] = stamp, wrong
        if wrong is not None:
            raise DamageError(wrong.message, **wrong.details)


def _stamp(volume: Path) -> tuple[int, ...]:
    status = volume.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _mismatch(stream: BinaryIO, expected: Descriptor, where: str) -> DamageError | None:
    try:
        for _ in verified(stream, expected, where):
            pass
    except DamageError as error:
        return error
    return None
