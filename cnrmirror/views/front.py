"""The page at the root: for a person who wonders what this is, and for discovery by clients."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import jinja2

from cnrmirror.model.resource import Resource

TEMPLATES = Path(__file__).parent.parent / "templates"


def environment() -> jinja2.Environment:
    """Templates that escape HTML, and fail on a name that is not there."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def index_page(url: str) -> Resource:
    """``index.html``, with the discovery tags of both clients if the public address is known."""
    page = environment().get_template("index.html").render(url=url, domain=urlsplit(url).netloc)
    return Resource("index.html", page.encode(), "text/html; charset=utf-8")
