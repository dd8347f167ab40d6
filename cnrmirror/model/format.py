"""Reader and writer versions: how a format may grow without breaking who reads it.

A document says ``{"read": R, "write": W}``. A program that knows less than R cannot read it; one
that knows less than W reads it, and writes nothing into what it belongs to. A new optional field
raises W if it names no bytes; whatever else is new raises R (docs/format.md).
"""

from __future__ import annotations

import msgspec

from cnrmirror.model.digest import Size
from cnrmirror.model.errors import NewerFormat


class Format(msgspec.Struct, frozen=True):
    """The versions that a program must know to read a document, and to write beside it."""

    read: Size = 1
    write: Size = 1


KNOWN = Format(1, 3)
"""What this program knows. Writer version 2: facts have ``images`` and ``first``; 3: catalog roots
have ``log`` and ``root``."""

LOG_SINCE = 3
"""The writer version from which on catalog roots have ``log`` and ``root``."""

FIRST = Format()
"""What a document without versions has."""


def newest(one: Format, other: Format) -> Format:
    """The format in which both of two catalogs can be written."""
    return Format(max(one.read, other.read), max(one.write, other.write))


def require_readable(format: Format, where: str) -> None:
    """Raises NewerFormat if this program cannot read a document of this format."""
    if format.read > KNOWN.read:
        raise NewerFormat(
            f"{where}: this mirror needs a newer cnrmirror to be read (format {format.read}, this "
            f"program knows {KNOWN.read}): update cnrmirror"
        )


def require_writable(format: Format, where: str) -> None:
    """Raises NewerFormat if this program must not write beside a document of this format."""
    require_readable(format, where)
    if format.write > KNOWN.write:
        raise NewerFormat(
            f"{where}: this mirror needs a newer cnrmirror to be changed (format {format.write}, "
            f"this program knows {KNOWN.write}): update cnrmirror; reading works"
        )
