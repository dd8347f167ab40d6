"""A tar header: 512 bytes, accepted only where every reader takes them for the same.

Two forms are written today: POSIX ustar (its magic also stands in pax archives) and GNU. What a
field holds past its end, and what the forms put in one another's places, readers take differently.
"""

from __future__ import annotations

import functools
import re
import zlib

from cnrmirror.archive import kinds
from cnrmirror.model.errors import HostileArchive

BLOCK = 512
_USTAR, _GNU = b"ustar\x0000", b"ustar  \0"
_NUMBER = re.compile(rb" *([0-7]+)[ \0]*")
_NO_TAIL = bytes(BLOCK - 345)
# Two times, and star's word, at the end of a prefix of at most 130 bytes: star and node-tar.
_TIMES = re.compile(rb"\0[0-7]{11}[ \0][0-7]{11}[ \0]\0{8}(?:tar\0|\0{4})")
# libarchive looks for another compression below the first: this one's magic can be a name.
_BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")
MAX_OWNER = (1 << 32) - 2
_MAX_TIME = 1 << 40


def octal(field: bytes, what: str) -> int:
    """The number in a field. Readers differ in a NUL before the digits, and in an empty field."""
    match = _NUMBER.fullmatch(field)
    if match is None:
        raise HostileArchive(f"the archive has a header whose {what} is not an octal number")
    return int(match[1], 8)


def _checksum(block: bytes) -> int:
    """The sum of a header's bytes, those of its checksum field taken as spaces (POSIX ustar)."""
    # adler32's low half is 1 + the sum modulo 65521: exact for ASCII, and five times faster.
    whole = (zlib.adler32(block) & 0xFFFF) - 1 if block.isascii() else sum(block)
    return whole - sum(block[148:156]) + 8 * 32


def text(field: bytes) -> str:
    """A name: UTF-8, with nothing but NULs behind it."""
    raw = field.rstrip(b"\0")
    if b"\0" in raw:
        raise HostileArchive(f"the archive has bytes after the NUL that ends a name: {raw!r}")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise HostileArchive(f"the archive has a member name that is not UTF-8: {raw!r}") from None


def check(block: bytes) -> int:
    """The size that a header tells.

    Raises:
        HostileArchive: some reader cannot parse it, or takes it for one of another form.
    """
    stated, found = block[148:156], _checksum(block)
    if stated != b"%06o\0 " % found and octal(stated, "checksum") != found:
        raise HostileArchive("the archive has a header with a wrong checksum: not a tar?")
    if not block[0]:
        # busybox takes it for the end of the archive.
        raise HostileArchive("the archive has a header without a name")
    _check_owner(block[100:124] + block[257:345])
    _check_time(block[136:148])
    if block[345:] != _NO_TAIL:
        _prefix(block)
    return octal(block[124:136], "size")


def mode_of(block: bytes) -> int:
    """The mode in a header that was checked."""
    return octal(block[100:108], "mode")


def time_of(block: bytes) -> int:
    """The time in a header that was checked, in seconds since 1970; 0 if there is none."""
    field = block[136:148]
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:], "big", signed=field[0] == 0xFF)
    return octal(field, "mtime") if any(field) else 0


def name_in(block: bytes) -> str:
    """The member's name: prefix and name (POSIX ustar)."""
    name = text(block[:100])
    prefix = "" if block[345:] == _NO_TAIL else _prefix(block)
    return f"{prefix}/{name}" if prefix else name


def _prefix(block: bytes) -> str:
    if block[257:265] != _USTAR:
        raise HostileArchive(
            f"member {block[:100].rstrip(bytes(1))!r} has an ambiguous header: what GNU tar keeps "
            "of incremental backups, others take for a part of the name; repack it"
        )
    if _TIMES.fullmatch(block[475:]):
        return text(block[345:475])
    if any(block[500:]):
        raise HostileArchive(
            "the archive has a prefix of a name where star writes its times: readers end it in "
            "different places; repack it"
        )
    return text(block[345:500])


# Most members of an archive have one owner and a few times.
@functools.lru_cache(maxsize=1024)
def _check_owner(fields: bytes) -> None:
    """Mode, owner, magic, the owner's names and the device numbers."""
    octal(fields[:8], "mode")
    for field, what in ((fields[8:16], "uid"), (fields[16:24], "gid")):
        if field[0] == 0x80:  # base 256 (GNU)
            if int.from_bytes(field[1:], "big") > MAX_OWNER:
                raise HostileArchive(f"the archive has a header whose {what} is out of range")
        elif any(field):  # npm leaves it empty
            octal(field, what)
    if fields[24:32] not in (_USTAR, _GNU):
        raise HostileArchive(
            f"the archive has a header of a form that not every reader knows, {fields[24:32]!r}: "
            "repack it as ustar, pax or GNU tar"
        )
    for field in (fields[32:64], fields[64:96]):
        text(field)
    for field, what in ((fields[96:104], "devmajor"), (fields[104:], "devminor")):
        if any(field):
            octal(field, what)


@functools.lru_cache(maxsize=4096)
def _check_time(field: bytes) -> None:
    if field[0] in (0x80, 0xFF):  # base 256 (GNU)
        if abs(int.from_bytes(field[1:], "big", signed=field[0] == 0xFF)) > _MAX_TIME:
            raise HostileArchive("the archive has a header whose mtime is out of range")
    elif any(field):
        octal(field, "mtime")


def check_start(block: bytes) -> None:
    """Refuse what begins as something else than a tar; ``block`` is shorter if nothing follows.

    What has neither a right checksum nor the magic of a tar is no header.
    """
    if _BZIP2.match(block):
        raise HostileArchive("the archive begins like a bzip2 file, and some readers take it so")
    if block[257:262] == _USTAR[:5]:
        return
    stated = _NUMBER.fullmatch(block[148:156])
    if len(block) < BLOCK or stated is None or int(stated[1], 8) != _checksum(block):
        inner = "another gzip" if block.startswith(kinds.GZIP) else kinds.kind_of(block)
        raise HostileArchive(f"what is gzipped there is no tar, but {inner}")
