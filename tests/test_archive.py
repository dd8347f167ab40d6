"""archive.py and tarball.py: hostile archives are refused, real ones are read."""

from __future__ import annotations

import gzip
import io
import json
import posixpath
import tarfile
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnrmirror.archive.inspect import MAX_TELLING, inspect
from cnrmirror.archive.scan import Limits, TarScanner
from cnrmirror.model.errors import HostileArchive, InputError, TooLarge
from tests.conftest import tar_gz
from tests.recorded import CONFORMANCE

CHART = {"a/Chart.yaml": b"name: a\nversion: 1.0.0\n"}


def looked_into(data: bytes, limits: Limits = Limits()) -> tuple[str, ...]:
    return inspect(io.BytesIO(data), limits).flags


def raw_tar(data: bytes) -> bytes:
    return gzip.decompress(data)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        first = tarfile.TarInfo("a/Chart.yaml")
        first.size = 3
        tar.addfile(first, io.BytesIO(b"a: "))
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        tar.addfile(member)
    return gzip.compress(buffer.getvalue())


def pax(headers: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("a/Chart.yaml")
        member.size, member.pax_headers = 3, headers
        tar.addfile(member, io.BytesIO(b"a: "))
    return gzip.compress(buffer.getvalue())


def broken_checksum() -> bytes:
    tar = bytearray(raw_tar(tar_gz(CHART)))
    tar[0:1] = b"b"
    return gzip.compress(bytes(tar))


def patched(tar: bytearray, block: int, at: int, value: bytes) -> None:
    """Other bytes in a header, and a checksum that is right again."""
    tar[block + at : block + at + len(value)] = value
    tar[block + 148 : block + 156] = b" " * 8
    tar[block + 148 : block + 156] = b"%06o\0 " % sum(tar[block : block + 512])


def field(at: int, value: bytes) -> bytes:
    tar = bytearray(raw_tar(tar_gz(CHART)))
    patched(tar, 0, at, value)
    return gzip.compress(bytes(tar))


def two_extended_headers() -> bytes:
    tar = raw_tar(pax({"comment": "x"}))
    return gzip.compress(tar[:1024] + tar)


def reserved_flag() -> bytes:
    data = tar_gz(CHART)
    return data[:3] + b"\x20" + data[4:]


HOSTILE: dict[str, Callable[[], bytes]] = {
    "two gzip members": lambda: tar_gz(CHART) + tar_gz(CHART),
    "garbage after the gzip stream": lambda: tar_gz(CHART) + b"garbage",
    "data after the end of the tar": lambda: gzip.compress(raw_tar(tar_gz(CHART)) + b"x" * 512),
    "a second tar after the end": lambda: gzip.compress(raw_tar(tar_gz(CHART)) * 2),
    "a size in PAX that contradicts": lambda: pax({"size": "999"}),
    "a sparse file": lambda: pax({"GNU.sparse.major": "1"}),
    "a path that climbs": lambda: tar_gz({"a/../../x": b"1"}),
    "an absolute path": lambda: tar_gz({"/etc/passwd": b"1"}),
    "a drive letter": lambda: tar_gz({"C:/x": b"1"}),
    "a backslash": lambda: tar_gz({"a\\..\\x": b"1"}),
    "a control character": lambda: tar_gz({"a/\x1b[2J": b"1"}),
    "a direction override": lambda: tar_gz({"a/\u202etxt.exe": b"1"}),
    "an absolute symlink": lambda: link("a/x", "/etc/passwd"),
    "a symlink that leads out": lambda: link("a/x", "../../etc"),
    "a hard link": lambda: link("a/x", "a/Chart.yaml", tarfile.LNKTYPE),
    "a device": lambda: link("a/x", "", tarfile.CHRTYPE),
    "a FIFO": lambda: link("a/x", "", tarfile.FIFOTYPE),
    "names that differ in case": lambda: tar_gz({"a/x": b"1", "a/X": b"2"}),
    "folders that differ in case": lambda: tar_gz({"a/x/1": b"1", "a/X/2": b"2"}),
    "names that are one in NFC": lambda: tar_gz({"a/\u00e9": b"1", "a/e\u0301": b"2"}),
    "one name twice": lambda: gzip.compress(
        raw_tar(tar_gz({"a": b"1"}))[:1024] + raw_tar(tar_gz({"a": b"2"}))
    ),
    "a file below a file": lambda: tar_gz({"a": b"1", "a/b": b"2"}),
    "a wrong checksum": broken_checksum,
    "a cut gzip stream": lambda: tar_gz(CHART)[:-9],
    "a cut tar": lambda: gzip.compress(raw_tar(tar_gz(CHART))[:700]),
    "a wrong CRC": lambda: tar_gz(CHART)[:-8] + b"0000" + tar_gz(CHART)[-4:],
    "no gzip": lambda: b"PK\x03\x04" + bytes(600),
    "nothing": lambda: b"",
    "an empty tar": lambda: gzip.compress(bytes(10240)),
    "a size behind a NUL": lambda: field(124, b"\0" + b"00000000027"),
    "a mode that is no number": lambda: field(100, b"garbage\0"),
    "an owner that is no number": lambda: field(108, b"0000x00\0"),
    "a time that is no number": lambda: field(136, b"1.5e3\0"),
    "a major device that is no number": lambda: field(329, b"-000001\0"),
    "a minor device that is no number": lambda: field(337, b"0x00001\0"),
    "a time in the far future": lambda: field(136, b"\x80" + (2**70).to_bytes(11, "big")),
    "an empty name in PAX": lambda: pax({"path": ""}),
    "an empty target in PAX": lambda: pax({"linkpath": ""}),
    "a sparse file of star": lambda: pax({"SCHILY.realsize": "10"}),
    "a sparse file of Solaris": lambda: pax({"SUN.holesdata": " 0 1"}),
    "a PAX time without end": lambda: pax({"mtime": "inf"}),
    "a PAX time that is far off": lambda: pax({"mtime": "1e300"}),
    "a PAX time that is no number": lambda: pax({"mtime": "nan"}),
    "two extended headers": two_extended_headers,
    "a file named as a folder": lambda: tar_gz({**CHART, "a/d/": b""}),
    "a PAX file named as a folder": lambda: tar_gz({"a/x": b""}, pax_headers={"path": "a/d/"}),
    "a reserved gzip flag": reserved_flag,
    "a Chart.yaml without end": lambda: tar_gz({"a/Chart.yaml": b"#" * (MAX_TELLING + 1)}),
    "raw deflate": lambda: zlib.compress(raw_tar(tar_gz(CHART))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused(name: str) -> None:
    with pytest.raises((HostileArchive, TooLarge)):
        looked_into(HOSTILE[name]())


@pytest.mark.parametrize(
    ("limits", "files"),
    [
        (Limits(packed=10), CHART),
        (Limits(unpacked=1000), CHART),
        (Limits(member=5), CHART),
        (Limits(members=1), {"a": b"", "b": b""}),
        (Limits(name=20), {"a" * 30: b""}),
        (Limits(depth=3), {"a/b/c/d": b""}),
        (Limits(), {"zeros": bytes(19_000_000)}),
        (Limits(extended_header=500), {"x" * 900: b""}),
    ],
)
def test_every_limit_holds(limits: Limits, files: dict[str, bytes]) -> None:
    with pytest.raises(TooLarge):
        looked_into(tar_gz(files), limits)


def test_a_symlink_inside_is_accepted_and_flagged() -> None:
    assert looked_into(link("a/values.yaml", "Chart.yaml")) == ("symlinks",)


def test_of_a_bundle_only_the_name_is_held() -> None:
    info = inspect(io.BytesIO(tar_gz({"a/x.dab": b"1" * 1000})))
    assert info.telling == {"a/x.dab": b""}


def test_the_conformance_packages_have_their_recorded_digests() -> None:
    for entry in json.loads((CONFORMANCE / "pushes.json").read_text())["packages"]:
        with (CONFORMANCE / entry["file"]).open("rb") as stream:
            info = inspect(stream)
        assert (info.diff_id, info.blob.size) == (entry["digest"], entry["size"])


NAMES = st.text("abcXYZ019._- é", min_size=1, max_size=120).filter(
    lambda n: n not in (".", "..") and not n.startswith("/")
)


@given(st.dictionaries(NAMES, st.binary(max_size=2000), min_size=1, max_size=5))
def test_whatever_tarfile_writes_is_read_or_refused_cleanly(files: dict[str, bytes]) -> None:
    data = tar_gz({f"top/{name}": content for name, content in files.items()})
    try:
        info = inspect(io.BytesIO(data))
    except InputError:
        return
    assert info.blob.size == len(data)


@given(st.integers(0, 2**32), st.binary(min_size=1, max_size=8))
def test_a_mutated_archive_never_breaks_the_reader(where: int, what: bytes) -> None:
    tar = bytearray(raw_tar(tar_gz({**CHART, "a/é" * 40: b"x"})))
    at = where % len(tar)
    tar[at : at + len(what)] = what
    try:
        looked_into(gzip.compress(bytes(tar)))
    except InputError:
        pass


LONG = f"a/{'n' * 120}"
LAYOUT = {"a/Chart.yaml": b"a: ", LONG: b"long", "a/é": b""}
HEADERS = [n for n in range(0, 6144, 512) if raw_tar(tar_gz(LAYOUT))[n + 257 : n + 262] == b"ustar"]
FIELDS = st.sampled_from([0, 100, 108, 116, 124, 136, 156, 157, 257, 263, 265, 329, 337, 345])
VALUES = st.binary(min_size=1, max_size=12) | st.sampled_from(
    [
        b"\0",
        b" ",
        b"1",
        b"2",
        b"5",
        b"7",
        b"x",
        b"a/\0",
        b"/\0",
        b"0000002\0",
        b"\x80",
        b"\xff" * 12,
    ]
)


@given(st.lists(st.tuples(st.sampled_from(HEADERS), FIELDS, VALUES), min_size=1, max_size=3))
def test_what_the_scanner_accepts_tarfile_reads_with_the_same_names(
    changes: list[tuple[int, int, bytes]],
) -> None:
    tar = bytearray(raw_tar(tar_gz(LAYOUT)))
    for change in changes:
        patched(tar, *change)
    scanner = TarScanner(Limits(), lambda name: 0)
    try:
        scanner.feed(bytes(tar))
        scanner.close()
    except InputError:
        return
    with tarfile.open(fileobj=io.BytesIO(tar)) as read:
        members = read.getmembers()
    assert scanner.members == len(members)
    assert {posixpath.normpath(m.name) for m in members if m.isfile()} == set(scanner.captured)
