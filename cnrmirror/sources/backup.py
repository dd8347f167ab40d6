"""The JSON dump of a cnr-server or appr (``backup``): packages with their archives, channels."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.canonical import parse_json
from cnrmirror.model.digest import CHUNK
from cnrmirror.model.documents import Channel
from cnrmirror.model.errors import InputError, InvalidDocument
from cnrmirror.model.names import PackageName
from cnrmirror.model.progress import stage
from cnrmirror.sources.base import Ask, Hole, Listing, Offer, Source
from cnrmirror.sources.dump import readable
from cnrmirror.sources.filters import Wanted
from cnrmirror.sources.kind import Problem, SourceRoom, SourceRules
from cnrmirror.sources.manifests import (
    MAX_DOCUMENT_BYTES,
    channel,
    decode_blob,
    media_type_of,
    offer,
)


class _Dump(msgspec.Struct):
    packages: list[msgspec.Raw]
    channels: list[msgspec.Raw]


class _Blob(msgspec.Struct):
    """An entry of which only the archive is wanted, as it stands there: a JSON string."""

    blob: msgspec.Raw = msgspec.Raw(b"")


class BackupSource:
    """A dump in a file. It is mapped, not read: each entry is looked at by itself."""

    def __init__(self, name: str, path: Path, max_archive: int = 100_000_000) -> None:
        self.name = name
        self._path = path
        self._max_archive = max_archive
        self._entries: list[msgspec.Raw] = []

    def look(self, ask: Ask) -> Listing:
        """See ``Source``."""
        dump, holes = self._read()
        self._entries = dump.packages
        found: list[Offer] = []
        members: dict[tuple[str, str], list[str]] = {}
        unwanted: set[tuple[str, str]] = set()
        with stage(ask.progress, f"Reading {self.name}", len(dump.packages)) as step:
            for number, raw in enumerate(dump.packages):
                step.advance()
                try:
                    entry = self._entry(raw, number)
                except InputError as error:
                    holes.append(Hole(f"entry {number}", error.message))
                    continue
                if not self._wants(ask.wanted, entry):
                    unwanted.add((str(entry.get("package")), str(entry.get("release"))))
                    continue
                name = entry.get("package")
                try:
                    one = offer(entry, name if isinstance(name, str) else "?", str(number))
                except InputError as error:
                    holes.append(_hole(entry, number, error.message))
                    continue
                found.append(one)
                names = entry.get("channels")
                for name in names if isinstance(names, list) else []:
                    members.setdefault((one.package, str(name)), []).append(one.release)
        channels = self._channels(dump, found, members, unwanted, holes)
        return Listing(found, channels, holes, [])

    def _entry(self, raw: msgspec.Raw, number: int) -> dict[str, Any]:
        """An entry without its archive."""
        where = f"{self._path}: entry {number}"
        try:
            blob = typed.decode(raw, _Blob).blob
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidDocument(f"{where}: {error}") from error
        text = memoryview(blob)
        if len(text) < 2 or text[0] != 34:
            raise InvalidDocument(f"{where}: no package with a blob")
        rest = bytes(raw).replace(bytes(text), b'""', 1)
        value = parse_json(rest, where, MAX_DOCUMENT_BYTES)
        if not isinstance(value, dict):
            raise InvalidDocument(f"{where}: not a package")
        return value

    @staticmethod
    def _wants(wanted: Wanted, entry: dict[str, Any]) -> bool:
        """Whether an entry is wanted at all; one that does not tell what it is, is."""
        name = entry.get("package")
        media_type = media_type_of(entry)
        named = not isinstance(name, str) or wanted.package(name)
        return named and (not media_type or wanted.filter.takes_type(media_type))

    @staticmethod
    def _channels(
        dump: _Dump,
        found: list[Offer],
        members: dict[tuple[str, str], list[str]],
        unwanted: set[tuple[str, str]],
        holes: list[Hole],
    ) -> dict[str, list[Channel]]:
        releases: dict[str, set[str]] = {}
        for one in found:
            releases.setdefault(one.package, set()).add(one.release)
        channels: dict[str, list[Channel]] = {}
        for number, raw in enumerate(dump.channels):
            where = f"channel {number}"
            package = ""
            try:
                value = parse_json(bytes(raw), where)
                if not isinstance(value, dict) or not isinstance(value.get("package"), str):
                    raise InvalidDocument(f"{where}: package, name and current were expected")
                if (value["package"], value.get("current")) in unwanted:
                    continue
                package = str(PackageName.parse(value["package"]))
                name = value.get("name")
                listed = value.get("releases") or members.get((package, str(name)), [])
                its = channel(name, value.get("current"), listed, releases.get(package, set()))
                channels.setdefault(package, []).append(its)
            except InputError as error:
                holes.append(Hole(where, error.message[:1000], package))
        return channels

    def _read(self) -> tuple[_Dump, list[Hole]]:
        """The dump, or what stands in it before it breaks off, and the hole that says so."""
        try:
            with self._path.open("rb") as stream:
                if not os.fstat(stream.fileno()).st_size:
                    raise InvalidDocument(f"{self._path}: it is empty")
                data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise InputError(f"{self._path}: {error.strerror}") from error
        try:
            return typed.decode(data, _Dump), []
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            found, end, cut = readable(data)
            dump = _Dump([msgspec.Raw(e) for e in found["packages"]],
                         [msgspec.Raw(e) for e in found["channels"]])  # fmt: skip
            if not dump.packages:
                raise InvalidDocument(f"{self._path}: not a registry's backup: {error}") from error
            what = "it is cut off" if cut else f"it is damaged ({error})"
            reason = f"{what}: {len(dump.packages)} packages can be read, and nothing behind them"
            return dump, [Hole(f"{self._path}, byte {end}"[-300:], reason)]

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``Source``."""
        where = f"{self._path}: {offer.package}@{offer.release}"
        text = memoryview(typed.decode(self._entries[int(offer.place)], _Blob).blob)
        if len(text) > self._max_archive * 3 // 2:
            raise InvalidDocument(f"{where}: its archive is too large")
        chunks = [text[1:-1][start : start + CHUNK] for start in range(0, len(text) - 2, CHUNK)]
        if any(b"\\" in bytes(chunk) for chunk in chunks):
            # JSON may write a line end or a slash with a backslash.
            chunks = [memoryview(typed.decode(text, str).encode())]
        yield from decode_blob(map(bytes, chunks), where)


def _hole(entry: dict[str, Any], number: int, reason: str) -> Hole:
    """The hole of an entry, of its release if it tells one."""
    package, release = entry.get("package"), entry.get("release")
    if isinstance(package, str) and isinstance(release, str) and "/" in package and release:
        return Hole.of_release(package[:300], release[:200], f"entry {number}: {reason}")
    return Hole(f"entry {number}", reason)


# -- its kind -------------------------------------------------------------------------------------


class Backup(SourceRules, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="backup"):
    """A registry's JSON dump."""

    file: str


class _Kind:
    settings = Backup

    def check(self, settings: Backup) -> Iterator[Problem]:
        """See ``Kind``."""
        return iter(())

    def open(self, name: str, settings: Backup, room: SourceRoom) -> Source:
        """See ``Kind``."""
        return BackupSource(name, room.path(settings.file), room.limits.packed)


KIND = _Kind()
