"""All that pages link to and load, followed over HTTP as a browser does without script."""

from __future__ import annotations

import html
import re
from urllib.parse import urldefrag, urljoin

import requests

_LINK = re.compile(r"""(?:href|src)="([^"]*)\"""")


def crawl(session: requests.Session, start: str) -> dict[str, requests.Response]:
    """What answered at each address of the same site that ``start`` leads to, by address."""
    site = urljoin(start, "/")
    found: dict[str, requests.Response] = {}
    waiting = [start]
    while waiting:
        address = waiting.pop()
        if address in found or not address.startswith(site):
            continue
        found[address] = answer = session.get(address)
        if address.endswith((".html", "/")):
            links = (html.unescape(link) for link in _LINK.findall(answer.text))
            waiting += [urldefrag(urljoin(answer.url, link)).url for link in links]
    return found
