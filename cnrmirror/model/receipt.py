"""Receipts: one line that says which state of which mirror something is, to be carried apart.

::

    cnrmirror-receipt 1 REGISTRY revision=7 catalog=HEX root=1 timestamp=12 time=2026-01-02T03:04:05

The number is the line's format: its reader and its writer version at once, because nobody writes
into a receipt, and one that is not known is read by nobody.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from cnrmirror.model.digest import HEX64, Digest, Size, parse_digest
from cnrmirror.model.errors import InputError

_LINE = re.compile(
    r"cnrmirror-receipt 1 (?P<registry>\S{1,200}) revision=(?P<revision>\d{1,15}) "
    r"catalog=(?P<catalog>[0-9a-f]{64}) root=(?P<root>\d{1,9}) timestamp=(?P<timestamp>\d{1,15}) "
    r"time=(?P<time>[0-9T:.-]{19,26})"
)


class Receipt(msgspec.Struct, frozen=True):
    """A catalog, and the versions of root and timestamp that vouched for it."""

    registry: str
    revision: Size
    catalog: Digest
    root: Size
    timestamp: Size
    time: str

    def __str__(self) -> str:
        return (
            f"cnrmirror-receipt 1 {self.registry} revision={self.revision} catalog={self.catalog} "
            f"root={self.root} timestamp={self.timestamp} time={self.time}"
        )

    @classmethod
    def parse(cls, text: str) -> Receipt:
        """The receipt in a line. Raises InputError."""
        match = _LINE.fullmatch(text.strip())
        if match is None:
            raise InputError(f"not a receipt: {text[:80]!r}")
        return cls(
            match["registry"], int(match["revision"]), match["catalog"], int(match["root"]),
            int(match["timestamp"]), match["time"],
        )  # fmt: skip


def receipt_in(text: str) -> Receipt | None:
    """The first receipt among the lines of a text: of what 'export' has printed, for example."""
    for line in text.splitlines():
        if line.startswith("cnrmirror-receipt"):
            return Receipt.parse(line)
    return None


def expected_catalog(text: str) -> str:
    """The catalog's digest in a receipt, a file with one, or given as itself. Raises InputError."""
    if text.startswith("cnrmirror-receipt"):
        return Receipt.parse(text).catalog
    if HEX64.fullmatch(text.removeprefix("sha256:")):
        return parse_digest(text)
    try:
        with Path(text).open("rb") as stream:
            receipt = receipt_in(stream.read(1 << 20).decode())
    except (OSError, ValueError) as error:  # UnicodeDecodeError is one, too
        raise InputError(f"{text}: neither a receipt, a digest, nor a file with one") from error
    if receipt is None:
        raise InputError(f"{text}: there is no receipt in this file")
    return receipt.catalog
