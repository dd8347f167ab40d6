"""Archives that are nearly right: valid ones, changed in a few places. Seed and number tell all."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from typing import NamedTuple

from tests.fuzz.bases import BASES, DEEP, NAMES, TARGETS, TIMES, Block, joined, parsed
from tests.fuzz.build import (
    END,
    FIELDS,
    GNU,
    STAR,
    USTAR,
    V7,
    checksum,
    extended,
    gzipped,
    header,
    member,
    record,
)

Change = Callable[[random.Random, list[Block]], None]


class Case(NamedTuple):
    """An archive, what it unpacks to, and how it came to be."""

    data: bytes
    tar: bytes
    story: str


def _set(block: Block, field: str, value: bytes) -> None:
    at, length = FIELDS[field]
    block.head[at : at + length] = value[:length].ljust(length, b"\0")
    if field != "checksum":
        block.head[148:156] = checksum(block.head)


def _any(rng: random.Random, blocks: list[Block]) -> Block:
    return rng.choice(blocks)


def _written(value: int, width: int) -> tuple[bytes, ...]:
    """Ways to write a number in a field: those that are usual first."""
    digits = b"%o" % value
    return (
        digits.rjust(width - 1, b"0") + b"\0", digits.rjust(width - 1, b"0") + b" ",
        digits.rjust(width - 2, b"0") + b" \0", digits.rjust(width - 2, b"0") + b"\0 ",
        digits.rjust(width, b"0"), digits.rjust(width - 1) + b"\0", digits + b"\0",
        digits.rjust(width - 2) + b" \0", digits.rjust(width), digits, digits + b" ",
        digits + b" \0 \0", b" " + digits + b"\0",
        # What not all take from here on.
        b"\x80" + value.to_bytes(width - 1, "big"), b"\xff" * width, b" " * width, b"",
        b"+" + digits, b"-" + digits, b"0x" + digits, b"0o" + digits, digits + b"_0",
        b"\0" + digits, digits + b"\0" + digits, digits + b"x", digits + b".0", b"\t" + digits,
        digits + b"\n", b"8", b"%d " % (value + 8), b"7" * width, b"\x80" + b"\xff" * (width - 1),
        b"\x81" + bytes(width - 1), b"\xc0" + bytes(width - 2) + b"\1", b" \0" + digits,
    )  # fmt: skip


def number(rng: random.Random, blocks: list[Block]) -> None:
    """A number in a header, written in another way."""
    block = _any(rng, blocks)
    field = rng.choice(("mode", "uid", "gid", "size", "mtime", "checksum", "devmajor", "devminor"))
    width = FIELDS[field][1]
    value = {"mode": 0o644, "size": len(block.body), "mtime": 1_700_000_000}.get(field, 0)
    if field == "checksum":
        whole = sum(block.head) - sum(block.head[148:156]) + 256
        signed = whole - 256 * sum(byte > 127 for byte in block.head)
        value = rng.choice((whole, whole, signed if signed > 0 else whole))
    ways = _written(value, width)
    _set(block, field, rng.choice(ways[:13] if rng.random() < 0.7 else ways))


def owner(rng: random.Random, blocks: list[Block]) -> None:
    """Other owners, small, large and wrong."""
    block, field = _any(rng, blocks), rng.choice(("uid", "gid"))
    value = rng.choice((0, 1, 65534, 2097151, 3_000_000, 2**31, 2**32 - 2, 2**32 - 1, 2**40))
    _set(block, field, b"%07o\0" % value if value < 8**7 else b"\x80" + value.to_bytes(7, "big"))


def time(rng: random.Random, blocks: list[Block]) -> None:
    value = rng.choice((0, 1, 2**31, 8**11 - 1, 2**33, 2**35, 2**40, 2**41, -1, -(2**31), -(2**40)))
    if 0 <= value < 8**11:
        _set(_any(rng, blocks), "mtime", b"%011o\0" % value)
    else:
        first = b"\xff" if value < 0 else b"\x80"
        _set(_any(rng, blocks), "mtime", first + (value % 2**88).to_bytes(11, "big"))


def user(rng: random.Random, blocks: list[Block]) -> None:
    values = (
        b"", b"root", b"u" * 31, b"u" * 32, "é".encode(), b"D\\u", b"\xff", b"root\0x", b"a:b",
        b"a\nb", b"\xc3", b"0", b" ",
    )  # fmt: skip
    _set(_any(rng, blocks), rng.choice(("uname", "gname")), rng.choice(values))


_LIKE_NAMES = (
    b"", b".", b"./", b"./.", b"c", b"c/", b"c/a/.", b"c/a/./", b"c/a//b", b"c/a//", b"c/./b",
    b"./c/z", b"././c/z", b"c/..", b"../c", b"/c", b"c/\xff", b"c/a\0b", b"c/a\nb", b"c/a\\b",
    b"C:/a", b"BZh91AY&SY", b"LRZI", b"MSCF", b"#mtree", b"070707", b"c/...", b"c/ ", b" c/a",
    b"n" * 100, b"n" * 99 + b"/", b"c/values.yaml/", b"c/Chart.yaml", b"c/%41", b"c/\xc2\x85",
    "c/\ufffe".encode(), "c/\U0010ffff".encode(), "c/\ue000".encode(), b"c/e\xcc\x81",
    b"c/\xed\xa0\x80", b"@LongLink", b"././@LongLink", b"PaxHeaders/x", b"c/@", b"c/$(x)", b"~",
)  # fmt: skip


def name(rng: random.Random, blocks: list[Block]) -> None:
    """Another name in a header; that of a folder for a file, and the other way round."""
    block = _any(rng, blocks)
    known = bytes(block.head[:100]).rstrip(b"\0")
    ways = (known + b"/", known.rstrip(b"/"), b"./" + known, known + b"\0x", known + b"/.")
    _set(block, "name", rng.choice((*_LIKE_NAMES, *NAMES, *ways)))


def kind(rng: random.Random, blocks: list[Block]) -> None:
    values = b"0" * 8 + b"\0\0\0\0" + b"555" + b"22" + b"1346789ADKLMNSVXgxz\xff "
    _set(_any(rng, blocks), "kind", bytes([rng.choice(values)]))


def target(rng: random.Random, blocks: list[Block]) -> None:
    values = (
        *TARGETS,
        b"c/Chart.yaml",
        b"",
        b"x\0y",
        b"/etc",
        b"..",
        b".",
        b"a//b",
        b"\xff",
        b"x/",
    )
    _set(_any(rng, blocks), "link", rng.choice(values))


def form(rng: random.Random, blocks: list[Block]) -> None:
    """Another magic, for one header or all."""
    values = (
        USTAR, USTAR, GNU, GNU, V7, b"ustar\0\0\0", b"ustar\x0001", b"ustar 00", b"USTAR\x0000",
        b"ustar   ", b"ustar\0  ", b"ustar  0", b"ustar\x00 \0", b"ustar00\0",
    )  # fmt: skip
    value = rng.choice(values)
    for block in blocks if rng.random() < 0.5 else [_any(rng, blocks)]:
        _set(block, "magic", value)


def prefix(rng: random.Random, blocks: list[Block]) -> None:
    block = _any(rng, blocks)
    values = (
        b"c", b"./c", b"c/p", DEEP, b"c/" + b"d" * 128, b"c/" + b"d" * 129, b"c/" + b"d" * 130,
        b"p" * 155, b"c/", b"/c", b"c\0x", b"c//p", b".", b"..", b"\0x", b"\xff", b"c/..",
        b"00000000000\x0000000000000\0", "é".encode() * 77,
    )  # fmt: skip
    _set(block, "prefix", rng.choice(values))


def tail(rng: random.Random, blocks: list[Block]) -> None:
    """The last bytes of a header: star's, node-tar's, GNU's, others."""
    block = _any(rng, blocks)
    values = (STAR, TIMES, TIMES, b"tar\0", b"x", bytes(36) + b"1", b"\0" + b"1" * 36, bytes(12))
    value = rng.choice(values)
    block.head[512 - len(value) :] = value
    block.head[148:156] = checksum(block.head)


