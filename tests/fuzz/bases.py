"""Valid archives in the forms of several tools, as lists of blocks that can be changed."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz.build import BLOCK, END, GNU, extended, header, member, padded, record

DEEP = b"c/" + b"d" * 60 + b"/" + b"e" * 60 + b"/"
NAMES = (
    b"c/values.yaml", b"c/README.md", "c/é.txt".encode(), b"c/a b", b"./c/x", "c/日本".encode(),
    b"c/charts/sub/Chart.yaml", b"c/" + b"n" * 110, b"c/" + "é".encode() * 60,
    DEEP + b"values.yaml", DEEP * 2 + b"x", b"c/" + b"n" * 98, b"c/" + b"n" * 97 + b"/x",
    b"c/.helmignore", b"c/-rf", b"c/*", "c/\U0001f600".encode(), b"c/x ", b"c/f.",
    "c/e\u0301".encode(), "c/éé".encode(),
)  # fmt: skip
FOLDERS = (b"c/folder", b"./", b"c/" + b"f" * 110, b"c", b"c/folder/inner")
TARGETS = (b"Chart.yaml", b"./Chart.yaml", b"a/../b", b"../c/README.md", b"n" * 120, "é".encode())
TIMES = b"\0" + b"13377777777 13377777777 " + bytes(12)


@dataclass
class Block:
    """A header and what follows it, without the padding."""

    head: bytearray
    body: bytes

    @property
    def kind(self) -> bytes:
        return bytes(self.head[156:157])


def parsed(tar: bytes) -> list[Block]:
    """The blocks of a valid archive, without its end."""
    blocks, at = [], 0
    while at < len(tar) and any(tar[at : at + BLOCK]):
        head = bytearray(tar[at : at + BLOCK])
        size = int(head[124:135], 8)
        blocks.append(Block(head, tar[at + BLOCK : at + BLOCK + size]))
        at += BLOCK + -(-size // BLOCK) * BLOCK
    return blocks


def joined(blocks: list[Block]) -> bytes:
    return b"".join(bytes(block.head) + padded(block.body) for block in blocks)


def _content(rng: random.Random) -> bytes:
    return rng.choice((b"", b"a: 1\n", b"x" * 511, b"x" * 512, rng.randbytes(600), b"y" * 1500))


def _members(rng: random.Random) -> list[tuple[bytes, bytes, bytes]]:
    """Name, kind and content or target."""
    found = [(b"c/Chart.yaml", b"0", b"name: c\nversion: 1.0.0\n")]
    for name in rng.sample(NAMES, rng.randint(1, 3)):
        found.append((name, b"0", _content(rng)))
    if rng.random() < 0.5:
        found.append((rng.choice(FOLDERS), b"5", b""))
    if rng.random() < 0.4:
        found.append((b"c/link", b"2", rng.choice(TARGETS)))
    if rng.random() < 0.5:
        rng.shuffle(found)
    return found


def _tarfile(form: int) -> Callable[[random.Random], bytes]:
    def make(rng: random.Random) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
            for name, kind, content in _members(rng):
                info = tarfile.TarInfo(name.decode())
                info.type, info.uname = kind, rng.choice(("", "root", "é", "u" * 40))
                info.mtime = rng.choice((0, 1.5, 1_700_000_000))
                info.uid = rng.choice((0, 1000, 3_000_000 if form != tarfile.USTAR_FORMAT else 7))
                if kind == b"2":
                    info.linkname = content.decode()
                    content = b""
                info.size = len(content)
                try:
                    tar.addfile(info, io.BytesIO(content))
                except ValueError:  # a name that ustar has no place for
                    continue
        return buffer.getvalue()

    return make


def _by_hand(**fields: bytes) -> Callable[[random.Random], bytes]:
    """Plain headers with other ways to write a field; long names as GNU's, pax's or ustar's."""

    def make(rng: random.Random) -> bytes:
        tar = b""
        for name, kind, content in _members(rng):
            more, target = dict(fields), b""
            if kind == b"2":
                target, content = content, b""
            if kind == b"5":
                name = name.rstrip(b"/") + b"/"
            if len(name) > 100:
                # In ustar, the name is cut where a slash is; a part may be too long for that.
                cut = name.find(b"/", len(name) - 101)
                if 0 < cut <= 130 and cut < len(name) - 1 and more.get("magic") != GNU:
                    more["prefix"], name = name[:cut], name[cut + 1 :]
                elif rng.random() < 0.5:
                    tar += extended(name + b"\0", b"L")
                else:
                    tar += extended(record(b"path", name))
            if len(target) > 100:
                tar += extended(target + b"\0", b"K") if b"L" not in tar[-1024:] else b""
                target = target[:100]
            tar += member(name, content, kind, link=target, **more)
        return tar + END

    return make


def _gnu_posix(rng: random.Random) -> bytes:
    """pax as GNU tar writes it: times with fractions for every member."""
    tar = b""
    for name, kind, content in _members(rng):
        records = record(b"mtime", b"1700000000.123456789")
        records += record(b"atime", b"1700000000.1") + record(b"ctime", b"1700000000.25")
        target = content if kind == b"2" else b""
        if len(name) > 100:
            records = record(b"path", name) + records
        if len(target) > 100:
            records += record(b"linkpath", target)
        tar += extended(records)
        tar += member(name, b"" if kind == b"2" else content, kind, link=target)
    return tar + END


def _git(rng: random.Random) -> bytes:
    """As git archive: a global header with a comment."""
    return extended(record(b"comment", b"0123456789" * 4), b"g") + _by_hand()(rng)


def _oldest(rng: random.Random) -> bytes:
    """Folders and files of the type NUL, that the name tells apart."""
    return header(b"c/folder/", b"\0") + member(b"c/folder/f", _content(rng), b"\0") + END


BASES: dict[str, Callable[[random.Random], bytes]] = {
    "Python ustar": _tarfile(tarfile.USTAR_FORMAT),
    "Python GNU": _tarfile(tarfile.GNU_FORMAT),
    "Python pax": _tarfile(tarfile.PAX_FORMAT),
    "by hand": _by_hand(),
    "npm": _by_hand(uid=b"", gid=b"", mode=b"000644 \0", mtime=b"03560116604 "),
    "node-tar": _by_hand(tail=TIMES),
    "star": _by_hand(tail=TIMES[:-4] + b"tar\0"),
    "bsdtar": _by_hand(
        mode=b"000644 \0", uid=b"000765 \0", gid=b"000024 \0", mtime=b"14000000000 "
    ),
    "GNU": _by_hand(magic=GNU, uname=b"root", gname=b"root"),
    "Go": _by_hand(devmajor=b"0000000\0", devminor=b"0000000\0"),
    "GNU pax": _gnu_posix,
    "git archive": _git,
    "oldest": _oldest,
}
