"""The generated configurations on real servers, held against the recorded answers."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.interop.servers import SERVERS, serving
from tests.recorded import Recorded, differs_on_purpose, is_dynamic, problems

pytestmark = pytest.mark.interop
DEMO = "72ed15c9a65961ecd034cca098ec18eb99002cd402824aae8a674a8ae41bd0ef"
NGINX = "/cnr/api/v1/packages/charts/nginx"


@pytest.fixture(scope="module")
def site(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded.mirror(tmp_path_factory.mktemp("hosts") / recorded.dialect).site


@pytest.fixture(scope="module", params=list(SERVERS))
def base(request: pytest.FixtureRequest, site: Path) -> Iterator[str]:
    with serving(request.param, site, site.parent / request.param) as url:
        yield url


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.mark.parametrize("prefix", ["/cnr", ""])
def test_a_static_host_answers_as_the_reference_server(
    recorded: Recorded, base: str, session: requests.Session, prefix: str
) -> None:
    wrong = []
    compared = 0
    for answer in recorded.answers:
        if differs_on_purpose(answer["path"]) or is_dynamic(answer):
            continue
        with session.get(base + prefix + answer["path"], allow_redirects=False) as response:
            found = problems(
                answer, response.status_code, response.headers, response.content, static=True
            )
        compared += 1
        if found:
            wrong.append(f"{answer['path']}: {found}")
    assert "\n".join(wrong[:20]) == ""
    assert compared > 400


def test_what_a_static_host_cannot_decide_is_a_superset_or_404(
    recorded: Recorded, base: str, session: requests.Session
) -> None:
    for answer in filter(is_dynamic, recorded.answers):
        with session.get(base + "/cnr" + answer["path"]) as response:
            document = response.json()
            if answer["status"] == 200 and response.status_code == 200:
                names = [v["name"] if isinstance(v, dict) else v for v in document]
                wanted = [v["name"] if isinstance(v, dict) else v for v in answer["json"]]
                assert set(wanted) <= set(names)
            else:
                assert response.status_code == 404 and document["code"]


def test_the_documented_demo_gives_the_bytes_under_both_prefixes(
    base: str, session: requests.Session
) -> None:
    for prefix in ("/cnr", ""):
        path = f"{prefix}/api/v1/packages/myname/elasticsearch/blobs/sha256/{DEMO}"
        with session.get(base + path) as response:
            assert len(response.content) == 583
            assert response.headers["Cache-Control"].endswith("immutable")
        # The form in JSON names a release, and may come to name another one.
        for form in ("?format=json", "/json", ".json"):
            with session.get(base + path + form) as response:
                known = response.status_code == 200
                assert known or form == ".json"
                assert not known or response.headers["Cache-Control"] == "public, max-age=60", form


def test_writes_are_refused_with_a_json_405(base: str, session: requests.Session) -> None:
    for method in ("POST", "DELETE", "PUT"):
        with session.request(method, base + NGINX, data=b"{}") as response:
            assert response.status_code == 405
            assert response.json()["code"] == "unsupported"


def test_browsers_of_other_sites_may_read(base: str, session: requests.Session) -> None:
    for path in (NGINX, "/cnr/api/v1/packages/no/where"):
        with session.get(base + path) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_an_etag_saves_the_second_transfer(base: str, session: requests.Session) -> None:
    for path in (NGINX, f"{NGINX}/1.2.0/helm/pull"):
        with session.get(base + path) as first:
            tag = first.headers["ETag"]
        with session.get(base + path, headers={"If-None-Match": tag}) as second:
            assert second.status_code == 304 and second.content == b""


def test_a_broken_download_goes_on_where_it_was(base: str, session: requests.Session) -> None:
    path = f"{base}{NGINX}/1.2.0/helm/pull"
    with session.get(path) as whole, session.get(path, headers={"Range": "bytes=100-"}) as part:
        assert part.status_code == 206 and part.content == whole.content[100:]


def test_head_tells_type_and_length_without_a_body(base: str, session: requests.Session) -> None:
    with session.head(f"{base}{NGINX}/1.2.0/helm/pull") as response:
        assert response.headers["Content-Type"] == "application/x-gzip"
        assert response.headers["Content-Length"] == "417"


def test_larger_documents_go_out_precompressed(
    base: str, site: Path, session: requests.Session
) -> None:
    assert (site / f"{NGINX[1:]}/index.json.gz").is_file()
    headers = {"Accept-Encoding": "gzip"}
    with session.get(base + NGINX, headers=headers, stream=True) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in response.headers["Vary"]
        body = gzip.decompress(response.raw.read())
    with session.get(base + NGINX, headers={"Accept-Encoding": "identity"}) as response:
        assert "Content-Encoding" not in response.headers
        assert response.content == body


def test_nothing_outside_the_site_is_served(base: str, session: requests.Session) -> None:
    for path in ("/cnr/../../mirror.yaml", "/../mirror.yaml", "/%2e%2e/mirror.yaml"):
        request = requests.Request("GET", base).prepare()
        request.url = base + path
        with session.send(request) as response:
            assert response.status_code in (400, 404)


def test_ci_has_every_server() -> None:
    if not os.environ.get("CI"):
        pytest.skip("only CI must have them all")
    from tests.interop.servers import need

    for program in ("nginx", "caddy", "apache2", "lighttpd"):
        need(program)
