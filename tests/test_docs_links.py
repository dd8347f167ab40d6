"""Links of the documents: to headings, and from the first page to every document."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.test_docs import PAGES, ROOT

DOCS = ROOT / "docs"
_FENCED = re.compile(r"^```.*?^```", re.S | re.M)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as code hosts and the site make them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ +(.*?)\s*$", _FENCED.sub("", text), re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def links(page: Path) -> list[str]:
    """Where the document's links lead, those to other hosts left out."""
    return [to for to in _LINK.findall(_FENCED.sub("", page.read_text())) if "://" not in to]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_link_to_a_heading_finds_it(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_link_stays_in_the_repository(page: Path) -> None:
    for link in links(page):
        path = (page.parent / link.partition("#")[0]).resolve()
        assert path.is_relative_to(ROOT), link


def test_the_first_page_leads_to_every_document_by_a_link_and_by_a_group() -> None:
    text = (DOCS / "index.md").read_text()
    grouped = re.findall(r"^[a-z][\w/-]*$", "".join(_FENCED.findall(text)), re.M)
    linked = set(links(DOCS / "index.md"))
    for page in DOCS.glob("*.md"):
        if page.name != "index.md":
            assert page.stem in grouped, f"{page.name} is in no group of docs/index.md"
            assert page.name in linked, f"{page.name} has no line in docs/index.md"
    assert len(grouped) == len(set(grouped))


def test_anchors_are_those_of_code_hosts() -> None:
    text = "# A `b`, c\n## A b c\n```sh\n# not one\n```\n## [Of](x.md) mirror.yaml\n## /v2 & co\n"
    assert anchors(text) == {"a-b-c", "a-b-c-1", "of-mirroryaml", "v2--co"}
