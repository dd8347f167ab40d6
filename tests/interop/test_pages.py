"""The pages for people over HTTP, on every kind of host: addresses, types, headers."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from urllib.parse import urljoin

import pytest
import requests

from cnrmirror.model.resource import CACHE_CONTROL, HTML_TYPE, SCRIPT_TYPE
from cnrmirror.views.pages import FEED_TYPE, HTML_HEADERS, STYLE_TYPE, TOPS
from tests.crawl import crawl
from tests.interop.today import Place, Shop

pytestmark = pytest.mark.interop
TYPES = {".html": HTML_TYPE, ".xml": FEED_TYPE, ".js": SCRIPT_TYPE, ".css": STYLE_TYPE}
FOLDERS = ("/packages", "/packages/edge", "/packages/edge/web", "/revisions")
MISSING = (
    "/packages/edge/none/index.html", "/packages/none/index.html", "/packages/edge/none",
    "/packages/edge/web/none.html", "/packages/edge/web/1.0.0", "/search/s-none.js",
    "/assets/none.css", "/assets/../mirror.yaml", "/trust.htm", "/feed.xml/", "/feed",
    "/packages/edge/none/", "/packages/none/", "/packages/-/", "/assets/", "/search/",
    "/packages//web/", "/packages/edge/web/index.html/", "/assets", "/search",
    "/packages/edge/%0aweb",
)  # fmt: skip
COMPRESSING = ("nginx", "caddy", "apache")

# A test that is not run on a bucket has an empty cell in docs/hosts.md.
no_bucket = pytest.mark.not_on_a_bucket


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Accept-Encoding"] = "identity"
        yield session


@pytest.fixture(scope="module")
def files(shop: Shop) -> dict[str, bytes]:
    """Each file of the pages, by its address."""
    site = shop.project.site
    tops = [site / top for top in (*TOPS, "search")]
    every = [f for top in tops for f in (top.rglob("*") if top.is_dir() else [top])]
    found = {f"/{f.relative_to(site)}": f.read_bytes() for f in every if f.is_file()}
    assert len(found) > 30
    assert {"/assets/root.js", "/packages/edge/web/index.html"} < found.keys()
    assert any(path.startswith("/search/s-") for path in found)
    return found


def test_every_page_script_and_list_answers_with_its_type(
    place: Place, session: requests.Session, files: dict[str, bytes]
) -> None:
    wrong = []
    for path, body in files.items():
        kind = TYPES[path[path.rindex(".") :]]
        with session.get(place.url + path, allow_redirects=False) as answer:
            found = answer.status_code, answer.headers["Content-Type"], answer.content
            cache = answer.headers.get("Cache-Control")
        if found != (200, kind, body) or cache != CACHE_CONTROL["short"]:
            wrong.append(f"{path}: {found[:2]} {cache}")
    assert "\n".join(wrong[:20]) == ""


@no_bucket("has no index documents")
def test_a_folder_answers_with_its_page(
    place: Place, session: requests.Session, files: dict[str, bytes]
) -> None:
    for path in ("", *FOLDERS):
        with session.get(f"{place.url}{path}/", allow_redirects=False) as answer:
            found = answer.status_code, answer.headers["Content-Type"], answer.content
        assert found == (200, HTML_TYPE, files[f"{path}/index.html"]), path


@no_bucket("has no index documents")
def test_a_folder_without_its_slash_leads_to_the_one_with_it(
    place: Place, session: requests.Session
) -> None:
    moved = {f: f"{f}/" for f in FOLDERS} | {"/cnr": "/", "/cnr/": "/"}
    for method in ("GET", "HEAD"):
        for path, target in moved.items():
            url = place.url + path
            with session.request(method, url, allow_redirects=False) as answer:
                location = answer.headers["Location"]
                assert answer.status_code in (301, 308), path
            assert urljoin(url, location) == place.url + target
            # Apache writes the whole address.
            assert place.kind == "apache" or "://" not in location


@no_bucket("sends what an object has")
def test_no_other_site_may_show_a_page_in_a_frame(
    place: Place, session: requests.Session, files: dict[str, bytes]
) -> None:
    for path in ("/", "/packages/edge/web/", *files):
        with session.head(place.url + path) as answer:
            is_page = path.endswith((".html", "/"))
            for name, value in HTML_HEADERS.items():
                assert answer.headers.get(name) == (value if is_page else None), path
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", [
    pytest.param(path, marks=no_bucket("of SeaweedFS answers a folder as an empty object"))
    if path.endswith("/") or "." not in path else path
    for path in MISSING
])  # fmt: skip
def test_what_is_not_there_is_404(place: Place, session: requests.Session, path: str) -> None:
    request = requests.Request("GET", place.url).prepare()
    request.url = place.url + path
    with session.send(request, allow_redirects=False) as answer:
        assert answer.status_code in (404, 400 if "%" in path or ".." in path else 404)
        if place.kind != "bucket" and answer.status_code == 404:
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.json()["code"] and "Content-Security-Policy" not in answer.headers


def test_every_link_of_every_page_leads_somewhere(
    place: Place, session: requests.Session, files: dict[str, bytes]
) -> None:
    found = crawl(session, f"{place.url}/index.html")
    assert {a: r.status_code for a, r in found.items() if r.status_code != 200} == {}
    pages = {f"{place.url}{path}" for path in files if path.endswith(".html")}
    assert pages <= found.keys()
    assert len([a for a in found if "/catalog/blobs/" in a or a.endswith("/pull")]) > 10


def test_an_etag_saves_the_second_transfer(place: Place, session: requests.Session) -> None:
    for path in ("/index.html", "/assets/pages.js"):
        for accept in ("identity", "gzip"):
            headers = {"Accept-Encoding": accept}
            with session.get(place.url + path, headers=headers) as first:
                headers["If-None-Match"] = first.headers["ETag"]
            with session.get(place.url + path, headers=headers) as second:
                assert (second.status_code, second.content) == (304, b""), (path, accept)


def test_a_range_is_that_of_the_file(
    place: Place, session: requests.Session, files: dict[str, bytes]
) -> None:
    headers = {"Range": "bytes=10-2009"}
    with session.get(f"{place.url}/assets/pages.js", headers=headers) as answer:
        body = files["/assets/pages.js"][10:2010]
        assert (answer.status_code, answer.content) == (206, body)


def test_who_takes_a_page_compressed_gets_the_same_page(
    place: Place, session: requests.Session, files: dict[str, bytes]
) -> None:
    for path in ("/index.html", "/assets/pages.js", "/assets/pages.css", "/feed.xml"):
        headers = {"Accept-Encoding": "gzip"}
        with session.get(place.url + path, headers=headers, stream=True) as answer:
            body = answer.raw.read()
            if place.kind in COMPRESSING:
                assert answer.headers["Content-Encoding"] == "gzip"
                assert "Accept-Encoding" in answer.headers["Vary"]
                body = gzip.decompress(body)
        assert body == files[path]
