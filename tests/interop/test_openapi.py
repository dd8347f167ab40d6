"""What real hosts answer, held against the OpenAPI document that they serve."""

from __future__ import annotations

import gzip
import http.client
import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from cnrmirror.model.resource import CACHE_CONTROL
from cnrmirror.views.base import Settings
from cnrmirror.views.openapi import document
from tests.contract import Contract
from tests.interop.today import WEB_SERVERS, Place, Shop
from tests.recorded import Recorded
from tests.test_openapi_served import addresses, catalog_files, missing

pytestmark = pytest.mark.interop
CNR = "/cnr/api/v1/packages"
# What a bucket answers to what is not there is its own matter, and it knows no queries.
no_bucket = pytest.mark.not_on_a_bucket


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture(scope="module")
def contract(place: Place, session: requests.Session) -> Contract:
    """The document that the place serves."""
    with session.get(f"{place.url}/openapi.json") as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == CACHE_CONTROL["short"]
        return Contract(answer.json())


@pytest.fixture(scope="module")
def sample(shop: Shop) -> list[str]:
    """Five addresses of each path, and everything that the namespace ``edge`` has."""
    views = shop.project.config.views
    settings = Settings(artifacthub=views.artifacthub)
    contract = Contract(document(settings))
    found: dict[str, list[str]] = {}
    for address in sorted({*addresses(shop.project), *catalog_files(shop.project)}):
        call = contract.find("GET", address.partition("?")[0])
        assert call is not None, address
        found.setdefault(call.path, []).append(address)
    return [a for some in found.values() for n, a in enumerate(some) if n < 5 or "/edge/" in a]


def wrong(
    place: Place, contract: Contract, session: requests.Session, url: str, status: int, **more: str
) -> str:
    """Why the answer to a GET is not one of the document, with this status; "" if it is."""
    headers = {"Accept-Encoding": "identity", **more}
    with session.get(place.url + url, headers=headers, allow_redirects=False) as answer:
        found = contract.problems("GET", url, answer.status_code, answer.headers, answer.content)
        if answer.status_code != status:
            return f"{url}: {answer.status_code}, not {status}"
    return f"{url}: {found}" if found else ""


def test_what_is_there_is_answered_as_the_document_says(
    place: Place, contract: Contract, session: requests.Session, sample: list[str]
) -> None:
    bucket = place.kind == "bucket"
    # A bucket knows no queries, and these have no further forms.
    left = re.compile(r"\?|^/v2/$|/-(?:/|$)|/json$")
    asked = [url for url in sample if not (bucket and left.search(url))]
    seen = {call.path for url in asked if (call := contract.find("GET", url.partition("?")[0]))}
    assert len(seen) > 30
    found = [w for url in asked if (w := wrong(place, contract, session, url, 200))]
    assert "\n".join(found[:20]) == ""


@no_bucket("answers in XML")
def test_what_is_not_there_is_answered_as_the_document_says(
    place: Place, contract: Contract, session: requests.Session
) -> None:
    paths = contract.document["paths"]
    asked = [missing(p) for p, i in paths.items() if "get" in i and "404" in i["get"]["responses"]]
    assert len(asked) > 20
    found = [w for url in asked if (w := wrong(place, contract, session, url, 404))]
    assert "\n".join(found) == ""


def test_a_range_is_answered_as_the_document_says(
    place: Place, contract: Contract, session: requests.Session, sample: list[str]
) -> None:
    kinds = ("/pull", "/blobs/sha256:", ".tgz", "/openapi.json")
    urls = [
        next(url for url in sample if url.endswith(k) or (":" in k and k in url)) for k in kinds
    ]
    for url in urls:
        assert wrong(place, contract, session, url, 206, Range="bytes=1-2") == ""
        assert wrong(place, contract, session, url, 416, Range="bytes=99999999-") == ""


@no_bucket("takes writes itself, with credentials")
def test_a_change_is_answered_as_the_document_says(
    place: Place, contract: Contract, session: requests.Session
) -> None:
    for path, item in contract.document["paths"].items():
        for method in ("post", "delete"):
            if method not in item:
                continue
            url = missing(path)
            with session.request(method.upper(), place.url + url, data=b"") as answer:
                assert answer.status_code == 405
                headers, body = answer.headers, answer.content
            assert contract.problems(method, url, 405, headers, body) == ""


@pytest.mark.parametrize("place", WEB_SERVERS, indirect=True)
def test_what_was_recorded_is_answered_as_the_document_says(
    place: Place, contract: Contract, session: requests.Session
) -> None:
    found = []
    for answer in Recorded("appr").answers[::5]:
        url = f"/cnr{answer['path']}"
        with session.get(place.url + url, allow_redirects=False) as said:
            text = contract.problems("GET", url, said.status_code, said.headers, said.content)
        if text:
            found.append(f"{url}: {text}")
    assert "\n".join(found[:20]) == ""


@pytest.mark.parametrize("place", WEB_SERVERS, indirect=True)
def test_the_document_goes_out_precompressed(place: Place, session: requests.Session) -> None:
    url = f"{place.url}/openapi.json"
    with session.get(url, headers={"Accept-Encoding": "identity"}) as answer:
        assert "Content-Encoding" not in answer.headers
        whole = answer.content
    with session.get(url, headers={"Accept-Encoding": "gzip"}, stream=True) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Content-Type"] == "application/json"
        assert "Accept-Encoding" in answer.headers["Vary"]
        packed = answer.raw.read()
    assert gzip.decompress(packed) == whole and len(packed) < len(whole) / 4
    assert json.loads(whole)["openapi"] == "3.1.0"


def test_half_an_escape_is_answered_as_the_document_says(place: Place, contract: Contract) -> None:
    for query in ("namespace=%", "media_type=%4"):
        status = 400 if place.kind == "caddy" else 200
        connection = http.client.HTTPConnection(urlsplit(place.url).netloc, timeout=10)
        try:
            connection.request("GET", f"{CNR}?{query}")  # requests would mend it
            answer = connection.getresponse()
            assert answer.status == status
            found = contract.problems("GET", CNR, status, answer.headers, answer.read())
        finally:
            connection.close()
        assert found == ""
