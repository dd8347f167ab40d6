"""report --html: a page that says what happened, whatever an upstream wrote."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cnrmirror.mirror.project import Project
from cnrmirror.sources.base import Hole
from cnrmirror.sync.memory import last_reports, remember, remembered
from cnrmirror.sync.page import report_page
from cnrmirror.sync.plan import Action
from cnrmirror.sync.report import KnownHole, SourceReport
from tests.conftest import NOW
from tests.mirrors import reopen
from tests.test_metrics import watched
from tests.test_report import mirror, say

__all__ = ["mirror", "watched"]

HOSTILE = (
    "<script>globalThis.pwned=1</script>",
    "</table></bdi></main><img src=x onerror=globalThis.pwned=1>",
    "\"><svg onload='globalThis.pwned=1'>",
    "</style><style>*{display:none}",
    "<meta http-equiv=refresh content=0;url=http://evil.invalid/>",
    "<base href=http://evil.invalid/><a href=javascript:alert(1)>x</a>",
    "{{ 7*7 }}{% raw %}${7*7}",
    "&lt;b&gt;&#x3c;b&#x3e;",
    "<!-- ]]> --!>",
)
HIDDEN = "a\u202egnp.exe\u2066\u200b\x00\x1b[31m\ud800\x07\n\t"


def hostile(text: str) -> SourceReport:
    """A report in which everything that somebody else chose is this text."""
    hole = Hole(text, text, text, text)
    action = Action(text, text, text, "frozen", text)
    kinds = ("fetch", "replace", "drop", "kept")
    return SourceReport(
        "here", NOW, {"deletes": text}, 1, 1,
        [action, *(msgspec.structs.replace(action, kind=kind) for kind in kinds)],
        [hole], [text], 1, 1, error=text, error_code=12, acknowledged=[KnownHole(hole, text, text)],
        signed={text: 1},
    )  # fmt: skip


class Page(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.declarations: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.declarations.append(data)


PLAIN_TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "bdi", "time",
    "span", "section", "table", "caption", "thead", "tbody", "tr", "th", "td", "dl", "div", "dt",
    "dd", "details", "summary", "footer",
}  # fmt: skip
PLAIN_ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "datetime", "class", "scope", "open",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_an_upstream_wrote_is_text_and_nothing_else(watched: Project, text: str) -> None:
    page = Page(report_page(watched, [hostile(text)], NOW))
    assert page.tags == PLAIN_TAGS and page.attributes == PLAIN_ATTRIBUTES
    assert page.declarations == []
    assert page.texts.count(text) >= 7, "it is shown as it is"


def test_nothing_is_hidden_or_turns_the_order_of_what_is_read(watched: Project) -> None:
    text = report_page(watched, [hostile(HIDDEN)], NOW)
    assert text.encode() and all(c.isprintable() or c == "\n" for c in text)
    assert r"a\u202egnp.exe\u2066\u200b\x00\x1b[31m\ud800\x07\n\t" in text


def test_the_policy_allows_the_one_style_sheet_and_nothing_else(watched: Project) -> None:
    text = report_page(watched, [], NOW)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    style = re.search(r"<style>(.*?)</style>", text, re.S)
    assert policy and style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy[1] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert not re.search(r"url\(|@import|https?:|\bsrc=|href=", text)


def test_the_command_writes_the_page_beside_what_it_says(mirror: Project, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    first = say(mirror, "report", "--html", str(path), code=0)
    assert "there was no sync yet" not in first and "never asked" in path.read_text()
    say(mirror, "sync", code=14)
    before = say(mirror, "report", code=14)
    assert say(mirror, "report", "--html", str(path), code=14) == before
    text = path.read_text()
    assert "<bdi>here</bdi>" in text and "good, with holes" in text
    assert "bad[1]" in text and "c/a@1.0.0 (helm)" in text
    assert list(tmp_path.glob(".*")) == []
    done = say(mirror, "--json", "report", "--html", str(path), code=14)
    assert json.loads(done)[0]["source"] == "here" and path.read_text() == text
    say(mirror, "report", "--html", str(tmp_path / "none/report.html"), code=8)
    say(mirror, "report", "--html", str(tmp_path), code=2)


def test_a_page_says_how_long_readers_take_the_mirror(watched: Project) -> None:
    assert "Readers accept the mirror for 7 days, until its timestamp expires." in report_page(
        watched, [], NOW
    )
    assert "expires soon" in report_page(watched, [], "2026-01-08T12:00:00")
    over = report_page(watched, [], "2026-01-11T12:00:00")
    assert "Readers refuse the mirror: its timestamp expired 2 days ago." in over


STATES: dict[str, dict[str, Any]] = {
    "well": {},
    "good, with holes": {"holes": [Hole("a", "b")]},
    "too much is gone, nothing dropped": {"shrunk": True},
    "changed upstream": {"actions": [Action("a/b", "1.0.0", "helm", "frozen")]},
    "failed (exit code 12)": {"error": "gone", "error_code": 12},
    # An error of that code is no shrinkage.
    "failed (exit code 15)": {"error": "gone", "error_code": 15},
}


@pytest.mark.parametrize("word", STATES)
def test_each_state_of_a_source_has_a_word(watched: Project, word: str) -> None:
    memory = remembered(watched, "here")
    assert memory is not None
    report = msgspec.structs.replace(memory.report, **STATES[word])
    assert f">{word}</span>" in report_page(watched, [report], NOW)


def test_a_report_without_end_makes_a_page_with_one(watched: Project) -> None:
    memory = remembered(watched, "here")
    assert memory is not None
    actions = [Action("a/b", f"1.0.{n}", "helm", "fetch") for n in range(3000)]
    remember(watched, msgspec.structs.replace(
        memory, report=msgspec.structs.replace(memory.report, actions=actions)
    ))  # fmt: skip
    text = report_page(reopen(watched.folder), last_reports(watched, NOW), NOW)
    assert "Fetched: 3000" in text and "And 2000 more" in text and text.count("<tr>") < 1100