def flip(rng: random.Random, blocks: list[Block]) -> None:
    """Any byte of a header, with a checksum that is right again."""
    block, at = _any(rng, blocks), rng.randrange(512)
    block.head[at] = rng.choice((0, 32, 46, 47, 48, 49, 55, 61, 128, 255, rng.randrange(256)))
    if not 148 <= at < 156:
        block.head[148:156] = checksum(block.head)


_KEYS = (
    b"path", b"path", b"linkpath", b"size", b"uid", b"gid", b"uname", b"gname", b"mtime", b"atime",
    b"ctime", b"comment", b"hdrcharset", b"SCHILY.dev", b"SCHILY.xattr.user.x", b"VENDOR.key",
    b"LIBARCHIVE.creationtime", b"SCHILY.acl.access", b"SCHILY.fflags", b"RHT.security.selinux",
    b"LIBARCHIVE.xattr.user.x", b"NODETAR.depth", b"SCHILY.ino", b"SCHILY.nlink",
    # Hardly ever written from here on.
    b"", b" path", b"path ", b"Path", b"PATH", b"pa\0th", b"path\0", b"GNU.sparse.size", b"size ",
    b"GNU.sparse.name", b"GNU.volume.filename", b"SCHILY.realsize", b"SUN.holesdata", b"\npath",
    b"GNU.sparse.major", b"SCHILY.devmajor", b"SCHILY.filetype", b"LIBARCHIVE.symlinktype", b"\xff",
    b"charset", b"SCHILY.acl.default", b"SCHILY.acl.ace", b"SCHILY.offset", b"GNU.dumpdir",
    b"security.selinux", b"SELinux", b"path/", b"\tpath", "é".encode(), b"realtime.x",
)  # fmt: skip
_VALUES = (
    b"0", b"1", b"5", b"1700000000", b"1700000000.5", b"4294967294", b"4294967295", b"-1", b"+1",
    b"007", b"1_0", b" 1", b"1 ", b"", b"x", b"1e3", b"nan", b"0x1", b"1.", b".5", b"-1.5",
    b"1.5.5",
    b"99999999999", b"-99999999999", b"9" * 20, b"root", b"BINARY", b"ISO-IR 10646 2000 UTF-8",
    b"UTF-8", b"a=b", b"a\nb", b"a\0b", b"\xff", b"c/z\0", b"c/z\n", b"\n", b"user::rw-,group::r--",
    b"13 path=c/y\n", b"x\n21 hdrcharset=BINARY", b"nodump", b"symlink:file", "é".encode(), b"c/d/",
    b"user::rwx,group::r-x,other::r-x", b"AAA=", b"file", b"1,2", b"directory",
)  # fmt: skip


