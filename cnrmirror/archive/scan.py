"""A strict reader of tar streams: it looks at every header and never extracts.

Python's ``tarfile`` forgives much: bytes after the end, a PAX size that contradicts the header,
duplicate members. Two programs that forgive differently see two different packages in the same
bytes, so here each of these is refused (``HostileArchive``), as is everything that could leave the
folder it is unpacked into. Formats: POSIX.1-2001 pax, POSIX.1-1988 ustar, GNU long names.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Final, Literal, Protocol

import msgspec

from cnrmirror.archive import header, pax
from cnrmirror.archive.header import BLOCK
from cnrmirror.model.errors import HostileArchive, TooLarge

_ZEROS = bytes(BLOCK)
_NO_TARGET = bytes(100)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\\\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_DRIVE = re.compile(r"[A-Za-z]:")
Kind = Literal["file", "directory", "symlink"]
_FILE: Final = "file"
_DIRECTORY: Final = "directory"
_SYMLINK: Final = "symlink"
_TYPES: dict[int, Kind] = {0: _FILE, 48: _FILE, 53: _DIRECTORY, 50: _SYMLINK}
_REFUSED = {
    49: "a hard link", 51: "a device", 52: "a device", 54: "a FIFO", 55: "a contiguous file",
    83: "a sparse file",
}  # fmt: skip
_PAX, _GLOBAL, _LONG_NAME, _LONG_TARGET = b"xgLK"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How large a package may be; bytes unless said otherwise."""

    packed: int = 100_000_000
    unpacked: int = 200_000_000
    member: int = 20_000_000
    members: int = 10_000
    name: int = 1024
    depth: int = 32
    ratio: int = 200
    extended_header: int = 1_000_000

    def past(self, key: str, what: str, met: int) -> TooLarge:
        """The error of something that is past the limit ``key``.

        Args:
            what: what is too large, as a sentence.
            met: the value that would have been enough, as far as it is known.
        """
        return TooLarge(f"{what}; limits.{key} is {getattr(self, key)}", limit=key, met=met)


class Member(msgspec.Struct, frozen=True):
    """One member as it may be unpacked: ``name`` is relative, without ``.`` and ``..``.

    ``target`` is that of a symlink. The name of the top folder itself (``./``) is empty.
    """

    name: str
    kind: Kind
    size: int
    header: bytes
    target: str = ""

    @property
    def mode(self) -> int:
        """What the header says."""
        return header.mode_of(self.header)

    @property
    def mtime(self) -> int:
        """When it was changed, in seconds since 1970."""
        return header.time_of(self.header)


class Sink(Protocol):
    """Who wants the members themselves: each one, then its content in pieces."""

    def member(self, member: Member) -> None: ...

    def content(self, data: bytes) -> None: ...


