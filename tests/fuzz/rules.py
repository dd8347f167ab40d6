"""What is refused because readers differ about it, each beside a twin that all read alike."""

from __future__ import annotations

from typing import NamedTuple

from tests.fuzz.build import (
    END,
    GNU,
    STAR,
    V7,
    extended,
    gzipped,
    header,
    member,
    padded,
    record,
)

CHART = member(b"c/Chart.yaml", b"name: c\nversion: 1.0.0\n")
DEEP = b"c/" + b"d" * 130
TIMES = b"\0" + b"13377777777 13377777777 " + bytes(12)


class Twins(NamedTuple):
    """Two packed archives."""

    good: bytes
    bad: bytes


def _tars(good: bytes, bad: bytes) -> Twins:
    return Twins(gzipped(CHART + good + END), gzipped(CHART + bad + END))


def _fields(good: dict[str, bytes], bad: dict[str, bytes]) -> Twins:
    return _tars(member(b"c/f", b"x", **good), member(b"c/f", b"x", **bad))


def _named(records: bytes, name: bytes = b"c/f", kind: bytes = b"0", link: bytes = b"") -> bytes:
    return extended(records) + member(name, b"x" if kind in b"0\0" else b"", kind, link=link)


def _records(good: bytes, bad: bytes, **member: bytes) -> Twins:
    return _tars(_named(good, **member), _named(bad, **member))


def _key(good: tuple[bytes, bytes], bad: tuple[bytes, bytes]) -> Twins:
    return _records(record(*good), record(*bad))


def _long(good: bytes, bad: bytes, kind: bytes = b"L", typed: bytes = b"0") -> Twins:
    after = header(b"c/f", typed, link=b"x" if typed == b"2" else b"")
    return _tars(extended(good, kind) + after, extended(bad, kind) + after)