def _record(rng: random.Random) -> bytes:
    keys = _KEYS[:24] if rng.random() < 0.8 else _KEYS
    key = rng.choice(keys)
    usual = {
        b"path": (*NAMES, b"c/z", b"c/z"), b"linkpath": TARGETS, b"comment": (b"x", b"0" * 40),
        b"mtime": _VALUES[:5], b"atime": _VALUES[:5], b"ctime": _VALUES[:5], b"uid": _VALUES[:4],
        b"gid": _VALUES[:4], b"uname": (b"root", b"u" * 50), b"gname": (b"root", "é".encode()),
    }  # fmt: skip
    odd = (*_VALUES, *_LIKE_NAMES)
    value = rng.choice(usual[key] if key in usual and rng.random() < 0.75 else odd)
    blanks, end = b" ", b"\n"
    if rng.random() < 0.06:
        blanks = rng.choice((b"  ", b"\t", b"", b" \t", b"\0", b" \n"))
    if rng.random() < 0.03:
        end = rng.choice((b"", b"\0", b" ", b"\n\n", b"\r\n"))
    text = record(key, value, blanks, end)
    if rng.random() < 0.08:
        length, rest = text.split(b" ", 1) if b" " in text else (b"1", text)
        n = int(length) if length.isdigit() else 1
        odd_lengths = (
            b"0" + length, b"+" + length, b" " + length, b"-" + length, b"%d" % (n + 1),
            b"%d" % (n - 1), b"1_" + length, length + b".", b"0", b"", b"9" * 9, b"0x" + length,
            b"\0" + length, b"\n" + length,
        )  # fmt: skip
        text = rng.choice(odd_lengths) + b" " + rest
    return text


def _insert(rng: random.Random, blocks: list[Block], tar: bytes) -> None:
    at = 0 if rng.random() < 0.3 else rng.randint(0, len(blocks))
    blocks[at:at] = parsed(tar)


