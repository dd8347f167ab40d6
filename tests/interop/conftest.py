"""Writes docs/hosts.md out of the results of test_hosts, when CNRMIRROR_HOSTS_TABLE names it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.today import PLACES, Place, Shop, hosted

SERVERS = ("nginx", "caddy", "apache", "lighttpd")
_RESULTS: dict[str, dict[str, str]] = {}
_HEAD = """\
# Hosts: what each can do

Made from the results of `tests/interop/test_hosts.py` on real servers (`make hosts-table`); a ✓ is
a test that passed for both dialects.

| | nginx | Caddy | Apache | lighttpd |
|---|---|---|---|---|
"""
_TAIL = """
What no static host can do, and what happens instead: `query=` and `search?q=` list everything; a
semver range, and what the registry answers with 400 or 422, is a 404 with a JSON document. The 404
document is one for all: it does not repeat what was asked for. `Content-Disposition` of
`default/…/pull` is left out, since the URL does not tell the release. `cnrmirror serve` does all of
this as the registry did.

Escapes in filters (`namespace=dots%2Ein.name`) are read as the character that they stand for. What
no namespace and no media type can be called (`a%2Fb`, `a+b`, half an escape) is an empty list, as
at the registry, or 400. nginx sends a `Location` with a list that was asked for with escapes;
clients ignore it beside status 200. The names of arguments, and `format=json`, stand as they are. A
slash at the end changes nothing and is no redirect (`tests/interop/test_addresses.py`).

Hosts that only know `index.html` (GitHub Pages, `python -m http.server`) take `views.profile:
plain` in [mirror.yaml](configuration.md): documents are found after a redirect to the folder, types
are what the host guesses, filters are ignored, 404s are the host's own. With `plain_pull: json`,
`appr pull` by release, channel and default works there; by digest it does not, since that URL then
still has the archive's bytes.

## Under a WSGI server

`gunicorn 'cnrmirror.server:create_app("my-mirror")'` serves a mirror as the registry was run.
It decides all that a static host cannot. [Serve](serve.md) says how, and what to put in front.
"""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    match = re.search(r"test_hosts\.py::test_(\w+)\[(?:appr|cnr)-(\w+)", report.nodeid)
    if match and match[2] in SERVERS and report.when == "call":
        row = _RESULTS.setdefault(match[1].replace("_", " "), {})
        good = report.passed and row.get(match[2], "✓") == "✓"
        row[match[2]] = "✓" if good else "✗"


def pytest_sessionfinish() -> None:
    target = os.environ.get("CNRMIRROR_HOSTS_TABLE")
    if target and _RESULTS:
        rows = [
            f"| {name} | " + " | ".join(row.get(s, "–") for s in SERVERS) + " |"
            for name, row in _RESULTS.items()
        ]
        Path(target).write_text(_HEAD + "\n".join(rows) + "\n" + _TAIL)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One mirror for every test of Helm and OCI clients: none changes it."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    yield shop
    shop.signer.close()


@pytest.fixture(scope="session", params=PLACES)
def place(
    request: pytest.FixtureRequest, shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """The mirror on each kind of host, started once."""
    folder = tmp_path_factory.mktemp("place")
    with hosted(request.param, shop, folder / request.param) as url:
        yield Place(request.param, url, folder)
