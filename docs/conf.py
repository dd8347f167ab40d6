"""Sphinx: `make docs` makes the site of these documents in .docs/, readable without a server."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from generated import existing, site_links, write_pages  # noqa: E402

project = "cnrmirror"
author = "The cnrmirror authors"
release = metadata.version("cnrmirror")
html_title = f"cnrmirror {release}"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown", ".markdown": "markdown"}
exclude_patterns = ["_static"]
myst_heading_anchors = 4
# Examples have an "…" where something was left out, which no lexer knows.
suppress_warnings = ["misc.highlighting_failure"]
highlight_language = "none"
smartquotes = False  # An option stands in words, too: --json.

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False
html_show_copyright = False
# A summary is fetched from the found page, and a browser forbids that below file://.
html_show_search_summary = False
html_theme_options = {"navigation_with_keys": True}

# The records of decisions are plain Markdown; their group is added here.
_DECISIONS = "\n\n```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"


def _read(app: Sphinx, docname: str, source: list[str]) -> None:
    text = site_links(source[0])
    if docname == "index":
        text = existing(text, HERE)
    source[0] = text + _DECISIONS if docname == "decisions/README" else text


def setup(app: Sphinx) -> None:
    write_pages(HERE)
    app.connect("source-read", _read)
