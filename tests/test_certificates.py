"""certificates.py: whose word is taken for a host's name, by one rule for all libraries."""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import cast

import obstore
import pytest
import requests

from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import InputError, NetworkError
from cnrmirror.objects.access import Access
from cnrmirror.objects.base import read
from cnrmirror.objects.bucket import BucketReader, S3Connection
from cnrmirror.objects.certificates import Authorities, Tls, authorities
from cnrmirror.objects.folder import FolderReader
from cnrmirror.objects.http import HttpReader, Patience
from cnrmirror.objects.s3_bulk import bulk_store
from cnrmirror.objects.s3_settings import S3Settings
from cnrmirror.sync.open import open_sources
from tests.authority import PASSWORD, Authority
from tests.hostile import Fault, Host, hosting

VARIABLES = (
    "AWS_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "file").write_bytes(b"the file")
    return tmp_path / "site"


@pytest.fixture
def host(site: Path, authority: Authority) -> Iterator[Host]:
    with hosting(site, authority.serving("127.0.0.1")) as found:
        yield found


def fetched(url: str, tls: Tls = Tls()) -> bytes:
    reader = HttpReader(url, Patience(attempts=1), access=Access(tls=tls))
    try:
        return read(reader.fetch("file", 1000))
    finally:
        reader.close()


def named(authority: Authority, variable: str) -> str:
    return str(authority.hashed() if variable == "SSL_CERT_DIR" else authority.ca)


@pytest.mark.parametrize("variable", VARIABLES[1:])
def test_a_private_authority_is_believed_where_the_environment_names_it(
    host: Host, authority: Authority, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, named(authority, variable))
    assert fetched(host.url) == b"the file"


def test_a_source_has_an_authority_of_its_own_whatever_the_environment_names(
    host: Host, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Authority(tmp_path / "another").ca))
    with pytest.raises(NetworkError, match="certificate verify failed"):
        fetched(host.url)
    assert fetched(host.url, Tls(str(authority.ca))) == b"the file"


def test_an_authority_that_nobody_names_is_not_believed(host: Host) -> None:
    with pytest.raises(NetworkError, match="certificate verify failed"):
        fetched(host.url)


def test_a_certificate_is_for_the_host_that_it_names(site: Path, authority: Authority) -> None:
    with hosting(site, authority.serving("another.example")) as host:
        with pytest.raises(NetworkError, match="certificate verify failed"):
            fetched(host.url, Tls(str(authority.ca)))


def test_the_first_that_is_named_counts(authority: Authority, tmp_path: Path) -> None:
    folder = authority.hashed()
    environment = {"SSL_CERT_DIR": str(folder), "REQUESTS_CA_BUNDLE": ""}
    assert authorities(environment=environment) == Authorities(folders=str(folder))
    for name in reversed(VARIABLES[1:-1]):
        path = tmp_path / name
        shutil.copy(authority.ca, path)
        environment[name] = str(path)
        assert authorities(environment=environment) == Authorities(str(path))
    own = str(authority.ca)
    assert authorities(own, environment=environment) == Authorities(own)


