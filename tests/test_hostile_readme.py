"""What a readme must not do to its page, looked at with another parser than the cleaner's."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from cnrmirror.views.pagetext import as_markup, readme
from tests.hostile_text import PAYLOADS

_ALLOWED = (
    "h2 h3 h4 h5 h6 p a ul ol li pre code blockquote table thead tbody tfoot tr th td hr br div "
    "details summary dl dt dd em strong b i s del ins sub sup kbd samp var q small"
)
TAGS = set(_ALLOWED.split())
ATTRIBUTES = {
    ("a", "href"): r"(?:https?://|mailto:)[^\x00-\x20\"'<>\\]+",
    ("a", "rel"): "noopener noreferrer nofollow",
    ("a", "title"): r"[\s\S]*",
    ("th", "align"): "left|center|right",
    ("td", "align"): "left|center|right",
    ("ol", "start"): "[0-9]{1,9}",
    ("pre", "tabindex"): "0",
}
# Tags that an HTML parser closes by itself, or that are never closed.
VOID = {"br", "hr"}


class Findings(HTMLParser):
    """Whatever is not on the list of what a page may show."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        self.found += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            allowed = ATTRIBUTES.get((tag, name))
            if allowed is None or not re.fullmatch(allowed, value or ""):
                self.found.append(f"<{tag} {name}={value!r:.100}>")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.found.append(f"</{tag}> closes nothing")

    def handle_comment(self, data: str) -> None:
        self.found.append(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self.found.append(f"<!{decl}>")

    def handle_pi(self, data: str) -> None:
        self.found.append(f"<?{data}>")

    def unknown_decl(self, data: str) -> None:
        self.found.append(f"<![{data}>")


HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("number", range(len(PAYLOADS)))
def test_nothing_of_a_hostile_readme_is_active(number: int) -> None:
    made = readme(PAYLOADS[number])
    assert Findings(made).found == []
    assert not HIDDEN.search(made)


@pytest.mark.parametrize("number", range(len(PAYLOADS)))
def test_nothing_of_a_hostile_text_is_active(number: int) -> None:
    made = readme(PAYLOADS[number], markdown=False)
    assert Findings(made).found == []
    assert not HIDDEN.search(made)


def test_all_of_them_in_one_readme_are_not_active_either() -> None:
    assert Findings(readme("\n\n".join(PAYLOADS))).found == []
    assert Findings(readme("".join(PAYLOADS))).found == []
    assert Findings(readme(" ".join(reversed(PAYLOADS)))).found == []


def test_there_are_enough_and_without_the_cleaner_they_are_active() -> None:
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 52
    active = [p for p in PAYLOADS if Findings(as_markup(p)).found or HIDDEN.search(as_markup(p))]
    # The rest are kept because another reader of Markdown may see more in them.
    assert len(active) >= 52 and len(PAYLOADS) - len(active) <= 12


@pytest.mark.parametrize("sign", ["<", "&", '"', "'", "`", "\n", "\0", "=", ">", "/"])
def test_no_cut_and_no_sign_in_between_makes_one_active(sign: str) -> None:
    for payload in PAYLOADS:
        for at in range(0, min(len(payload), 120), 3):
            assert Findings(readme(payload[:at] + sign + payload[at:])).found == [], payload[:at]
