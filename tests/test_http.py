"""reader.py and bucket.py: bounded, quiet towards strangers, and silent about secrets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from cnrmirror.model.errors import IncompleteError, InputError, NetworkError
from cnrmirror.objects.base import read
from cnrmirror.objects.bucket import BucketReader
from cnrmirror.objects.http import HttpReader, Patience
from tests.hostile import Fault, Host, hosting

SECRET = "s3cr3t"
ROOT = Path(__file__).parents[1]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "file").write_bytes(b"the file")
    with hosting(tmp_path / "site") as found:
        yield found


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_bytes(b"the other file")
    with hosting(tmp_path / "other") as found:
        yield found


def answer(status: int, **headers: str) -> Fault:
    """An empty answer to whatever is asked for below /odd."""

    def fault(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        if not path.name.startswith("odd"):
            return False
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        return True

    return fault


def noting(header: str, seen: list[str | None], fault: Fault = lambda h, p: False) -> Fault:
    """What every request says in a header."""

    def note(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        seen.append(handler.headers.get(header))
        return fault(handler, path)

    return note


def fetched(reader: HttpReader | BucketReader, path: str = "file") -> bytes:
    try:
        return read(reader.fetch(path, 1000))
    finally:
        reader.close()


def test_the_body_of_a_redirect_is_not_read(host: Host) -> None:
    def endless(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        if path.name != "odd":
            return False
        handler.send_response(302)
        handler.send_header("Location", "/file")
        handler.send_header("Connection", "close")
        handler.end_headers()
        try:
            for _ in range(1 << 12):  # at most 256 MiB
                host.send(handler.wfile, bytes(1 << 16))
        except OSError:
            pass
        handler.close_connection = True
        return True

    host.fault = endless
    assert fetched(HttpReader(host.url), "odd") == b"the file"
    assert host.sent < 12 << 20  # what the kernel had buffered on both sides


def test_cookies_are_not_kept(host: Host) -> None:
    seen: list[str | None] = []
    host.fault = noting("Cookie", seen, answer(302, Location="/file", Set_Cookie="a=b; Path=/"))
    assert fetched(HttpReader(host.url), "odd") == b"the file"
    assert seen == [None, None]


def test_netrc_is_not_used_for_any_host(
    host: Host, other: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(f"default login me password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen: list[str | None] = []
    host.fault = noting("Authorization", seen, answer(302, Location=f"{other.url}/file"))
    other.fault = noting("Authorization", seen)
    assert fetched(HttpReader(host.url), "odd") == b"the other file"
    assert seen == [None, None]


def test_a_password_in_an_address_goes_to_that_host_alone(host: Host, other: Host) -> None:
    ours: list[str | None] = []
    theirs: list[str | None] = []
    host.fault = noting("Authorization", ours, answer(302, Location=f"{other.url}/file"))
    other.fault = noting("Authorization", theirs)
    reader = HttpReader(host.url.replace("//", f"//me:{SECRET}@"))
    assert reader.name == host.url
    assert fetched(reader, "odd") == b"the other file"
    assert ours == ["Basic bWU6czNjcjN0"] and theirs == [None]


@pytest.mark.parametrize("status", [404, 418])
def test_a_password_in_an_address_is_in_no_error(host: Host, status: int) -> None:
    host.fault = answer(status)
    with pytest.raises((IncompleteError, NetworkError)) as caught:
        fetched(HttpReader(host.url.replace("//", f"//me:{SECRET}@")), "odd")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://me:{}@host:port/", "http://me:{}@host:0/", "ftp://me:{}@host/", "http://me:{}@/"],
)
def test_a_password_in_an_address_that_is_none_is_not_shown(url: str) -> None:
    with pytest.raises(InputError) as caught:
        HttpReader(url.format(SECRET))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", 7.0), ("99999999", 120.0), ("tomorrow", None), ("²", None), ("-5", None)],
)
def test_a_host_that_asks_for_patience_gets_it_within_bounds(
    host: Host, text: str, expected: float | None
) -> None:
    assert waited(host, text) == (expected or pytest.approx(0.6, abs=0.4))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520, 522, 524, 529])
def test_a_host_in_trouble_is_asked_again(host: Host, status: int) -> None:
    trouble = answer(status)
    host.fault = lambda handler, path: len(host.requests) == 1 and trouble(handler, path)
    with pytest.raises(IncompleteError):
        fetched(HttpReader(host.url, sleep=lambda seconds: None), "odd")
    assert host.requests == ["/odd", "/odd"]


def test_patience_may_be_asked_for_until_a_date(host: Host) -> None:
    now = datetime.now(UTC)
    assert waited(host, format_datetime(now + timedelta(days=1), usegmt=True)) == 120
    assert 30 < waited(host, format_datetime(now + timedelta(seconds=60), usegmt=True)) <= 60
    assert waited(host, format_datetime(now - timedelta(days=1), usegmt=True)) < 1


def waited(host: Host, retry_after: str) -> float:
    """How long a client waits whose first request was refused so."""
    slept: list[float] = []
    first = answer(503, Retry_After=retry_after)
    host.fault = lambda handler, path: len(host.requests) == 1 and first(handler, path)
    host.requests.clear()
    http = HttpReader(host.url, sleep=slept.append, clock=lambda: 0.0)
    with pytest.raises(IncompleteError):
        fetched(http, "odd")
    return sum(slept)


def ticking(step: float) -> Callable[[], float]:
    """A clock that goes on by so many seconds whenever somebody looks at it."""
    time = 0.0

    def look() -> float:
        nonlocal time
        time += step
        return time

    return look


def test_a_drip_is_given_up_by_its_rate_after_the_timeout(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    with hosting(tmp_path) as host:
        for step, slow in ((0.1, False), (30.0, True)):
            http = HttpReader(host.url, Patience(timeout=20, min_rate=8000), clock=ticking(step))
            pieces = http.fetch("file", 1 << 40)  # the bound must not lend it time
            if slow:
                with pytest.raises(NetworkError, match="slower than 8000 bytes a second"):
                    read(pieces)
            else:
                assert len(read(pieces)) == 1 << 20
            http.close()


@pytest.mark.parametrize("status", [400, 403, 404])
def test_no_address_and_no_error_of_a_bucket_holds_a_signature(
    host: Host, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ENDPOINT_URL", host.url), ("ACCESS_KEY_ID", "AKIAX"),
                        ("SECRET_ACCESS_KEY", SECRET), ("CONFIG_FILE", "/dev/null"),
                        ("SHARED_CREDENTIALS_FILE", "/dev/null")):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    host.fault = answer(status)
    with pytest.raises((IncompleteError, NetworkError)) as caught:
        fetched(BucketReader("s3://bucket/prefix"), "odd")
    said = str(caught.value)
    assert said.startswith("s3://bucket/prefix/odd: ")
    assert "Signature" not in said and "AKIAX" not in said and host.url not in said
    assert host.requests[0] == "/bucket/prefix/odd"


def test_the_proxy_of_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        body = handler.path.encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return True

    with hosting(tmp_path) as proxy:
        proxy.fault = answer
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        http = HttpReader("http://mirror.invalid/site")
        assert read(http.fetch("a", 100)) == b"http://mirror.invalid/site/a"
        http.close()


@pytest.mark.parametrize("url", ["http://h:0", "http://h:99999/", "http://h:-1", "http://h:x"])
def test_a_port_that_cannot_be_is_an_error_of_the_one_who_gave_it_even_without_asserts(
    url: str,
) -> None:
    program = (
        "import sys; from cnrmirror.objects.http import HttpReader\n"
        "from cnrmirror.model.errors import InputError\n"
        "try: HttpReader(sys.argv[1])\n"
        "except InputError: sys.exit(0)\n"
        "sys.exit(1)"
    )
    done = subprocess.run([sys.executable, "-O", "-c", program, url], cwd=ROOT, check=False)
    assert done.returncode == 0
