"""What clients may write in an address, on real servers that listen on IPv6 where there is any."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from tests.conftest import chart_bytes
from tests.interop.servers import SERVERS, serving
from tests.mirrors import make

pytestmark = pytest.mark.interop
LIST = "/cnr/api/v1/packages"
PACKAGE = f"{LIST}/dots.in.name/p-1.x"
DIGEST = "blobs/sha256"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("addresses")
    project = make(folder / "mirror", "addresses", "2026-01-01T00:00:00")
    (folder / "p.tgz").write_bytes(chart_bytes("p-1.x", "1.0.0+b.1"))
    named = Override(namespace="dots.in.name")
    push(project, [folder / "p.tgz"], named, "2026-01-01T00:00:00", What(["stable"]))
    return project.site


def loopback() -> str:
    """``::1``, or 127.0.0.1 on a machine without it."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return "127.0.0.1"
    return "::1"


@pytest.fixture(scope="module", params=list(SERVERS))
def base(request: pytest.FixtureRequest, site: Path) -> Iterator[str]:
    with serving(request.param, site, site.parent / request.param, loopback()) as url:
        yield url


def asked(base: str, target: str) -> tuple[int, str, bytes]:
    """Status, type and body; every other client would write the target in its own way."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=10)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "query",
    [
        "namespace=dots.in.name", "namespace=dots%2Ein%2ename", "namespace=d%6Fts.in.n%61me",
        "media_type=he%6cm", "media_type=h%65lm&namespace=dots.in.n%61me",
        "namespace=dots.in.n%61me&media_type=",
    ],
)  # fmt: skip
def test_a_filter_is_found_however_it_is_escaped(base: str, query: str) -> None:
    for prefix in (LIST, LIST.removeprefix("/cnr"), f"{LIST}/"):
        status, kind, body = asked(base, f"{prefix}?{query}")
        assert (status, kind) == (200, "application/json")
        assert [row["name"] for row in json.loads(body)] == ["dots.in.name/p-1.x"]


@pytest.mark.parametrize(
    "value",
    ["nobody", "n%6Fbody", "dots%252Ein.name", "a%2Fb", "dots.in.name%2F", "..%2F..", "a+b",
     "a%20b", "%C3%A9", "x%3Fy", "%2E%2E", "%5F", "_", "dots.in.name%zz", "%", "dots.in.name%0A"],
)  # fmt: skip
def test_what_no_namespace_can_be_called_is_an_empty_list_or_an_error(
    base: str, value: str
) -> None:
    status, _, body = asked(base, f"{LIST}?namespace={value}")
    assert 400 <= status < 500 or (status == 200 and json.loads(body) == [])


@pytest.mark.parametrize(
    ("target", "status", "rows"),
    [(PACKAGE, 200, 1), (f"{PACKAGE}/", 200, 1), (f"{LIST}/dots.in.name/none", 404, 0)],
)
def test_a_media_type_of_a_package_is_found_however_it_is_escaped(
    base: str, target: str, status: int, rows: int
) -> None:
    for written in ("helm", "he%6cm", "h%65%6C%6D"):
        found, kind, body = asked(base, f"{target}?media_type={written}")
        assert (found, kind) == (status, "application/json")
        assert status == 404 or len(json.loads(body)) == rows
    if status == 200:
        assert json.loads(asked(base, f"{target}?media_type=k%70m")[2]) == []


def test_a_slash_at_the_end_changes_nothing(base: str, site: Path) -> None:
    digest = json.loads(asked(base, f"{PACKAGE}/1.0.0+b.1/helm")[2])["content"]["digest"]
    assert digest
    for path in (LIST, PACKAGE, f"{PACKAGE}/1.0.0+b.1", f"{PACKAGE}/1.0.0%2Bb.1/helm",
                 f"{PACKAGE}/1.0.0+b.1/helm/pull", f"{PACKAGE}/1.0.0+b.1/helm/pull/json",
                 f"{PACKAGE}/{DIGEST}/{digest}", f"{PACKAGE}/channels",
                 f"{PACKAGE}/channels/stable", f"{LIST}/search", "/cnr/version"):  # fmt: skip
        for address in (path, path.removeprefix("/cnr")):
            bare, slash = asked(base, address), asked(base, f"{address}/")
            assert bare[0] == 200, address
            assert slash == bare, address
