"""Readmes, small texts and links as pages show them."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import urllib.parse
import xml.etree.ElementTree as ET

import pytest
from markupsafe import Markup

from cnrmirror.views.pageicon import icon
from cnrmirror.views.pagetext import (
    MOST_README,
    as_bytes,
    day,
    link,
    readme,
    safe_link,
    text,
    texts,
)
from tests.test_hostile_readme import Findings


def test_markdown_becomes_html_with_headings_one_level_down() -> None:
    made = readme("# One\n\n## Two\n\n###### Six\n\n- a\n- **b**\n\n3. c\n\n~~old~~ `x < y`\n")
    assert made == (
        "<h2>One</h2>\n<h3>Two</h3>\n<h6>Six</h6>\n<ul>\n<li>a</li>\n<li><strong>b</strong></li>\n"
        '</ul>\n<ol start="3">\n<li>c</li>\n</ol>\n<p><del>old</del> <code>x &lt; y</code></p>\n'
    )


def test_tables_keep_their_columns_and_their_alignment() -> None:
    made = readme("| a | b |\n|---|--:|\n| `1` | x\\|y |\n")
    assert re.sub(r"\n", "", made) == (
        '<table><thead><tr><th>a</th><th align="right">b</th></tr></thead><tbody><tr>'
        '<td><code>1</code></td><td align="right">x|y</td></tr></tbody></table>'
    )


def test_code_can_be_reached_by_keyboard_and_is_not_read_as_markup() -> None:
    made = readme("```sh\nhelm install <name> # <b>\n```\n")
    assert made == (
        '<pre tabindex="0"><code>helm install &lt;name&gt; # &lt;b&gt;\n</code></pre>\n'
    )


def test_images_are_links_and_never_load() -> None:
    rel = 'rel="noopener noreferrer nofollow"'
    made = readme("![A logo](https://example.com/a.png)")
    assert made == f'<p><a href="https://example.com/a.png" {rel}>[image: A logo]</a></p>\n'
    badge = readme("[![build](https://example.com/b.svg)](https://example.com/ci)")
    assert badge == f'<p><a href="https://example.com/ci" {rel}>[image: build]</a></p>\n'
    assert readme("![x](docs/a.png)") == "<p>[image: x]</p>\n"
    assert readme("![](data:image/png;base64,AA)") == "<p>[image]</p>\n"
    assert readme("![m](mailto:a@b.example)") == "<p>[image: m]</p>\n"


def test_links_into_the_archive_and_into_the_page_are_text() -> None:
    source = "[a](docs/x.md) [b](#top) [c](/x) <a>d</a> <a name=x>e</a> [f](//h.example)"
    assert readme(source) == "<p>a b c d e f</p>\n"


def test_html_of_readmes_keeps_its_sense() -> None:
    made = readme(
        '<p align="center">\n  <b>x</b><br/>\n</p>\n\n<!-- note -->\n\n<center>y</center>'
    )
    assert made.split() == ["<p>", "<b>x</b><br>", "</p>", "y"]
    made = readme("<ul><li>a<li>b</ul><dl><dt>t<dd>d</dl>")
    assert made == "<ul><li>a</li><li>b</li></ul><dl><dt>t</dt><dd>d</dd></dl>"


def test_other_texts_stand_as_they_are() -> None:
    assert readme("a <b>\n  # c\u202e & d", markdown=False) == (
        '<pre tabindex="0">a &lt;b&gt;\n  # c &amp; d</pre>\n'
    )
    assert readme("", markdown=False) == readme("") == readme(b"  \n").strip() == ""


def test_bytes_that_are_no_text_are_shown_with_marks() -> None:
    assert readme(b"\xef\xbb\xbf# caf\xc3\xa9 \xff\x00") == "<h2>café \ufffd</h2>\n"
    assert readme("\ud800 x") == "<p>? x</p>\n"


def test_what_is_longer_is_cut_between_characters_and_says_so() -> None:
    for markdown in (True, False):
        for lead in ("", "a", "aa"):
            made = readme((lead + "é€" * MOST_README)[:MOST_README], markdown=markdown)
            assert "\ufffd" not in made
            assert made.endswith("all of it is in the archive.]</p>\n")
            assert len(made.encode()) < MOST_README + 300
    assert "is cut" not in readme("a" * MOST_README)


SIZE = MOST_README


def filled(unit: str) -> str:
    return (unit * (SIZE // len(unit) + 1))[:SIZE]


DEEP = {
    "quotes": ">" * 100_000 + "a", "all quotes": ">" * SIZE, "div": "<div>" * 100_000,
    "brackets": "[" * 100_000, "stars": "*a " * 100_000, "images": filled("!["),
    "columns": f"|{'a|' * 10_000}\n|{'-|' * 10_000}\n" + f"|{'a|' * 10_000}\n" * 20,
    "short rows": f"|{'a|' * 10_000}\n|{'-|' * 10_000}\n" + "|a\n" * 150_000,
    "one line": "a" * 1_000_000, "lists": filled("- "), "html lists": filled("<ul><li>"),
    "details": filled("<details>"), "wrong order": filled("<a><b><div>"),
    "formats": "".join(f"<font x={n}>" for n in range(12_000)) + "<p>a" * 60_000,
    "kept formats": "".join(f"<b x={n}>" for n in range(15_000)) + "<p>a" * 60_000,
    "scopes": "".join(f"<b x={n}><table></b></table>" for n in range(15_000)),
    "again": "<p>" + "<b><i><s><code><em><strong>" * 20 + "<div>a</div>" * 40_000,
    "beside cells": filled("<table>a"), "tables": "<table>" + "<b></b>" * 70_000,
    "comments": filled("<!--"), "less": "<" * SIZE, "one greater": "<" * (SIZE - 1) + ">",
    "attributes": "<p " + "a=1 " * 130_000 + ">", "halves": filled("<p a a a a "),
    "blanks": filled("<p" + " " * 1000), "scripts": filled("<script>"), "svg": filled("<svg>"),
    "quoted": filled('<a "'), "names": filled("<a a"),
}  # fmt: skip


def test_no_readme_takes_long_or_much_memory() -> None:
    # In a process of its own: its processor time and memory are bounded, and a crash is seen.
    program = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (50, 50))\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "from cnrmirror.views.pagetext import readme\n"
        "from tests.test_pagetext import DEEP\n"
        "for name, source in DEEP.items():\n"
        "    assert len(readme(source)) < 6_000_000, name\n"
        "    print(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stdout.split("\n")[-2:], done.stderr)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of this process in kilobytes")
def test_readmes_leave_no_memory_behind() -> None:
    source = "# A\n\nsome *text* with [link](https://example.com) and `code`\n\n" * 300
    for _ in range(30):
        readme(source)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(150):
        readme(source)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000


def test_what_is_deep_loses_tags_and_no_text() -> None:
    made = readme("<div>" * 500 + "inside" + "</div>" * 500 + "\n\nafter")
    assert "inside" in made and "<p>after</p>" in made
    assert Findings(made).found == []


def test_small_texts_are_one_plain_line() -> None:
    assert text(" a\x00\x1b[1m\u202eb\u2028\u200b c\n\td\u00ad\ufeff ") == "a [1m b c d"
    assert text("x" * 500) == "x" * 399 + "…"
    assert text("\u202e" * 5000 + "x") == ""
    assert (text(12), text(1.5), text(True)) == ("12", "1.5", "True")
    assert text(None) == text({"a": 1}) == text(["a"]) == text(b"a") == ""
    assert text("\ud800a\udfff") == "a"
    assert texts(["a", "", 3, None, " \n", {"x": 1}, "b"]) == ["a", "3", "b"]
    assert texts([str(n) for n in range(99)], 3) == ["0", "1", "2"]
    assert texts("abc") == texts(None) == texts({"a": 1}) == []


@pytest.mark.parametrize(
    "address",
    ["https://example.com/a?b=c#d", "http://example.com:8080", "mailto:a@example.com",
     "https://example.com/ä", "https://[::1]:8080/x"],
)  # fmt: skip
def test_a_link_that_is_safe_stays(address: str) -> None:
    assert safe_link(address) == address
    assert safe_link(f" {address}\n") == address


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "JavaScript:x", "data:text/html,x", "vbscript:x", "file:///etc/passwd",
     "ftp://example.com", "//example.com", "/x", "x.md", "#a", "", "https://", "https:///x",
     "https:x", "https://a b.example", "https://user@example.com", "https://example.com@evil.example",
     "https://exa\nmple.com", "https://example.com/\u202ex", 'https://example.com/"x', "https://[::1",
     "https://example.com/<b>", "https://example.com:99999999", "https://example.com\\@evil.example",
     "https://example.com/" + "x" * 3000, "java\tscript:x", "mailto:", "mailto:a@b@c", None, 7,
     ["https://example.com"]],
)  # fmt: skip
def test_a_link_that_is_not_safe_is_none(address: object) -> None:
    assert safe_link(address) == ""
    assert "<a" not in link(address)


def test_a_scheme_in_capitals_is_written_small() -> None:
    assert safe_link("HTTPS://Example.com") == "https://Example.com"


def test_filters_show_values_for_people() -> None:
    sizes = [as_bytes(n) for n in (0, 999, 1000, 1234, 999_949, 999_950, 5_300_000_000, 10**16)]
    assert sizes == [
        "0 B",
        "999 B",
        "1.0 KB",
        "1.2 KB",
        "999.9 KB",
        "1.0 MB",
        "5.3 GB",
        "10000.0 TB",
    ]
    assert (day("2026-01-02T03:04:05.000Z"), day("then"), day("")) == ("2026-01-02", "", "")
    made = link("https://example.com/?a=1&b='2")
    assert made == Markup("https://example.com/?a=1&amp;b=&#39;2")
    made = link("https://example.com/?a=1&b=2")
    assert made == Markup(
        '<a href="https://example.com/?a=1&amp;b=2" rel="noopener noreferrer nofollow">'
        "https://example.com/?a=1&amp;b=2</a>"
    )
    assert link("<b>") == Markup("&lt;b&gt;")


def test_a_name_has_one_picture_that_is_small_and_well_formed() -> None:
    names = [f"ns/p{n}" for n in range(500)] + ['"<script>/&', "é/€"]
    for name in names:
        address = icon(name)
        assert len(address) <= 350 and '"' not in address and "#" not in address
        kind, _, data = address.partition(",")
        assert kind == "data:image/svg+xml"
        tree = ET.fromstring(urllib.parse.unquote(data))
        assert {element.tag.rpartition("}")[2] for element in tree.iter()} == {"svg", "path"}
    assert len({icon(name) for name in names}) == len(names)
    assert icon("charts/nginx") == icon("charts/nginx")


def test_a_link_without_a_text_is_called_by_its_address() -> None:
    made = readme("[](https://example.com/?a&b) [<b>\u200b</b>](https://example.com)")
    assert ">https://example.com/?a&amp;b</a>" in made
    assert "<b></b>https://example.com</a>" in made