PATH = record(b"path", b"c/z")
XATTR = b"SCHILY.xattr.user.x"
RULES: dict[str, Twins] = {
    # PAX records
    "two blanks after the length": _records(PATH, record(b"path", b"c/z", b"  ")),
    "a tab after the length": _records(PATH, record(b"path", b"c/z", b"\t")),
    "a blank before a keyword": _key((b"size", b"1"), (b" size", b"1")),
    "a blank behind a keyword": _key((b"path", b"c/z"), (b"path ", b"c/z")),
    "a NUL in a keyword": _key((b"path", b"c/z"), (b"path\0", b"c/z")),
    "an empty keyword": _key((b"comment", b"x"), (b"", b"x")),
    "a keyword that is not ASCII": _key((b"ACME.e", b"x"), ("ACMÉ.e".encode(), b"x")),
    "a zero before the length": _records(PATH, b"0" + PATH),
    "a plus before the length": _records(PATH, b"+" + PATH),
    "a blank before the length": _records(PATH, b" " + PATH),
    "an underscore in the length": _records(PATH, b"1_2 path=c/z\n"),
    "a length that is too small": _records(PATH, b"11 path=c/z\n"),
    "a length that is too large": _records(PATH, b"13 path=c/z\n"),
    "no line end": _records(PATH, PATH[:-1] + b"\0"),
    "NULs behind the records": _records(PATH, PATH + bytes(20)),
    "one record twice": _records(PATH, PATH + PATH),
    "more records than busybox reads": _key(
        (b"comment", b"x" * 60_000), (b"comment", b"x" * 70_000)
    ),
    "a PAX uid that is no number": _key((b"uid", b"3000000"), (b"uid", b"root")),
    "a PAX gid with a zero first": _key((b"gid", b"3000000"), (b"gid", b"0100")),
    "a PAX uid with an underscore": _key((b"uid", b"3000000"), (b"uid", b"3_000")),
    "a PAX uid with a sign": _key((b"uid", b"0"), (b"uid", b"-1")),
    "a PAX uid that no system has": _key((b"uid", b"4294967294"), (b"uid", b"4294967296")),
    "an empty PAX time": _key((b"atime", b"1.5"), (b"atime", b"")),
    "a PAX time with an exponent": _key((b"mtime", b"-1.5"), (b"mtime", b"1e3")),
    "a PAX size with a plus": _key((b"size", b"1"), (b"size", b"+1")),
    "a PAX name of an owner with a NUL": _key((b"uname", "é".encode()), (b"uname", b"a\0b")),
    "a PAX name of an owner not in UTF-8": _key((b"gname", b"staff"), (b"gname", b"\xff")),
    "an unknown hdrcharset": _key((b"hdrcharset", b"BINARY"), (b"hdrcharset", b"LATIN1")),
    "a comment of two lines": _key((b"comment", b"a b"), (b"comment", b"a\nb")),
    "a record inside another": _key((XATTR, b"\0\xff\n"), (XATTR, b"\n21 hdrcharset=BINARY\n")),
    "a volume of a backup": _key((b"VENDOR.x", b"c/z"), (b"GNU.volume.filename", b"c/z")),
    "an access list that is none": _key(
        (b"SCHILY.acl.access", b"user::rw-,group::r--,other::r--"), (b"SCHILY.acl.access", b"\xff")
    ),
    "a PAX name in Unicode form D": _key(
        (b"path", "c/é".encode()), (b"path", "c/e\u0301".encode())
    ),
    "a PAX target in Unicode form D": _records(
        record(b"linkpath", "é".encode()),
        record(b"linkpath", "e\u0301".encode()),
        kind=b"2",
        link=b"x",
    ),
    "a PAX target of a file": _records(record(b"comment", b"x"), record(b"linkpath", b"y")),
    # Global headers, and the order of headers
    "a global header that is not first": Twins(
        gzipped(extended(record(b"comment", b"x"), b"g") + CHART + END),
        gzipped(CHART + extended(record(b"comment", b"x"), b"g") + member(b"c/f", b"") + END),
    ),
    "a global hdrcharset": Twins(
        gzipped(extended(record(b"comment", b"x"), b"g") + CHART + END),
        gzipped(extended(record(b"hdrcharset", b"BINARY"), b"g") + CHART + END),
    ),
    "a global header behind a PAX header": _tars(
        _named(PATH), extended(PATH) + extended(record(b"comment", b"x"), b"g") + header(b"c/f")
    ),
    "a PAX header and a GNU long name": _tars(
        _named(PATH), extended(record(b"mtime", b"1")) + extended(b"c/z\0", b"L") + header(b"c/f")
    ),
    "a PAX header before the end": _tars(_named(PATH), extended(record(b"comment", b"x"))),
    # GNU long names
    "a long name without its NUL": _tars(
        extended(b"c/z\0", b"L") + header(b"c/f"),
        header(b"@", b"L", 3) + padded(b"c/zz") + header(b"c/f"),
    ),
    "a long name with bytes after its NUL": _long(b"c/z\0", b"c/z\0z\0"),
    "a long name with two NULs": _long(b"c/z\0", b"c/z\0\0"),
    "an empty long name": _long(b"c/z\0", b"\0"),
    "a long target without its NUL": _long(b"z\0", b"z", b"K", b"2"),
    "a long target with bytes after its NUL": _long(b"z\0", b"z\0z", b"K", b"2"),
    "an empty long target": _long(b"z\0", b"\0", b"K", b"2"),
    "a long target of a file": _tars(_named(PATH), extended(b"z\0", b"K") + header(b"c/f")),
    # Names and kinds
    "old type, a folder's name in the header": _records(
        record(b"comment", b"x"), PATH, name=b"c/d/", kind=b"\0"
    )._replace(good=gzipped(CHART + _named(PATH, kind=b"\0") + END)),
    "a file, a folder's name in the header": _tars(
        _named(PATH, name=b"n" * 99 + b"/"), _named(PATH, name=b"c/d/")
    ),
    "a file, a folder's name in PAX": _records(PATH, record(b"path", b"c/z/")),
    "a file, a folder's name before it": _long(b"c/z\0", b"c/z/\0"),
    "a symlink with a folder's name": _tars(
        header(b"c/l", b"2", link=b"x"), header(b"c/l/", b"2", link=b"x")
    ),
    "a file whose name ends with a dot": _tars(
        header(b"c/a/./", b"5") + header(b"c/a/./f"), header(b"c/a/.")
    ),
    "an empty part in a name": _tars(header(b"./c/f"), header(b"c//f")),
    "a folder with two slashes": _tars(header(b"c/a/", b"5"), header(b"c/a//", b"5")),
    "a header without a name": _tars(_named(PATH), _named(PATH, name=b"")),
    "a PAX header without a name": _tars(
        _named(PATH), header(b"", b"x", len(PATH)) + padded(PATH) + header(b"c/f")
    ),
    "bytes after the NUL of a name": _tars(header(b"c/z"), header(b"c/z\0z")),
    "a file with a link's target": _fields({"link": b""}, {"link": b"c/Chart.yaml"}),
    "bytes after the NUL of a target": _tars(
        header(b"c/l", b"2", link=b"x"), header(b"c/l", b"2", link=b"x\0y")
    ),
    "a contiguous file": _tars(header(b"c/f", b"0"), header(b"c/f", b"7")),
    "a folder with content": _tars(header(b"c/d/", b"5"), member(b"c/d/", b"x", b"5")),
    "a symlink with content": _tars(
        header(b"c/l", b"2", link=b"x"), member(b"c/l", b"x", b"2", link=b"x")
    ),
    "a name that is bzip2's magic": Twins(
        gzipped(header(b"BZh9") + END), gzipped(header(b"BZh91AY&SY") + END)
    ),
    # The form of a header
    "star's word behind a long prefix": _tars(
        header(b"f", prefix=DEEP), header(b"f", prefix=DEEP, tail=STAR)
    ),
    "star's word without its times": _fields({}, {"pad": bytes(8) + b"tar\0"}),
    "star's times in a prefix": _tars(
        header(b"f", prefix=b"c/p", tail=TIMES[:-4] + b"tar\0"),
        header(b"f", prefix=b"c/" + b"d" * 129, tail=TIMES[1:-4] + b"tar\0"),
    ),
    "times behind a prefix": _tars(
        header(b"f", prefix=b"c/p", tail=TIMES), header(b"f", prefix=b"c/p", tail=b"x" + TIMES[1:])
    ),
    "GNU times for a prefix": _fields({"magic": GNU}, {"magic": GNU, "prefix": b"13377777777\0"}),
    "the form of 1979": _fields({}, {"magic": V7}),
    "an unknown version of ustar": _fields({}, {"magic": b"ustar\0\0\0"}),
    "GNU's magic without its blanks": _fields({"magic": GNU}, {"magic": b"ustar   "}),
    "bytes after the NUL of an owner": _fields({"uname": b"root"}, {"uname": b"root\0x"}),
    # Numbers
    "a blank size": _tars(header(b"c/f"), header(b"c/f", size=b" " * 12)),
    "an empty size": _tars(header(b"c/f"), header(b"c/f", size=bytes(12))),
    "a size in base 256": _tars(header(b"c/f"), header(b"c/f", size=b"\x80" + bytes(11))),
    "a size with a sign": _tars(header(b"c/f"), header(b"c/f", size=b"+0000000000\0")),
    "a blank uid": _fields({"uid": bytes(8)}, {"uid": b" " * 8}),
    "a blank mode": _fields({"mode": b"000644 \0"}, {"mode": b" " * 8}),
    "an owner below zero": _fields({"gid": b"\x80" + bytes(6) + b"\1"}, {"gid": b"\xff" * 8}),
    "an owner that no system has": _fields(
        {"uid": b"\x80\0\0\0\xff\xff\xff\xfe"}, {"uid": b"\x80\0\0\1\0\0\0\0"}
    ),
    "a time that is a letter": _fields({"mtime": b"\xff" * 12}, {"mtime": b"x"}),
    "a signed checksum": _tars(
        header("c/é".encode()), header("c/é".encode(), checksum=b"%06o\0 " % 0o6330)
    ),
    # The end
    "a member after one block of zeros": Twins(
        gzipped(CHART + END[:512]), gzipped(CHART + END[:512] + member(b"c/f", b""))
    ),
    "a member after the end": Twins(
        gzipped(CHART + END * 9), gzipped(CHART + END + member(b"c/f", b""))
    ),
    "half a block at the end": Twins(gzipped(CHART), gzipped(CHART + END[:700])),
    # gzip
    "a long file name in gzip": Twins(
        gzipped(CHART + END, name=b"n" * 511), gzipped(CHART + END, name=b"n" * 512)
    ),
    "a long comment in gzip": Twins(
        gzipped(CHART + END, comment=b"n" * 511), gzipped(CHART + END, comment=b"n" * 512)
    ),
    "much extra data in gzip": Twins(
        gzipped(CHART + END, extra=b"+aHR0cHM6", comment=b"Helm"),
        gzipped(CHART + END, extra=b"n" * 65_535),
    ),
    "a checksum of the gzip header": Twins(
        gzipped(CHART + END, flags=1), gzipped(CHART + END, header_crc=True)
    ),
}
