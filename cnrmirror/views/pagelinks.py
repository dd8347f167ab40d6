"""Text and addresses from strangers, as a page can show them.

The characters are listed here and not asked of ``unicodedata``: a page is the same on every Python.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

# Bidirectional controls, and what is neither seen nor printed. Joiners (200C, 200D) stay in
# readmes: Persian and emoji need them.
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNSEEN = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u00ad\u180e\u200b\u2060-\u2065\u206a-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_HIDDEN = re.compile(f"[{_BIDI}{_UNSEEN}]")
_NOT_PLAIN = re.compile(
    f"[{_BIDI}{_UNSEEN}\u200c\u200d\u2028\u2029\t\n\r \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+"
)
_ADDRESS = re.compile(r"https?://[^\s\"'<>\\^`{|}]+|mailto:[^\s\"'<>\\^`{|}@]+@[^\s\"'<>\\^`{|}@]+")
_LONGEST_ADDRESS = 2000


def text(value: Any, most: int = 400) -> str:
    """One line of plain text of at most ``most`` characters; "" for what is not text or a number.

    Example:
        >>> text("a\\u202e\\n  b")
        'a b'
    """
    if not isinstance(value, str | int | float):
        return ""
    # Blanks shrink, so that more than the first characters are looked at; but not all of them.
    plain = _NOT_PLAIN.sub(" ", str(value)[: 4 * most]).strip()
    return plain if len(plain) <= most else plain[: most - 1].rstrip() + "…"


def texts(value: Any, most: int = 30) -> list[str]:
    """The texts of a list that are not empty, at most ``most``; [] for what is not a list."""
    given = value[: 4 * most] if isinstance(value, list | tuple) else ()
    return [line for item in given if (line := text(item))][:most]


def without_hidden(given: str) -> str:
    """A text of many lines without control characters, and what turns the order of characters."""
    return _HIDDEN.sub("", given)


def safe_link(value: Any) -> str:
    """``value`` if it is an http, https or mailto address that can stand in a link, else "".

    One with a user name in it is refused: it reads as another host than the one that it leads to.
    """
    if not isinstance(value, str) or len(value) > _LONGEST_ADDRESS:
        return ""
    address = value.strip(" \t\r\n")
    scheme, colon, rest = address.partition(":")
    address = f"{scheme.lower()}{colon}{rest}"
    if not _ADDRESS.fullmatch(address) or _NOT_PLAIN.search(address):
        return ""
    try:
        parts = urlsplit(address)
        known = parts.scheme == "mailto" or (bool(parts.hostname) and parts.port != 0)
    except ValueError:
        return ""
    return address if known and "@" not in parts.netloc else ""
