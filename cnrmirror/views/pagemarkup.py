"""Markup brought into a shape that costs a parser of HTML little: nested well, and not deeply.

A parser of HTML takes time and memory out of proportion for tags that are nested deeply or closed
in the wrong order. What leaves here has few kinds of tags, each closed in its place, and at most a
hundred in one another. Headings stand one level down, images are links, and links that lead into
the archive are text. It is not what makes a page safe: that is the cleaner after it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping

from cnrmirror.views.pagelinks import safe_link


def _words(text: str) -> list[str]:
    return text.split()


BLOCKS = frozenset(
    _words(
        "h2 h3 h4 h5 h6 p ul ol li pre blockquote table thead tbody tfoot tr th td hr div "
        "details summary dl dt dd"
    )
)
INLINE = frozenset(_words("a br code em strong b i s del ins sub sup kbd samp var q small"))
# What stands between these two is not text.
DROPPED = frozenset(
    _words(
        "script style svg math iframe object template noscript title textarea select xmp "
        "noembed noframes plaintext head"
    )
)
_TAGS = BLOCKS | INLINE
_EMPTY = frozenset(("br", "hr"))
_HEADINGS = {"h1": "h2", "h2": "h3", "h3": "h4", "h4": "h5", "h5": "h6"}
_MOST_NESTED = 100

# A tag whose end no two readers see at different places. "+" after a count: no second attempts.
_ATTRIBUTE = re.compile(
    r"""\s++([a-zA-Z_:@][a-zA-Z0-9_:@.-]*+)(?:\s*+=\s*+("[^"<>]*+"|'[^'<>]*+'|[^\s"'`<>]++))?+"""
)
_TOKEN = re.compile(
    r"<(?:!--(?!-?>)(?P<comment>.*?)--!?>"
    rf"|(?P<close>/?)(?P<name>[a-zA-Z][a-zA-Z0-9]*+)(?P<attributes>(?:{_ATTRIBUTE.pattern})*+)"
    r"\s*+/?>|)",
    re.DOTALL,
)
_LESS = re.compile("<(?P<comment>!)?(?P<close>!)?(?P<name>!)?")
# An open tag ends these, if one of them is the innermost.
_ENDS: dict[str, frozenset[str]] = {
    **dict.fromkeys(BLOCKS, frozenset(("p",))),
    **dict.fromkeys(INLINE, frozenset()),
    "li": frozenset(("li", "p")),
    **dict.fromkeys(("dt", "dd"), frozenset(("dt", "dd", "p"))),
    "tr": frozenset(("tr", "th", "td", "p")),
    **dict.fromkeys(("th", "td"), frozenset(("th", "td", "p"))),
    **dict.fromkeys(
        ("thead", "tbody", "tfoot"), frozenset(("thead", "tbody", "tfoot", "tr", "th", "td", "p"))
    ),
}
_IN_TABLE = frozenset(("table", "thead", "tbody", "tfoot", "tr"))
_PARENTS: Mapping[str, frozenset[str]] = {
    "tr": frozenset(("table", "thead", "tbody", "tfoot")),
    **dict.fromkeys(("th", "td"), frozenset(("tr",))),
    **dict.fromkeys(("thead", "tbody", "tfoot"), frozenset(("table",))),
}