def test_where_nobody_names_any_the_system_s_count_and_then_those_that_requests_brings(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def system(file: Path, folder: Path) -> Authorities:
        paths = ssl.DefaultVerifyPaths("", "", "", str(file), "", str(folder))
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
        return authorities(environment={})

    none, empty = tmp_path / "none", tmp_path / "empty"
    empty.mkdir()
    hashed = authority.hashed()
    assert system(authority.ca, hashed) == Authorities(str(authority.ca), named=False)
    assert system(none, hashed) == Authorities(folders=str(hashed), named=False)
    usual = Authorities(requests.utils.DEFAULT_CA_BUNDLE_PATH, named=False)
    assert system(none, empty) == system(none, none) == usual


@pytest.mark.parametrize("variable", VARIABLES[1:])
def test_what_the_environment_names_and_is_not_there_is_said(
    host: Host, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/none/such")
    with pytest.raises(InputError, match=f"{variable}: /none/such: there is no such"):
        fetched(host.url)
    with pytest.raises(InputError, match=f"{variable}: /none/such"):
        BucketReader("s3://bucket")


def test_a_folder_whose_certificates_no_hash_names_is_said(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "plain").mkdir()
    shutil.copy(authority.ca, tmp_path / "plain" / "ca.pem")
    with pytest.raises(InputError, match="openssl rehash"):
        authorities(environment={"SSL_CERT_DIR": str(tmp_path / "plain")})
    several = f"{tmp_path / 'plain'}{os.pathsep}{authority.hashed()}"
    assert authorities(environment={"SSL_CERT_DIR": several}).folders == several


def test_a_file_without_certificates_is_said(host: Host, tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(InputError, match="junk: no certificates can be read"):
        fetched(host.url, Tls(str(tmp_path / "junk")))


def test_a_host_that_demands_a_certificate_gets_the_source_s(
    site: Path, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.issue()
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    own = str(authority.ca)
    with hosting(site, authority.serving("127.0.0.1", clients=ssl.CERT_REQUIRED)) as host:
        with pytest.raises(NetworkError):
            fetched(host.url, Tls(own))
        assert fetched(host.url, Tls(own, "", str(certificate), str(key))) == b"the file"
        assert fetched(host.url, Tls(own, "", str(both))) == b"the file"


def shown(seen: list[bool]) -> Fault:
    """Whether each client shows a certificate."""

    def fault(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        seen.append(bool(cast(ssl.SSLSocket, handler.connection).getpeercert()))
        return False

    return fault


def test_another_host_is_not_shown_the_certificate(site: Path, authority: Authority) -> None:
    ours: list[bool] = []
    theirs: list[bool] = []
    certificate, key = map(str, authority.issue())
    wish = authority.serving("127.0.0.1", clients=ssl.CERT_OPTIONAL)
    tls = Tls(str(authority.ca), "", certificate, key)
    with hosting(site, wish) as host, hosting(site, wish) as other:
        host.fault, other.fault = shown(ours), shown(theirs)
        reader = HttpReader(host.url, access=Access(tls=tls))
        for url in (host.url, other.url, host.url):
            assert read(reader.get(f"{url}/file", 1000)) == b"the file"
        reader.close()
    assert ours == [True, True] and theirs == [False]


def test_a_key_that_does_not_go_with_the_certificate_is_said_and_no_password_is_asked_for(
    host: Host, authority: Authority
) -> None:
    certificate, _ = authority.issue()
    for _, key in (authority.issue(), authority.issue(password=PASSWORD)):
        with pytest.raises(InputError, match="not a certificate with its key, unencrypted"):
            fetched(host.url, Tls(str(authority.ca), "", str(certificate), str(key)))


def object_of(handler: BaseHTTPRequestHandler, path: Path) -> bool:
    handler.send_response(200)
    for name, value in (("ETag", '"1"'), ("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT"),
                        ("Content-Length", "8")):  # fmt: skip
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(b"the file")
    return True


@pytest.mark.parametrize("variable", VARIABLES)
def test_all_clients_of_a_bucket_follow_the_rule(
    host: Host, authority: Authority, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.fault = object_of
    for name, value in (("ENDPOINT_URL", host.url), ("ACCESS_KEY_ID", "a"),
                        ("SECRET_ACCESS_KEY", "b"), ("CONFIG_FILE", "/dev/null"),
                        ("SHARED_CREDENTIALS_FILE", "/dev/null")):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    if variable == "AWS_CA_BUNDLE":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/none/such")
    monkeypatch.setenv(variable, named(authority, variable))
    connection = S3Connection(S3Settings(), attempts=1)
    found = connection.client.get_object(Bucket="bucket", Key="file")
    assert found["Body"].read() == b"the file"
    connection.client.close()
    bulk = bulk_store(connection, "bucket")
    assert bytes(obstore.get(bulk, "file").bytes()) == b"the file"
    reader = BucketReader("s3://bucket")
    assert read(reader.fetch("file", 1000)) == b"the file"
    reader.close()


def test_a_file_that_is_made_of_a_folder_goes_with_who_needs_it(authority: Authority) -> None:
    class Owner:
        pass

    owner = Owner()
    path = Path(Authorities(folders=str(authority.hashed())).as_file(owner))
    assert path.read_text() == authority.ca.read_text()
    del owner
    assert not path.exists()
    assert Authorities(str(authority.ca)).as_file(path) == str(authority.ca)


def test_redis_is_given_the_same_files(authority: Authority, project: Project) -> None:
    pytest.importorskip("redis")
    certificate, key = authority.issue()
    text = f"    ca_file: {authority.ca}\n    client_certificate: {certificate}\n"
    head = "id: x\nsources:\n  up:\n    type: keyvalue\n    redis: "
    (project.folder / "mirror.yaml").write_text(
        f"{head}rediss://127.0.0.1:1/0\n{text}    client_key: {key}\n"
    )
    open_sources(Project(project.folder), [], {}, lambda location: FolderReader(Path()))
    tls = Tls(str(authority.ca), "", str(certificate), str(key))
    assert tls.of_redis("rediss://h/0") == {
        "ssl_ca_certs": str(authority.ca),
        "ssl_certfile": str(certificate),
        "ssl_keyfile": str(key),
    }
    assert tls.of_redis("redis://h/0") == {}


def test_redis_is_given_a_folder_as_a_folder(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(authority.hashed())
    monkeypatch.setenv("SSL_CERT_DIR", folder)
    assert Tls().of_redis("rediss://h/0") == {"ssl_ca_path": folder}