class TarScanner:
    """Takes the bytes of a tar as they come; raises at the first thing that is not acceptable.

    Args:
        limits: bounds for members, names and sizes.
        wanted: tells by its name whether a member is noted in ``captured``, and how many bytes
            of its content it may have: None for not at all, 0 for the name alone.
        sink: gets every member that was found acceptable.
    """

    def __init__(
        self, limits: Limits, wanted: Callable[[str], int | None], sink: Sink | None = None
    ) -> None:
        self.captured: dict[str, bytes] = {}
        self.flags: set[str] = set()
        self.members = 0
        self._limits = limits
        self._wanted = wanted
        self._sink = sink
        self._rest = b""
        self._skip = 0
        self._left = 0
        self._capture: tuple[str, int] | None = None
        self._kept = bytearray()
        self._extended: int | None = None
        self._override: dict[str, str] = {}
        self._seen: set[int] = set()
        self._ended = False
        self._kinds: dict[str, Kind] = {}
        self._folded: dict[str, str] = {}

    def feed(self, data: bytes) -> None:
        """The next bytes of the stream. Raises HostileArchive or TooLarge."""
        if self._rest:
            data = self._rest + data
        position, length = 0, len(data)
        while True:
            if self._skip:
                step = min(self._skip, length - position)
                if self._capture or self._extended is not None:
                    self._kept += data[position : position + step]
                if self._left and self._sink:
                    piece = data[position : position + min(step, self._left)]
                    self._left -= len(piece)
                    self._sink.content(piece)
                position += step
                self._skip -= step
                if self._skip:
                    break
                self._end_of_content()
            if length - position < BLOCK:
                break
            self._header(data[position : position + BLOCK])
            position += BLOCK
        self._rest = data[position:]

    @property
    def names(self) -> Iterable[str]:
        """Of all members so far, and of the folders that they lie in."""
        return self._kinds

    def close(self) -> None:
        """The stream is over. Raises HostileArchive if it ends inside a member."""
        if self._rest and not self._kinds and not self._skip:
            header.check_start(self._rest)
        if self._skip or self._rest:
            raise HostileArchive("the archive is cut off in the middle of a member")
        if self._seen - {_GLOBAL}:
            raise HostileArchive("the archive ends after an extended header")
        if not self.members:
            raise HostileArchive("the archive is empty")

    def _header(self, block: bytes) -> None:
        if block == _ZEROS:
            self._ended = True
            return
        if self._ended:
            raise HostileArchive("the archive has data after its end marker")
        if not self.members and not self._seen:
            header.check_start(block)
        size = header.check(block)
        kind = block[156]
        if kind in b"xgLK":
            self._begin_extended(kind, size)
            return
        if kind not in _TYPES:
            what = _REFUSED.get(kind, f"of the unknown type {chr(kind)!r}")
            raise HostileArchive(
                f"member {header.text(block[:100])!r} is {what}: refused; unpack it and push the "
                "folder"
            )
        self._member(block, _TYPES[kind], size)

    def _begin_extended(self, kind: int, size: int) -> None:
        if size > self._limits.extended_header:
            what = f"the archive has an extended header of {size} bytes"
            raise self._limits.past("extended_header", what, size)
        if not size:
            raise HostileArchive("the archive has an empty extended header")
        if kind == _GLOBAL:
            if self.members or self._seen:
                raise HostileArchive("the archive has a global PAX header that is not its first")
        elif kind in self._seen or (_PAX in {kind, *self._seen} and self._seen - {_GLOBAL}):
            raise HostileArchive("the archive has two extended headers for one member")
        self._seen.add(kind)
        self._extended = kind
        self._kept.clear()
        self._skip = -(-size // BLOCK) * BLOCK
        self._size = size

    def _end_of_content(self) -> None:
        if self._extended is not None:
            body, kind = bytes(self._kept[: self._size]), self._extended
            self._extended = None
            if kind in (_LONG_NAME, _LONG_TARGET):
                self._override["path" if kind == _LONG_NAME else "linkpath"] = pax.long_name(body)
            else:
                self._override.update(pax.records(body, is_global=kind == _GLOBAL))
        elif self._capture:
            name, size = self._capture
            self.captured[name] = bytes(self._kept[:size])
            self._capture = None

    def _member(self, block: bytes, kind: Kind, size: int) -> None:
        override, self._override = self._override, {}
        self._seen.clear()
        if "size" in override and override["size"] != str(size):
            raise HostileArchive("the archive has a PAX size that contradicts its header")
        self.members += 1
        if self.members > self._limits.members:
            what = f"the archive has {self.members} members or more"
            raise self._limits.past("members", what, self.members)
        if size > self._limits.member:
            name = override.get("path") or header.name_in(block)
            what = f"the archive has a member of {size} bytes: {name!r}"
            raise self._limits.past("member", what, size)
        raw_name = override["path"] if "path" in override else header.name_in(block)
        name = self._safe(raw_name)
        if kind != _DIRECTORY and ("path" in override or raw_name[-1] in "/."):
            kind = self._not_as_folder(block, kind, raw_name, "path" in override)
        target = ""
        if kind == _SYMLINK:
            target = override.get("linkpath") or header.text(block[157:257])
            self._symlink(name, target)
        elif block[157:257] != _NO_TARGET or "linkpath" in override:
            # busybox makes a hard link of it.
            raise HostileArchive(f"member {name!r} is a {kind} with the target of a link")
        if kind != _FILE and size:
            raise HostileArchive(f"member {name!r} is a {kind} with content")
        self._place(name, kind)
        self._skip = -(-size // BLOCK) * BLOCK
        if self._sink:
            self._sink.member(Member(name, kind, size, block, target))
            self._left = size
        keep = self._wanted(name) if kind == _FILE else None
        if keep is not None:
            self.captured[name] = b""
            if keep and size > keep:
                raise TooLarge(f"member {name!r} is larger than {keep} bytes")
            if keep and size:
                self._capture = (name, size)
                self._kept.clear()

    @staticmethod
    def _not_as_folder(block: bytes, kind: Kind, name: str, is_renamed: bool) -> Kind:
        """The kind of a member that is no directory by its type, whatever its names end with."""
        short = block[:100].rstrip(b"\0")
        # Of a name that stands in full before it, GNU tar and Python write the first 100 bytes, Go
        # what is ASCII: up to a slash, sometimes.
        is_cut = len(short) == 100 or short == name.encode("ascii", "ignore")
        is_cut = is_cut and is_renamed and block[156] != 0
        if not is_renamed and block[156] == 0 and name.endswith("/"):
            return _DIRECTORY  # as the oldest archives mark folders
        if name.endswith(("/", "/.")) or (short.endswith(b"/") and not is_cut):
            raise HostileArchive(f"member {name!r} is a {kind} with the name of a folder")
        return kind

    def _safe(self, name: str) -> str:
        length = len(name) if name.isascii() else len(name.encode())
        if length > self._limits.name:
            what = f"the archive has a member name of {length} bytes: {name[:40]!r}…"
            raise self._limits.past("name", what, length)
        # The first three tell it of nearly all names, sixty times as fast.
        is_plain = name.isascii() and name.isprintable() and "\\" not in name
        if not is_plain and _CONTROL.search(name):
            raise HostileArchive(f"member {name!r} has a control character or backslash")
        if name.startswith("/") or _DRIVE.match(name):
            raise HostileArchive(f"member {name!r} is an absolute path")
        parts = name.removesuffix("/").split("/")
        if "." in parts:
            parts = [part for part in parts if part != "."]
        if "" in parts:
            raise HostileArchive(f"member {name!r} has an empty part in its name: repack it")
        if ".." in parts:
            raise HostileArchive(f"member {name!r} leads out of the archive")
        if length > 255 and any(len(part) > 63 and len(part.encode()) > 255 for part in parts):
            raise TooLarge(f"member {name!r:.80} has a part of more than 255 bytes")
        if len(parts) > self._limits.depth:
            what = f"member {name!r} lies in {len(parts) - 1} folders"
            raise self._limits.past("depth", what, len(parts))
        return "/".join(parts)

    def _symlink(self, name: str, target: str) -> None:
        if _CONTROL.search(target) or not target:
            raise HostileArchive(f"symlink {name!r} has a target that is not acceptable")
        steps = [step for step in target.split("/") if step not in ("", ".")]
        if ".." in steps[next((n for n, s in enumerate(steps) if s != ".."), len(steps)) :]:
            # Behind a name that may be a link itself, ".." leads nobody knows where.
            raise HostileArchive(f"symlink {name!r} goes down and up again, to {target!r}")
        reached = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        if target.startswith("/") or reached == ".." or reached.startswith("../"):
            raise HostileArchive(f"symlink {name!r} points out of the archive, to {target!r}")
        self.flags.add("symlinks")

    def _place(self, name: str, kind: Kind) -> None:
        """Refuse what would overwrite, hide or pass through something else."""
        if name in self._kinds:
            if not name or kind == self._kinds[name] == _DIRECTORY:
                return
            raise HostileArchive(f"member {name!r} is in the archive twice")
        if not name:
            if kind != _DIRECTORY:
                raise HostileArchive("the archive has a member without a name")
            return
        missing, parent = [], name.rpartition("/")[0]
        while parent and parent not in self._kinds:
            missing.append(parent)
            parent = parent.rpartition("/")[0]
        if parent and self._kinds[parent] != _DIRECTORY:
            raise HostileArchive(f"member {name!r} lies below a {self._kinds[parent]}")
        for folder in reversed(missing):
            self._record(folder, _DIRECTORY)
        self._record(name, kind)

    def _record(self, name: str, kind: Kind) -> None:
        folded = name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()
        other = self._folded.setdefault(folded, name)
        if other != name:
            raise HostileArchive(f"members {other!r} and {name!r} are one file on some systems")
        self._kinds[name] = kind
