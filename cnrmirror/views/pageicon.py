"""A picture of a package that has none of its own: the same for a name, on every page."""

from __future__ import annotations

import hashlib
from itertools import groupby

_SIZE = 5


def icon(name: str) -> str:
    """A ``data:`` address of an SVG of at most 350 bytes: 5 × 5 squares, mirrored.

    The digest of the name chooses squares and hue; the two colours can be told apart on white and
    on black. No part of the name is in it.

    Example:
        >>> icon("charts/nginx").startswith("data:image/svg+xml,%3Csvg")
        True
    """
    digest = hashlib.sha256(name.encode()).digest()
    hue = int.from_bytes(digest[:2], "big") % 360
    columns = [[digest[2 + 5 * min(x, 4 - x) + y] & 1 for x in range(_SIZE)] for y in range(_SIZE)]
    runs = "".join(_row(y, row) for y, row in enumerate(columns))
    return (
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 7 7'%3E"
        f"%3Cpath fill='hsl({hue} 45%25 88%25)' d='M0 0h7v7H0'/%3E"
        f"%3Cpath fill='hsl({hue} 60%25 38%25)' d='{runs}'/%3E%3C/svg%3E"
    )


def _row(y: int, row: list[int]) -> str:
    """One path of each run of squares."""
    drawn, x = [], 0
    for filled, group in groupby(row):
        width = len(list(group))
        if filled:
            drawn.append(f"M{x + 1} {y + 1}h{width}v1H{x + 1}")
        x += width
    return "".join(drawn)
