"""Extended headers: the records of pax (POSIX.1-2001) and the long names of GNU tar.

Readers forgive in different ways: blanks around a length or a keyword, numbers in other forms,
bytes behind a NUL. What one of them takes for a name, another skips; so each of these is refused.
"""

from __future__ import annotations

import re
import unicodedata

from cnrmirror.archive.header import MAX_OWNER
from cnrmirror.model.errors import HostileArchive

MAX_RECORDS = 1 << 16
"""busybox skips the records of a larger header."""
_RECORD = re.compile(rb"([1-9][0-9]{0,6}) ([!-<>-~]+)=")
_LINE_END = ord("\n")
_TIME = re.compile(rb"-?[0-9]{1,11}(?:\.[0-9]{0,12})?")
_DECIMAL = re.compile(rb"0|[1-9][0-9]{0,11}")
_SPARSE = ("GNU.sparse", "SCHILY.realsize", "SUN.holesdata")
_ACL = re.compile(rb"[A-Za-z0-9_:,. @-]*")
_CHARSETS = (b"BINARY", b"ISO-IR 10646 2000 UTF-8")
NAMES = ("path", "linkpath", "size")


def long_name(body: bytes) -> str:
    """The name in a member of type L or K (GNU): up to the one NUL, its last byte."""
    if body.find(b"\0") != len(body) - 1:
        raise HostileArchive(
            "the archive has a GNU long name that its size and its NUL end in different places"
        )
    if len(body) == 1:
        raise HostileArchive("the archive has an empty GNU long name")
    return _utf8(body[:-1])


def records(body: bytes, is_global: bool) -> dict[str, str]:
    """The records that name a member or tell its size; all others are looked at, too."""
    if len(body) > MAX_RECORDS:
        raise HostileArchive(
            f"the archive has a PAX header of {len(body)} bytes: some readers skip those of more "
            f"than {MAX_RECORDS}"
        )
    found: dict[str, bytes] = {}
    position = 0
    while position < len(body):
        match = _RECORD.match(body, position)
        end = position + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(body) or body[end - 1] != _LINE_END:
            raise HostileArchive("the archive has a malformed PAX record")
        key, value = match[2].decode(), body[match.end() : end - 1]
        if key in found:
            raise HostileArchive(f"the archive has two PAX records {key!r:.80} in one header")
        _check(key, value, is_global)
        found[key] = value
        position = end
    return {key: _composed(_utf8(found[key])) for key in NAMES if key in found}


def _composed(name: str) -> str:
    if not name.isascii() and not unicodedata.is_normalized("NFC", name):
        raise HostileArchive(
            f"the archive has a PAX name that is not in Unicode form C, {name!r:.80}: some readers "
            "change it; unpack it and push the folder"
        )
    return name


def _check(key: str, value: bytes, is_global: bool) -> None:
    if key in ("mtime", "atime", "ctime"):
        if not _TIME.fullmatch(value):
            raise HostileArchive(f"the archive has a PAX {key} that is no time")
    elif key in NAMES:
        if is_global:
            raise HostileArchive(f"the archive has a global PAX record for {key!r:.80}")
        if b"\0" in value or not value:
            raise HostileArchive("the archive has an empty PAX name, or one with a NUL")
    elif key in ("uid", "gid"):
        if not _DECIMAL.fullmatch(value) or int(value) > MAX_OWNER:
            raise HostileArchive(f"the archive has a PAX {key} that is no number of an owner")
    elif key.startswith(_SPARSE):
        raise HostileArchive("the archive has a sparse file: refused")
    elif key.startswith("GNU."):
        raise HostileArchive(f"the archive has a PAX record of a backup, {key!r:.80}: refused")
    elif key == "hdrcharset":
        if is_global or value not in _CHARSETS:
            raise HostileArchive("the archive has a PAX hdrcharset that not every reader knows")
    elif key.startswith("SCHILY.acl."):
        if not _ACL.fullmatch(value):
            raise HostileArchive("the archive has a PAX access list that is not well-formed")
    elif b"hdrcharset=" in value:
        # Python looks for it anywhere in the header.
        raise HostileArchive(f"the archive has a PAX record inside another one, {key!r:.80}")
    elif not key.startswith("SCHILY.xattr."):
        _line(key, value)


def _line(key: str, value: bytes) -> None:
    if b"\0" in value or b"\n" in value:
        raise HostileArchive(f"the archive has a PAX record {key!r:.80} with a NUL or a line end")
    _utf8(value)


def _utf8(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise HostileArchive(
            f"the archive has a PAX record that is not UTF-8: {value!r:.80}"
        ) from None
