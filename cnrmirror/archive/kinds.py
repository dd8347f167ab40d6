"""What a file is that is no gzipped tar, told by its first bytes, for people."""

from __future__ import annotations

import re

GZIP = b"\x1f\x8b"
ENOUGH = 512
"""So many first bytes tell all that can be told; a shorter file is told by what it has."""

_MAGIC = {
    b"PK\x03\x04": "a zip",
    b"PK\x05\x06": "an empty zip",
    b"\xfd7zXZ\x00": "an xz file",
    b"BZh": "a bzip2 file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\x04\x22\x4d\x18": "an lz4 file",
    b"LZIP": "an lzip file",
    b"\x1f\x9d": "a file of compress (.Z)",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"%PDF": "a PDF",
    b"\x7fELF": "a program",
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file itself: git lfs pull",
    b"-----BEGIN PGP": "a PGP message or signature",
}
_MARKUP = re.compile(rb"<(?:!doctype|html|head|body|title|\?xml|[a-z])", re.I)
_HTML = re.compile(rb"<!doctype html|<html", re.I)


def kind_of(head: bytes) -> str:
    """What a file is that begins with ``head`` (``ENOUGH`` bytes, or all it has).

    Example:
        >>> kind_of(b"PK\\x03\\x04")
        'a zip'
    """
    if not head:
        return "an empty file"
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "a tar that is not gzipped; gzip it: gzip -n FILE"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _MARKUP.match(text):
        html = _HTML.search(text)
        return "a web page (HTML): a log-in or an error page?" if html else "a text in XML"
    if text[:1] in (b"{", b"[") and _is_text(head):
        return "a text in JSON"
    return "a text" if _is_text(head) else "something else, by its first bytes"


def _is_text(head: bytes) -> bool:
    # The last character may be cut.
    text = head.decode(errors="ignore")
    whole = len(head) - len(text.encode()) <= 3
    return whole and not any(ord(c) < 32 and c not in "\t\n\r\f\x1b" for c in text)