class _Writer:
    """The text so far, and which tags are open."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.stack: list[str] = [""]

    def text(self, text: str) -> None:
        # Text between cells has no place; a parser would move it in front of the table.
        if self.stack[-1] not in _IN_TABLE or not text.strip(" \t\n"):
            self.parts.append(text)

    def open(self, name: str, attributes: str = "") -> None:
        stack = self.stack
        while stack[-1] in _ENDS[name]:
            self.parts.append(f"</{stack.pop()}>")
        top = stack[-1]
        if (name in _PARENTS or top in _IN_TABLE) and top not in _PARENTS.get(name, ()):
            return
        if name in _EMPTY:
            self.parts.append(f"<{name}>")
        elif len(stack) <= _MOST_NESTED and not (name == "a" and "a" in stack):
            stack.append(name)
            self.parts.append(f"<{name}{attributes}>")

    def close(self, name: str) -> None:
        if name in self.stack:
            while (last := self.stack.pop()) != name:
                self.parts.append(f"</{last}>")
            self.parts.append(f"</{name}>")

    def finish(self) -> str:
        while last := self.stack.pop():
            self.parts.append(f"</{last}>")
        return "".join(self.parts)


def tidy(source: str) -> str:
    """The same text with few tags, nested well, as this module says.

    Example:
        >>> tidy('<h1 id=x>Read <b>me</h1><img src="https://example.com/a.png" alt="Logo">')
        '<h2>Read <b>me</b></h2><a href="https://example.com/a.png">[image: Logo]</a>'
    """
    writer = _Writer()
    at = 0
    for start, end, name, match in _tags(source):
        if start > at:
            writer.text(source[at:start])
        at = end
        if name[:1] == "/":
            writer.close(_HEADINGS.get(name[1:], name[1:]))
        elif match is None:
            writer.open(_HEADINGS.get(name, name))
        elif name:
            _open(writer, name, match)
        elif match["comment"] is None:
            writer.text("&lt;")
    writer.text(source[at:])
    return writer.finish()


# Tags without attributes, opened and closed: most tags are of this kind.
_PLAIN_TAGS = frozenset(
    mark + name for mark in ("", "/") for name in (_TAGS | _HEADINGS.keys()) if mark + name != "a"
)
_Tag = tuple[int, int, str, re.Match[str] | None]


def _tags(source: str) -> Iterator[_Tag]:
    """Where each "<" begins and ends with what belongs to it, its name, and the tag as matched."""
    find, dropping = source.find, _Dropping(source)
    at = find("<")
    while at >= 0:
        end = find(">", at, at + 12)
        name = source[at + 1 : end] if end > 0 else ""
        if name in _PLAIN_TAGS:
            end += 1
            yield at, end, name, None
        else:
            match = dropping.match(at)
            name = (match["name"] or "").lower()
            end = dropping.end(name, max(at + 1, match.end())) if name in DROPPED else match.end()
            yield at, max(at + 1, end), match["close"] + name if name else "", match
        at = find("<", max(at + 1, end))


class _Dropping:
    """What is dropped with all that stands in it; no search for an end is made twice in vain."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._last_comment = max(source.rfind("-->"), source.rfind("--!>"))
        self._never_closed: set[str] = set()

    def match(self, at: int) -> re.Match[str]:
        comment = at <= self._last_comment or not self._source.startswith("<!--", at)
        found = (_TOKEN if comment else _LESS).match(self._source, at)
        assert found is not None
        return found

    def end(self, name: str, at: int) -> int:
        if name not in self._never_closed:
            if closed := re.compile(rf"</{name}\s*+>", re.IGNORECASE).search(self._source, at):
                return closed.end()
            self._never_closed.add(name)
        return at


def _open(writer: _Writer, name: str, match: re.Match[str]) -> None:
    name = _HEADINGS.get(name, name)
    if name == "img":
        _write_image(writer, _attributes(match))
    elif name == "a":
        given = _attributes(match)
        if href := safe_link(given.get("href", "")):
            title = f' title="{html.escape(given["title"])}"' if given.get("title") else ""
            writer.open("a", f' href="{html.escape(href)}"{title}')
    elif name in _TAGS:
        writer.open(name, _kept(name, match) if match["attributes"] else "")


def _kept(name: str, match: re.Match[str]) -> str:
    given = _attributes(match)
    # The style is how Markdown's tables say it.
    side = given.get("align") or given.get("style", "").removeprefix("text-align: ")
    if name in ("td", "th") and side in ("left", "center", "right"):
        return f' align="{side}"'
    if name == "ol" and re.fullmatch(r"[0-9]{1,9}", given.get("start", "")):
        return f' start="{given["start"]}"'
    return ""


def _attributes(match: re.Match[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in _ATTRIBUTE.findall(match["attributes"]):
        value = value[1:-1] if value[:1] in ("'", '"') else value
        found.setdefault(name.lower(), html.unescape(value))
    return found


def _write_image(writer: _Writer, given: Mapping[str, str]) -> None:
    alt = " ".join(given.get("alt", "").split())[:200]
    text = html.escape(f"[image: {alt}]" if alt else "[image]")
    href = safe_link(given.get("src", ""))
    if href.startswith("http") and "a" not in writer.stack:
        writer.open("a", f' href="{html.escape(href)}"')
        writer.text(text)
        writer.close("a")
    else:
        writer.text(text)
