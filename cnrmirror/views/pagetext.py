"""A stranger's text as a page shows it: readmes as clean HTML, and small values.

A readme goes through three hands: pulldown-cmark makes HTML of Markdown, ``pagemarkup`` bounds
its shape, and nh3 keeps only what it knows. The last of them is the one that safety rests on.
"""

from __future__ import annotations

import functools
import html
import re
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from cnrmirror.model.later import later
from cnrmirror.views.pagelinks import safe_link, text, texts, without_hidden
from cnrmirror.views.pagemarkup import BLOCKS, DROPPED, INLINE, tidy

if TYPE_CHECKING:
    import nh3
    import pyromark
else:
    nh3 = later("nh3")
    pyromark = later("pyromark")


__all__ = ["as_bytes", "day", "link", "readme", "safe_link", "text", "texts"]

MOST_README = 512 * 1024
_MOST_HTML = 3 * 1024 * 1024
_NAMELESS = re.compile(r'(<a href="([^"<>]*+)"[^<>]*+>)((?:\s++|<(?!/a>)[^<>]*+>)*+)</a>')
_REL = "noopener noreferrer nofollow"
_CUT = f"<p>[This readme is cut after {MOST_README // 1024} KB; all of it is in the archive.]</p>\n"


def readme(source: bytes | str, markdown: bool = True) -> str:
    """Clean HTML of a readme: Markdown, or any other text as it stands.

    No script, style, image, identifier or relative link is in it. Headings begin at ``<h2>``. What
    is longer than 512 KB is cut, and says so. What would become very much HTML stays plain text.
    """
    data = source.encode("utf-8", "replace") if isinstance(source, str) else source
    whole = len(data) <= MOST_README
    given = data.decode("utf-8-sig", "replace") if whole else _beginning(data)
    made = _rendered(given) if markdown else ""
    return (made or _plain(given)) + ("" if whole else _CUT)


def _beginning(data: bytes) -> str:
    end = MOST_README
    while data[end] & 0xC0 == 0x80 and end > MOST_README - 4:
        end -= 1
    return data[:end].decode("utf-8-sig", "replace")


def _plain(given: str) -> str:
    shown = html.escape(without_hidden(given), quote=False)
    return f'<pre tabindex="0">{shown}</pre>\n' if shown.strip() else ""


def as_markup(given: str) -> str:
    """HTML of Markdown; what is HTML in it stays as it is: the cleaner decides."""
    options = pyromark.Options.ENABLE_TABLES | pyromark.Options.ENABLE_STRIKETHROUGH
    return pyromark.html(given, options=options)


def _rendered(given: str) -> str:
    made = as_markup(given)
    if len(made) > _MOST_HTML:
        return ""
    # Hidden characters may be written as entities, so they go last; what is left has no "<" in it.
    clean = without_hidden(_cleaner().clean(tidy(made)))
    # A link without a text has no name for who cannot see it.
    return _NAMELESS.sub(r"\1\3\2</a>", clean)


@functools.cache
def _cleaner() -> nh3.Cleaner:
    """What keeps of HTML only what it knows."""
    return nh3.Cleaner(
        tags=set(BLOCKS | INLINE),
        clean_content_tags=set(DROPPED),
        attributes={"a": {"href", "title"}, "ol": {"start"}},
        tag_attribute_values={
            "th": {"align": {"left", "center", "right"}},
            "td": {"align": {"left", "center", "right"}},
        },
        set_tag_attribute_values={"pre": {"tabindex": "0"}},
        url_schemes={"http", "https", "mailto"},
        url_relative="deny",
        link_rel=_REL,
        strip_comments=True,
    )


def as_bytes(size: int) -> str:
    """A number of bytes for people.

    Example:
        >>> as_bytes(1234)
        '1.2 KB'
    """
    if size < 1000:
        return f"{size} B"
    amount = float(size)
    for unit in ("KB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.95 or unit == "TB":
            break
    return f"{amount:.1f} {unit}"


def day(instant: str) -> str:
    """The day of an ISO time, ``2026-01-02``; "" if there is none."""
    found = re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", instant)
    return found[0] if found else ""


def link(url: Any) -> Markup:
    """A link to an address that may stand in one; any other text as text."""
    shown = text(url, 2000)
    if address := safe_link(url):
        return Markup('<a href="{}" rel="{}">{}</a>').format(address, _REL, shown)
    return escape(shown)
