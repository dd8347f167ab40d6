"""Archives that are nearly right: valid ones, changed in a few places. Seed and number tell all."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from typing import NamedTuple

from tests.fuzz.bases import BASES, NAMES, TARGETS, TIMES, Block, joined, parsed
from tests.fuzz.build import END, FIELDS, GNU, USTAR, checksum, extended, gzipped, record
from tests.fuzz.menus import (
    BLANKS,
    ENDINGS,
    ENDS,
    EXTRAS,
    KEYS,
    MAGICS,
    ODD_NAMES,
    ODD_TARGETS,
    PREFIXES,
    TAILS,
    TEXTS,
    VALUES,
    odd_lengths,
    written,
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
    ways = written(value, width)
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


def name(rng: random.Random, blocks: list[Block]) -> None:
    """Another name in a header; that of a folder for a file, and the other way round."""
    block = _any(rng, blocks)
    known = bytes(block.head[:100]).rstrip(b"\0")
    ways = (known + b"/", known.rstrip(b"/"), b"./" + known, known + b"\0x", known + b"/.")
    _set(block, "name", rng.choice((*ODD_NAMES, *NAMES, *ways)))


def kind(rng: random.Random, blocks: list[Block]) -> None:
    values = b"0" * 8 + b"\0\0\0\0" + b"555" + b"22" + b"1346789ADKLMNSVXgxz\xff "
    _set(_any(rng, blocks), "kind", bytes([rng.choice(values)]))


def target(rng: random.Random, blocks: list[Block]) -> None:
    _set(_any(rng, blocks), "link", rng.choice((*TARGETS, *ODD_TARGETS)))


def form(rng: random.Random, blocks: list[Block]) -> None:
    """Another magic, for one header or all."""
    value = rng.choice((USTAR, GNU, *MAGICS))
    for block in blocks if rng.random() < 0.5 else [_any(rng, blocks)]:
        _set(block, "magic", value)


def prefix(rng: random.Random, blocks: list[Block]) -> None:
    block = _any(rng, blocks)
    _set(block, "prefix", rng.choice(PREFIXES))


def tail(rng: random.Random, blocks: list[Block]) -> None:
    """The last bytes of a header: star's, node-tar's, GNU's, others."""
    block = _any(rng, blocks)
    value = rng.choice((TIMES, *TAILS))
    block.head[512 - len(value) :] = value
    block.head[148:156] = checksum(block.head)


def flip(rng: random.Random, blocks: list[Block]) -> None:
    """Any byte of a header, with a checksum that is right again."""
    block, at = _any(rng, blocks), rng.randrange(512)
    block.head[at] = rng.choice((0, 32, 46, 47, 48, 49, 55, 61, 128, 255, rng.randrange(256)))
    if not 148 <= at < 156:
        block.head[148:156] = checksum(block.head)


def _record(rng: random.Random) -> bytes:
    keys = KEYS[:24] if rng.random() < 0.8 else KEYS
    key = rng.choice(keys)
    usual = {
        b"path": (*NAMES, b"c/z", b"c/z"), b"linkpath": TARGETS, b"comment": (b"x", b"0" * 40),
        b"mtime": VALUES[:5], b"atime": VALUES[:5], b"ctime": VALUES[:5], b"uid": VALUES[:4],
        b"gid": VALUES[:4], b"uname": (b"root", b"u" * 50), b"gname": (b"root", "é".encode()),
    }  # fmt: skip
    odd = (*VALUES, *ODD_NAMES)
    value = rng.choice(usual[key] if key in usual and rng.random() < 0.75 else odd)
    blanks, end = b" ", b"\n"
    if rng.random() < 0.06:
        blanks = rng.choice(BLANKS)
    if rng.random() < 0.03:
        end = rng.choice((b"", b"\0", b" ", b"\n\n", b"\r\n"))
    text = record(key, value, blanks, end)
    if rng.random() < 0.08:
        text = rng.choice(odd_lengths(text))
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
    value = rng.choice((*NAMES, *TARGETS, *ODD_NAMES) if rng.random() < 0.4 else NAMES)
    end = rng.choice(ENDS if rng.random() < 0.4 else ENDS[:1])
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
    return rng.choice(ENDINGS)


def _zipped(rng: random.Random, tar: bytes) -> bytes:
    if rng.random() < 0.75:
        return gzip.compress(tar, 1, mtime=0)
    some = [rng.choice(TEXTS[:5] if rng.random() < 0.8 else TEXTS) for _ in range(2)]
    extra = rng.choice(EXTRAS)
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
