"""What an archive shows of the images that it names, kept while its bytes go by.

Kept are the Chart.yaml, requirements.yaml and values.yaml of a chart and of what lies in its
``charts/``, as folders or as archives, and of templates only the lines that speak of an image. All
of it is bounded; what is past a bound, and what cannot be read in an archive inside, is not kept,
and the archive itself is no worse for that.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

import msgspec

from cnrmirror.archive.scan import Limits, Member, Sink, TarScanner
from cnrmirror.model.digest import CHUNK
from cnrmirror.model.errors import InputError

_CHART = r"((?:[^/]+/)?(?:charts/[^/_.][^/]*/)*)"
_FILE = re.compile(_CHART + r"(?:Chart|requirements|values)\.yaml")
_TEMPLATE = re.compile(_CHART + r"templates/.+")
_ARCHIVE = re.compile(_CHART + r"charts/[^/_.][^/]*\.tgz")
_LINE = re.compile(rb"""^[ \t]*(?:-[ \t]*)?[\w.-]*[iI]mage["']?[ \t]*[:=][ \t]*(\S.*)$""", re.M)
_MAX_FILE = 1 << 20
_MAX_LINE = 1000
_DEEP = 3


class Clues(msgspec.Struct, frozen=True):
    """What is kept: the texts of ``files`` by path, and ``lines`` about images.

    A line has its chart's folder (with a slash at the end), its template's path there, and the text
    behind ``image:``. A path inside an archive in ``charts/`` goes on behind the archive's name,
    without the top folder there: ``app/charts/db-1.0.0.tgz/values.yaml``.
    """

    files: dict[str, bytes] = {}
    lines: list[tuple[str, str, bytes]] = []


class _Room:
    """What may still be kept of one archive and of those inside it."""

    def __init__(self) -> None:
        self.files = 4 << 20
        self.lines = 1000
        self.unpacked = 64 << 20


class ClueKeeper:
    """A ``Sink`` that keeps clues, and hands everything on to another one."""

    def __init__(self, limits: Limits, then: Sink | None = None) -> None:
        self._then = then
        self._keeper = _Keeper(limits, _Room(), Clues({}, []), "", 0)

    def member(self, member: Member) -> None:
        self._keeper.member(member)
        if self._then:
            self._then.member(member)

    def content(self, data: bytes) -> None:
        self._keeper.content(data)
        if self._then:
            self._then.content(data)

    def close(self) -> Clues:
        """What was kept."""
        return self._keeper.close()


class _Keeper:
    """Keeps the clues of one archive; ``at`` is where it lies in another one, with a slash."""

    def __init__(self, limits: Limits, room: _Room, clues: Clues, at: str, deep: int) -> None:
        self._limits, self._room, self._clues = limits, room, clues
        self._at, self._deep = at, deep
        self._take: Callable[[bytes], None] | None = None
        self._end: Callable[[], None] | None = None

    def member(self, member: Member) -> None:
        self._finish()
        if member.kind != "file" or not member.size:
            return
        name = member.name
        path = self._path(name)
        if _FILE.fullmatch(name):
            if member.size <= min(_MAX_FILE, self._room.files):
                self._room.files -= member.size
                text = bytearray()
                self._take = text.extend
                self._end = lambda: self._clues.files.update({path: bytes(text)})
        elif match := _TEMPLATE.fullmatch(name):
            chart = self._path(match[1])
            lines = _Lines(self._room, self._clues, chart, name[len(match[1]) :])
            self._take, self._end = lines.feed, lines.close
        elif self._deep < _DEEP and _ARCHIVE.fullmatch(name):
            keeper = _Keeper(self._limits, self._room, self._clues, f"{path}/", self._deep + 1)
            inside = _Inside(self._limits, self._room, keeper)
            self._take, self._end = inside.feed, inside.close

    def _path(self, name: str) -> str:
        return self._at + name.partition("/")[2] if self._at else name

    def content(self, data: bytes) -> None:
        if self._take:
            self._take(data)

    def close(self) -> Clues:
        self._finish()
        return self._clues

    def _finish(self) -> None:
        end, self._take, self._end = self._end, None, None
        if end:
            end()


class _Lines:
    """Keeps the lines of a template that speak of an image."""

    def __init__(self, room: _Room, clues: Clues, chart: str, template: str) -> None:
        self._room, self._clues = room, clues
        self._chart, self._template = chart, template
        self._rest = b""

    def feed(self, data: bytes) -> None:
        end = data.rfind(b"\n") + 1
        if end:
            if self._rest or b"mage" in data:
                self._look(self._rest + data[:end])
            self._rest = b""
        # One character more than is kept tells that a line is too long.
        self._rest = (self._rest + data[end : end + _MAX_LINE + 1])[: _MAX_LINE + 1]

    def close(self) -> None:
        self._look(self._rest)

    def _look(self, text: bytes) -> None:
        if b"mage" not in text:
            return
        for match in _LINE.finditer(text):
            if self._room.lines and len(match[0]) <= _MAX_LINE:
                self._room.lines -= 1
                self._clues.lines.append((self._chart, self._template, match[1].rstrip()))


class _Inside:
    """Reads an archive that lies in another one; the first thing that is wrong ends it."""

    def __init__(self, limits: Limits, room: _Room, keeper: _Keeper) -> None:
        self._room, self._keeper = room, keeper
        self._gunzip = zlib.decompressobj(wbits=31)
        self._scanner = TarScanner(limits, lambda _: None, keeper)
        self._is_read = True

    def feed(self, data: bytes) -> None:
        while data and self._is_read and not self._gunzip.eof:
            try:
                piece = self._gunzip.decompress(data, CHUNK)
                self._room.unpacked -= len(piece)
                if self._room.unpacked < 0:
                    self._is_read = False
                    return
                self._scanner.feed(piece)
            except (zlib.error, InputError):
                self._is_read = False
            data = self._gunzip.unconsumed_tail

    def close(self) -> None:
        self._keeper.close()
