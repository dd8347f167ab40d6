"""Tar archives made by hand, block by block, right or wrong."""

from __future__ import annotations

import gzip
import struct
import zlib

BLOCK = 512
USTAR, GNU, V7 = b"ustar\x0000", b"ustar  \0", bytes(8)
STAR = bytes(4) + b"00000000000 00000000000 " + b"tar\0"
"""The last bytes of a header that star writes: no prefix past 131 bytes, two times, its magic."""
END = bytes(2 * BLOCK)
FIELDS = {
    "name": (0, 100), "mode": (100, 8), "uid": (108, 8), "gid": (116, 8), "size": (124, 12),
    "mtime": (136, 12), "checksum": (148, 8), "kind": (156, 1), "link": (157, 100),
    "magic": (257, 8), "uname": (265, 32), "gname": (297, 32), "devmajor": (329, 8),
    "devminor": (337, 8), "prefix": (345, 155), "pad": (500, 12),
}  # fmt: skip


def header(
    name: bytes, kind: bytes = b"0", size: int | bytes = 0, tail: bytes = b"", **fields: bytes
) -> bytes:
    """A header; bytes are written as they are, ``tail`` over the last bytes."""
    block = bytearray(BLOCK)
    usual = {
        "name": name, "mode": b"0000644\0", "uid": b"0000000\0", "gid": b"0000000\0",
        "size": size if isinstance(size, bytes) else b"%011o\0" % size, "kind": kind,
        "mtime": b"00000000000\0", "magic": USTAR,
    }  # fmt: skip
    for key, value in {**usual, **fields}.items():
        at, length = FIELDS[key]
        block[at : at + min(len(value), length)] = value[:length]
    block[BLOCK - len(tail) :] = tail
    if "checksum" not in fields:
        block[148:156] = checksum(block)
    return bytes(block)


def checksum(block: bytes | bytearray) -> bytes:
    return b"%06o\0 " % (sum(block) - sum(block[148:156]) + 8 * 32)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def member(name: bytes, data: bytes, kind: bytes = b"0", **fields: bytes) -> bytes:
    return header(name, kind, len(data), **fields) + padded(data)


def record(key: bytes, value: bytes, blanks: bytes = b" ", end: bytes = b"\n") -> bytes:
    """One PAX record: its length, blanks, KEY=VALUE and a line end."""
    rest = blanks + key + b"=" + value + end
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length += 1
    return b"%d" % length + rest


def extended(body: bytes, kind: bytes = b"x") -> bytes:
    return member(b"extended", body, kind)


def gzipped(
    tar: bytes,
    name: bytes | None = None,
    comment: bytes | None = None,
    extra: bytes | None = None,
    header_crc: bool = False,
    flags: int = 0,
) -> bytes:
    """The archive in gzip, with the optional parts of its header (RFC 1952)."""
    parts = ((4, extra), (8, name), (16, comment))
    flags |= sum(flag for flag, part in parts if part is not None) | 2 * header_crc
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(4) + b"\0\xff"
    head += b"" if extra is None else struct.pack("<H", len(extra)) + extra
    head += b"".join(part + b"\0" for part in (name, comment) if part is not None)
    if header_crc:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    return head + gzip.compress(tar, 1, mtime=0)[10:]
