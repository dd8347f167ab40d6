"""guard.py, adapter.py: a public host leads nobody into the network around him."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cnrmirror.model.errors import IncompleteError, InputError, NetworkError, Tampered
from cnrmirror.objects.access import Access
from cnrmirror.objects.address import proxies
from cnrmirror.objects.base import read
from cnrmirror.objects.certificates import Tls
from cnrmirror.objects.guard import Net, Options, Place, connect, is_public
from cnrmirror.objects.http import HttpReader, Patience
from cnrmirror.sources.base import Ask
from cnrmirror.sources.helm import HelmSource
from tests import test_http
from tests.authority import Authority
from tests.hostile import Host, hosting
from tests.test_http import answer

host = test_http.host
HERE, PUBLIC, OTHER = "127.0.0.1", "93.184.215.14", "93.184.215.15"


class Internet:
    """Names with addresses of whatever kind, all of whose hosts are on loopback."""

    def __init__(self, **names: list[str]) -> None:
        self.names = {name.replace("_", "."): places for name, places in names.items()}
        self.asked: list[str] = []
        self.connected: list[str] = []

    def resolve(self, host: str, port: int) -> list[Place]:
        self.asked.append(host)
        known = self.names.get(host, [host])
        family = socket.AF_INET
        return [(family, socket.SOCK_STREAM, 0, "", (place, port)) for place in known]

    def connect(self, place: Place, timeout: float | None, options: Options) -> socket.socket:
        self.connected.append(place[4][0])
        return connect((*place[:4], (HERE, place[4][1])), timeout, options)

    def reader(self, url: str, access: Access = Access()) -> HttpReader:
        return HttpReader(
            url, Patience(attempts=1), access=access, net=Net(self.resolve, self.connect)
        )


@pytest.fixture
def internet() -> Internet:
    return Internet(up_example=[PUBLIC], other_example=[OTHER], inside_example=["10.1.2.3"])


def fetched(reader: HttpReader, path: str = "odd") -> bytes:
    try:
        return read(reader.fetch(path, 1000))
    finally:
        reader.close()


def at(host: Host, name: str) -> str:
    return host.url.replace(HERE, name)


@pytest.mark.parametrize(
    "place",
    ["127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
     "169.254.169.254", "100.64.0.1", "198.18.0.1", "203.0.113.5", "224.0.0.1", "224.0.1.1",
     "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%1", "fec0::1",
     "fc00::1", "fd12::1", "ff02::1", "ff0e::1", "2001:db8::1", "::ffff:127.0.0.1",
     "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::c0a8:101",
     "64:ff9b:1::808:808", "2002:7f00:1::1", "2002:c0a8:101::1", "2001:0:4136:e378::1"],
)  # fmt: skip
def test_an_address_of_this_network_is_not_public(place: str) -> None:
    assert not is_public(place)


@pytest.mark.parametrize(
    "place",
    [PUBLIC, "8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808",
     "2002:808:808::1"],
)  # fmt: skip
def test_an_address_of_the_internet_is_public(place: str) -> None:
    assert is_public(place)


@pytest.mark.parametrize(
    "name",
    ["127.0.0.1", "inside.example", "169.254.169.254", "127.1", "0x7f000001", "2130706433",
     "[::1]", "[::ffff:10.0.0.1]"],
)  # fmt: skip
def test_a_public_host_does_not_redirect_to_this_network(
    host: Host, internet: Internet, name: str
) -> None:
    internet.names |= {text: [HERE] for text in ("127.1", "0x7f000001", "2130706433")}
    host.fault = answer(302, Location=at(host, name) + "/file")
    with pytest.raises(Tampered, match=r"odd leads to .* not a public address; .* that address"):
        fetched(internet.reader(at(host, "up.example")))
    assert internet.connected == [PUBLIC] and host.requests == ["/odd"]


def test_a_public_host_redirects_to_another_one(host: Host, internet: Internet) -> None:
    host.fault = answer(302, Location=at(host, "other.example") + "/file")
    assert fetched(internet.reader(at(host, "up.example"))) == b"the file"
    assert internet.connected == [PUBLIC, OTHER]


def test_it_may_where_a_source_says_so(host: Host, internet: Internet) -> None:
    host.fault = answer(302, Location=at(host, "inside.example") + "/file")
    with pytest.raises(Tampered, match=r"source up: .* set allow_private: true"):
        fetched(internet.reader(at(host, "up.example"), Access("up")))
    access = Access("up", allow_private=True)
    assert fetched(internet.reader(at(host, "up.example"), access)) == b"the file"


@pytest.mark.parametrize("own", ["inside.example", HERE])
def test_a_host_of_this_network_leads_wherever_it_likes(
    host: Host, internet: Internet, own: str
) -> None:
    host.fault = answer(302, Location=host.url + "/file")
    assert fetched(internet.reader(at(host, own))) == b"the file"


def test_a_host_with_a_private_address_beside_a_public_one_is_public(
    host: Host, internet: Internet
) -> None:
    internet.names["both.example"] = ["10.0.0.1", PUBLIC]
    host.fault = answer(302, Location=host.url + "/file")
    with pytest.raises(Tampered, match="not a public address"):
        fetched(internet.reader(at(host, "both.example")))
    assert "10.0.0.1" not in internet.connected


def test_a_name_that_changes_to_an_address_of_this_network_is_refused(
    host: Host, internet: Internet
) -> None:
    reader = internet.reader(at(host, "up.example"))
    host.fault = answer(302, Location="/file", Connection="close")
    assert fetched(reader) == b"the file"
    internet.names["up.example"] = [HERE]
    with pytest.raises(Tampered, match=r"up\.example \(127\.0\.0\.1\)"):
        fetched(reader)
    assert HERE not in internet.connected


def test_the_addresses_that_were_looked_at_are_those_that_are_connected_to(
    host: Host, internet: Internet
) -> None:
    internet.names["other.example"] = [HERE, OTHER]
    host.fault = answer(302, Location=at(host, "other.example") + "/file")
    assert fetched(internet.reader(at(host, "up.example"))) == b"the file"
    assert internet.asked == ["up.example", "other.example"]
    assert internet.connected == [PUBLIC, OTHER]


def test_the_next_address_is_tried_where_one_does_not_answer(
    host: Host, internet: Internet
) -> None:
    def failing(place: Place, timeout: float | None, options: Options) -> socket.socket:
        if place[4][0] == OTHER:
            raise ConnectionRefusedError(111, "refused")
        return internet.connect(place, timeout, options)

    internet.names["up.example"] = [OTHER, PUBLIC]
    url = at(host, "up.example")
    reader = HttpReader(url, Patience(attempts=1), net=Net(internet.resolve, failing))
    assert fetched(reader, "file") == b"the file"
    internet.names["up.example"] = [OTHER]
    with pytest.raises(NetworkError, match="refused"):
        fetched(reader, "file")


def test_a_connection_is_kept_and_its_name_asked_for_once(host: Host, internet: Internet) -> None:
    reader = internet.reader(at(host, "up.example"))
    for _ in range(5):
        assert read(reader.fetch("file", 1000)) == b"the file"
    reader.close()
    assert internet.asked == ["up.example"] and internet.connected == [PUBLIC]


def test_names_are_resolved_by_what_the_process_has_then(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    usual = socket.getaddrinfo

    def resolving(name: str, *arguments: object) -> object:
        asked.append(name)
        return usual(HERE, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolving)
    assert fetched(HttpReader(at(host, "anything.invalid")), "file") == b"the file"
    assert asked == ["anything.invalid"]


def test_a_certificate_is_held_against_the_name_and_not_the_address(
    tmp_path: Path, host: Host, internet: Internet
) -> None:
    authority = Authority(tmp_path / "authority")
    tls = Access(tls=Tls(str(authority.ca)))
    with hosting(tmp_path / "site", authority.serving("up.example")) as secure:
        assert fetched(internet.reader(at(secure, "up.example"), tls), "file") == b"the file"
        with pytest.raises(NetworkError, match="certificate verify failed"):
            fetched(internet.reader(at(secure, "other.example"), tls), "file")


def test_an_index_of_a_public_host_names_no_address_of_this_network(
    tmp_path: Path, host: Host, internet: Internet
) -> None:
    urls = [f"{at(host, 'inside.example')}/file", f"{at(host, 'other.example')}/file"]
    digest = hashlib.sha256(b"the file").hexdigest()
    entries = {
        name: [{"version": "1.0.0", "urls": some, "digest": digest}]
        for name, some in (("a", urls[:1]), ("b", urls))
    }
    (tmp_path / "site" / "index.yaml").write_text(json.dumps({"entries": entries}))
    reader = internet.reader(at(host, "up.example"), Access("up", static=False))
    source = HelmSource("up", reader, "ns")
    first, second = source.look(Ask()).offers
    with pytest.raises(Tampered, match=r"inside\.example \(10\.1\.2\.3\)"):
        read(source.open(first))
    assert read(source.open(second)) == b"the file"
    reader.close()


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def put(url: str) -> None:
        for name in ("http_proxy", "all_proxy"):
            monkeypatch.setenv(name, url)
        monkeypatch.setenv("no_proxy", "")
        proxies.cache_clear()

    yield put
    proxies.cache_clear()


@pytest.mark.parametrize(
    "name", [HERE, "localhost", "x.localhost.", "127.1", "0x7f000001", "[::1]", "%6cocalhost"]
)
def test_behind_a_proxy_the_text_of_an_address_is_looked_at(
    host: Host, internet: Internet, behind: Callable[[str], None], name: str
) -> None:
    behind(host.url)
    host.fault = lambda handler, path: (
        "up.example/odd" in handler.path
        and answer(302, Location=f"http://{name}:1/odd")(handler, Path("odd"))
    )
    with pytest.raises(Tampered, match="not a public address"):
        fetched(internet.reader("http://up.example"))
    assert host.requests == ["http://up.example/odd"]


def test_behind_a_proxy_names_are_the_proxy_s_affair(
    host: Host, internet: Internet, behind: Callable[[str], None]
) -> None:
    behind(host.url)
    host.fault = lambda handler, path: (
        "up.example/odd" in handler.path
        and answer(302, Location="http://inside.example/odd")(handler, Path("odd"))
    )
    with pytest.raises(IncompleteError):
        fetched(internet.reader("http://up.example"))
    assert host.requests[-1] == "http://inside.example/odd" and internet.asked == []


def test_a_proxy_with_tls_is_known_by_the_same_certificates(
    tmp_path: Path, host: Host, behind: Callable[[str], None]
) -> None:
    authority = Authority(tmp_path / "authority")
    (tmp_path / "proxied").mkdir()
    with hosting(tmp_path / "proxied", authority.serving(HERE)) as proxy:
        behind(proxy.url)
        proxy.fault = answer(200)
        with pytest.raises(NetworkError, match="certificate verify failed"):
            fetched(HttpReader("http://up.example", Patience(attempts=1)))
        tls = Access(tls=Tls(str(authority.ca)))
        assert fetched(HttpReader("http://up.example", access=tls)) == b""


def test_a_socks_proxy_without_its_package_is_said(
    behind: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socks", None)
    behind("socks5h://127.0.0.1:1")
    with pytest.raises(InputError, match=r"pip install 'cnrmirror\[socks\]'"):
        fetched(HttpReader("http://up.example"))