def pax(rng: random.Random, blocks: list[Block]) -> None:
    """A PAX header more: before a member, or for all."""
    body = b"".join(_record(rng) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    if rng.random() < 0.05:
        body += rng.choice((b"\0", b"\n", b" ", bytes(30), record(b"comment", b"x" * 70_000)))
    _insert(rng, blocks, extended(body, rng.choice((b"x", b"x", b"x", b"x", b"g"))))


def splice(rng: random.Random, blocks: list[Block]) -> None:
    """Records more, fewer or in another order, in a PAX header that there is."""
    found = [block for block in blocks if block.kind in (b"x", b"g") and block.body]
    if not found:
        return pax(rng, blocks)
    block = rng.choice(found)
    body = bytearray(block.body)
    way = rng.randrange(5)
    if way == 0:
        body[:0] = _record(rng)
    elif way == 1:
        body += _record(rng)
    elif way == 2:
        body[rng.randrange(len(body))] = rng.choice(b"\0\n =0159/.ax\xff")
    elif way == 3:
        del body[-rng.randint(1, 3) :]
    else:
        lines = bytes(body).splitlines(keepends=True)
        rng.shuffle(lines)
        body[:] = b"".join(lines)
    block.body = bytes(body)
    _set(block, "size", b"%011o\0" % len(body))


def long_name(rng: random.Random, blocks: list[Block]) -> None:
    """A GNU long name or target more; its NUL missing, too early or twice."""
    value = rng.choice((*NAMES, *TARGETS, *_LIKE_NAMES) if rng.random() < 0.4 else NAMES)
    end = rng.choice((b"\0", b"\0", b"\0", b"\0", b"", b"\0x", b"\0\0", b"\0x\0", b"\n\0"))
    _insert(rng, blocks, extended(value + end, rng.choice((b"L", b"L", b"K"))))


def order(rng: random.Random, blocks: list[Block]) -> None:
    """A block twice, gone, or in another place."""
    at, way = rng.randrange(len(blocks)), rng.randrange(3)
    block = blocks[at]
    if way == 0:
        blocks.insert(rng.randint(0, len(blocks)), Block(bytearray(block.head), block.body))
    elif way == 1 and len(blocks) > 1:
        del blocks[at]
    else:
        blocks.insert(rng.randint(0, len(blocks) - 1), blocks.pop(at))


def size(rng: random.Random, blocks: list[Block]) -> None:
    """Content for what has none, or a size that is not that of the content."""
    block = _any(rng, blocks)
    if rng.random() < 0.5:
        block.body = rng.choice((b"", b"x", b"x" * 513))
    value = len(block.body) + rng.choice((0, 0, 0, 1, -1, 512))
    _set(block, "size", b"%011o\0" % max(value, 0))


CHANGES: tuple[Change, ...] = (
    number, number, number, owner, time, user, name, name, kind, target, form, prefix, tail, flip,
    pax, pax, pax, pax, splice, splice, long_name, long_name, order, size,
)  # fmt: skip


def _ending(rng: random.Random) -> bytes:
    if rng.random() < 0.8:
        return END
    endings = (
        b"", b"", END[:512], END[:512], END * 10, END * 10, END[:512] + member(b"c/after", b"x"),
        END + member(b"c/after", b"x"), END + b"x", END[:700], b"x", END + header(b"c/after"),
        bytes(511) + b"\1",
    )  # fmt: skip
    return rng.choice(endings)


def _zipped(rng: random.Random, tar: bytes) -> bytes:
    if rng.random() < 0.75:
        return gzip.compress(tar, 1, mtime=0)
    texts = (
        b"",
        b"c.tgz",
        b"Helm",
        b"n" * 255,
        b"n" * 511,
        b"n" * 512,
        b"n" * 70_000,
        b"\xe9",
        b"\n",
    )
    some = [rng.choice(texts[:5] if rng.random() < 0.8 else texts) for _ in range(2)]
    extra = rng.choice(
        (None, None, b"", b"BC\2\0\1\2", b"+aHR0cHM6", b"x" * 4096, b"x" * 65535, b"\0" * 40)
    )
    data = gzipped(
        tar,
        name=rng.choice((None, some[0])),
        comment=rng.choice((None, some[1])),
        extra=extra,
        header_crc=rng.random() < 0.05,
        flags=rng.choice((0, 0, 0, 1, 0x20, 0x80) if rng.random() < 0.2 else (0, 1)),
    )
    if rng.random() < 0.1:
        data = rng.choice(
            (data + b"\0", data + data, data + b"x", data[:-1], data[:-4] + b"\0\0\0\1")
        )
    return data


def generated(seed: int, n: int) -> Case:
    """The archive number ``n`` of a seed: always the same."""
    rng = random.Random(f"{seed}/{n}")
    base = rng.choice(list(BASES))
    blocks = parsed(BASES[base](rng))
    story = [base]
    for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 2, 2, 2, 3))):
        change = rng.choice(CHANGES)
        change(rng, blocks)
        story.append(change.__name__)
    tar = joined(blocks) + _ending(rng)
    return Case(_zipped(rng, tar), tar, ", ".join(story))
