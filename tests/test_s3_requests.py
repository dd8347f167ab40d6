"""What is sent to a bucket's service, request by request, and what becomes of its answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import AccessDenied, IncompleteError, InputError, NetworkError
from cnrmirror.model.progress import NoProgress
from cnrmirror.model.resource import Resource
from cnrmirror.objects.address import proxies
from cnrmirror.objects.base import Listed, read
from cnrmirror.objects.bucket import BucketReader, S3Connection
from cnrmirror.objects.limiter import Limiter
from cnrmirror.objects.s3 import BucketObjects
from cnrmirror.objects.s3_settings import S3Settings
from tests.authority import Authority
from tests.hostile import hosting
from tests.s3_double import Answer, Asked, Double, error, serving

KINDS = {"GET", "HEAD", "LIST", "PUT", "DELETE", "MULTI-DELETE"}
SMALL = Resource("catalog/nodes/sha256/ab/cd", b"{}", cache="immutable")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the machine, and no look for an instance's."""
    for name in ("CONFIG_FILE", "SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(f"AWS_{name}", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_REQUEST_PAYER", "AWS_ACCESS_KEY_ID",
                 "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
def service() -> Iterator[Double]:
    with serving() as double:
        yield double


def opened(project: Project, settings: S3Settings) -> BucketObjects:
    place = BucketObjects("s3://site/x", settings, project.store, conditions=True)
    place.limiter = Limiter(8, attempts=3, sleep=lambda seconds: None)
    return place


def everything(service: Double, project: Project, settings: S3Settings) -> None:
    """One request of each kind, by each of the libraries."""
    place = opened(project, settings)
    place.swap("state", b"{}", None)
    place.create([SMALL], NoProgress())
    place.put([Resource("index.html", b"<p>")], NoProgress())
    place.read("state", 100)
    list(place.listing())
    place.holds(Listed("state", 2, '"no digest"'), Resource("state", b"{}"))
    assert read(place.fetch("index.html", 100)) == b"<p>"
    place.delete(["state", "index.html"])
    service.rule = lambda asked: error(501, "NotImplemented") if "MULTI" in asked.kind else None
    place.delete(["state"])
    place.close()
    assert service.kinds() == KINDS


def test_many_who_read_at_the_same_time_share_one_reader(
    service: Double, project: Project, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = opened(project, S3Settings(endpoint=service.url))
    place.put([Resource("index.html", b"<p>")], NoProgress())
    made: list[str] = []

    class Slow(BucketReader):
        def __init__(self, address: str, settings: S3Settings) -> None:
            made.append(address)
            time.sleep(0.1)
            super().__init__(address, settings)

    monkeypatch.setattr("cnrmirror.objects.s3.BucketReader", Slow)
    with ThreadPoolExecutor(8) as executor:
        pages = list(executor.map(lambda _: read(place.fetch("index.html", 2 << 20)), range(8)))
    assert pages == [b"<p>"] * 8 and len(made) == 1
    place.close()


def test_a_redirect_says_where_it_leads_in_its_header(
    service: Double, project: Project, keys: None
) -> None:
    place = opened(project, S3Settings(endpoint=service.url))
    location = "/x/catalog/blobs/sha256/ab/abcd"
    resource = Resource("pull", location.encode(), "text/plain", redirect=location)
    place.put([resource, Resource("other", b"/x/y", "text/plain")], NoProgress())
    place.close()
    sent = {a.key: a.headers["x-amz-website-redirect-location"] for a in service.asked}
    assert sent == {"/site/x/pull": location, "/site/x/other": None}
    assert service.objects["/site/x/pull"] == location.encode()


@pytest.mark.parametrize("region", ["", "us-east-1", "eu-central-1"])
def test_every_request_is_signed_by_sigv4_in_the_header(
    service: Double, project: Project, keys: None, region: str
) -> None:
    everything(service, project, S3Settings(endpoint=service.url, region=region))
    for asked in service.asked:
        assert asked.headers["Authorization"].startswith("AWS4-HMAC-SHA256 ")
        assert asked.signed_for == ("somebody", region or "us-east-1")
        assert "Signature" not in asked.path


def test_who_has_no_credentials_reads_without_a_signature(service: Double) -> None:
    service.objects["/site/x/file"] = b"the file"
    reader = BucketReader("s3://site/x", S3Settings(endpoint=service.url))
    assert read(reader.fetch("file", 100)) == b"the file"
    reader.close()
    assert [a.headers["Authorization"] for a in service.asked] == [None]


@pytest.mark.parametrize("who", ["somebody", ""])
def test_any_key_is_asked_for_as_it_is_called(
    service: Double, project: Project, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "a b+c%2B~d:e@f=g&h!(i)é/ü"
    service.objects[f"/site/x/{key}"] = b"the file"
    if who:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", who)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        place = opened(project, S3Settings(endpoint=service.url))
        place.put([Resource(key, b"the file")], NoProgress())
        assert place.read(key, 100)
        place.close()
    reader = BucketReader("s3://site/x", S3Settings(endpoint=service.url))
    assert read(reader.fetch(key, 100)) == b"the file"
    reader.close()
    for asked in service.asked:
        assert asked.key == f"/site/x/{key}"
        assert not set(" +") & set(asked.path)  # S3 reads a plus in a path as a space


# -- what can be switched --------------------------------------------------------------------------


def test_checksums_can_be_left_out(service: Double, project: Project, keys: None) -> None:
    everything(service, project, S3Settings(endpoint=service.url, checksums=False))
    for asked in service.asked:
        sent = {name.lower() for name in asked.headers}
        assert not [name for name in sent if "checksum" in name or name == "x-amz-trailer"]
        assert "aws-chunked" not in asked.headers.get("Content-Encoding", "")
        assert ("content-md5" in sent) == (asked.kind == "MULTI-DELETE")


@pytest.mark.parametrize("by", ["setting", "environment"])
def test_every_request_says_who_pays(
    service: Double, project: Project, keys: None, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "environment":
        monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
    payer = "requester" if by == "setting" else ""
    everything(service, project, S3Settings(endpoint=service.url, request_payer=payer))  # type: ignore[arg-type]
    assert {asked.headers["x-amz-request-payer"] for asked in service.asked} == {"requester"}
    assert all("x-amz-request-payer" in a.headers["Authorization"] for a in service.asked)


# -- what services do not know ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "ways"),
    [
        (501, "NotImplemented", ["checksum", "single"]),
        (405, "MethodNotAllowed", ["checksum", "single"]),
        (400, "MissingContentMD5", ["checksum", "md5"]),
        (400, "InvalidRequest", ["checksum", "md5", "single"]),
    ],
)
def test_objects_are_removed_by_the_way_that_the_service_knows(
    service: Double, project: Project, keys: None, status: int, code: str, ways: list[str]
) -> None:
    def rule(asked: Asked) -> Answer | None:
        if asked.kind != "MULTI-DELETE" or (ways[-1] == "md5" and asked.headers["Content-MD5"]):
            return None
        return error(status, code)

    service.rule = rule
    place = opened(project, S3Settings(endpoint=service.url))
    for _ in range(2):
        assert place.delete(["a", "b", "not/there"]) == []
    place.close()
    found = ["md5" if asked.headers["Content-MD5"] else "checksum"
             for asked in service.asked if asked.kind == "MULTI-DELETE"]  # fmt: skip
    single = [asked.key for asked in service.asked if asked.kind == "DELETE"]
    if ways[-1] == "single":
        assert found == ways[:-1]
        assert sorted(single) == sorted(["/site/x/a", "/site/x/b", "/site/x/not/there"] * 2)
    else:
        assert found == [*ways, ways[-1]] and not single  # the second time it knows


@pytest.mark.parametrize("way", ["together", "singly"])
def test_what_the_service_keeps_is_told_with_its_reason(
    service: Double, project: Project, keys: None, way: str
) -> None:
    def rule(asked: Asked) -> Answer | None:
        if asked.kind == "MULTI-DELETE" and way == "singly":
            return error(501, "NotImplemented")
        if asked.kind == "MULTI-DELETE":
            one = "<Error><Key>x/b</Key><Code>AccessDenied</Code><Message>locked</Message></Error>"
            return 200, f"<DeleteResult>{one}</DeleteResult>", {}
        locked = asked.kind == "DELETE" and asked.key == "/site/x/b"
        return error(403, "AccessDenied") if locked else None

    service.rule = rule
    place = opened(project, S3Settings(endpoint=service.url))
    assert place.delete(["a", "b"]) == ["b"]
    place.close()
    assert "AccessDenied: " in place.notes[0] and "x/b" in place.notes[0]


def only_in(region: str, said: bool = True) -> object:
    """A bucket that is in one region, and a service that says so, or not."""

    def rule(asked: Asked) -> Answer | None:
        if asked.signed_for[1] == region:
            return None
        headers = {"x-amz-bucket-region": region} if said else {}
        if asked.kind in ("HEAD", "PUT"):
            return error(301, "PermanentRedirect", **headers)
        more = f"<Region>{region}</Region>" if said else ""
        return error(400 if said else 301, "AuthorizationHeaderMalformed" if said else
                     "PermanentRedirect", more)  # fmt: skip

    return rule


def test_a_bucket_in_another_region_is_followed_and_said(
    service: Double, project: Project, keys: None
) -> None:
    service.rule = only_in("eu-north-1")  # type: ignore[assignment]
    service.objects["/site/x/file"] = b"the file"
    settings = S3Settings(endpoint=service.url, region="us-east-1")
    place = opened(project, settings)
    assert place.read("file", 100)
    place.put([Resource(f"a/{n}", b"{}") for n in range(100)], NoProgress())
    place.swap("state", b"{}", None)
    assert read(place.fetch("file", 100)) == b"the file"
    place.close()
    assert len(service.objects) == 102
    assert place.notes == ["s3://site/x: the bucket is in the region eu-north-1: set region"]


def test_where_no_region_is_said_the_person_is_asked_for_it(
    service: Double, project: Project, keys: None
) -> None:
    service.rule = only_in("eu-north-1", said=False)  # type: ignore[assignment]
    place = opened(project, S3Settings(endpoint=service.url, region="us-east-1"))
    with pytest.raises(InputError, match=r"set it \(region\)"):
        place.put([SMALL], NoProgress())
    with pytest.raises(InputError, match=r"set it \(region\)"):
        place.read("file", 100)
    with pytest.raises(NetworkError, match="301: PermanentRedirect: of PermanentRedirect"):
        read(place.fetch("file", 100))
    place.close()


# -- what people are told --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "InvalidAccessKeyId", AccessDenied),
        (403, "SignatureDoesNotMatch", AccessDenied),
        (403, "RequestTimeTooSkewed", AccessDenied),
        (400, "ExpiredToken", AccessDenied),
        (403, "AccessDenied", IncompleteError),  # without ListBucket, what is missing is that, too
        (404, "NoSuchBucket", IncompleteError),
        (400, "InvalidArgument", NetworkError),
    ],
)
def test_the_words_of_the_service_reach_who_reads(
    service: Double, keys: None, status: int, code: str, kind: type[Exception]
) -> None:
    service.rule = lambda asked: error(status, code)
    reader = BucketReader("s3://site/x", S3Settings(endpoint=service.url))
    with pytest.raises(kind, match=f"{code}: of {code}"):
        read(reader.fetch("file", 100))
    reader.close()
    assert len(service.asked) == 1


@pytest.mark.parametrize("write", [True, False])
def test_the_words_of_the_service_reach_who_publishes(
    service: Double, project: Project, keys: None, write: bool
) -> None:
    service.rule = lambda asked: error(403, "AccountProblem", "<x>&quot;</x>")
    place = opened(project, S3Settings(endpoint=service.url))
    with pytest.raises(AccessDenied, match=r"AccountProblem: of AccountProblem"):
        place.put([SMALL], NoProgress()) if write else place.read("a", 100)
    place.close()


def test_a_certificate_that_nobody_vouches_for_is_said_at_once(
    project: Project, keys: None, tmp_path: Path
) -> None:
    with hosting(tmp_path, Authority(tmp_path / "authority").serving("127.0.0.1")) as host:
        place = opened(project, S3Settings(endpoint=host.url))
        reader = BucketReader("s3://site/x", S3Settings(endpoint=host.url))
        for ask in (
            lambda: place.read("a", 100),
            lambda: place.put([SMALL], NoProgress()),
            lambda: read(reader.fetch("a", 100)),
        ):
            with pytest.raises(NetworkError, match="certificate"):
                ask()
        assert place.limiter.retries == 0
        place.close()
        reader.close()


# -- one environment for all libraries -------------------------------------------------------------


def by_each_library(url: str, project: Project, profile: str = "") -> None:
    place = opened(project, S3Settings(endpoint=url, profile=profile))
    place.put([SMALL], NoProgress())
    place.read(SMALL.path, 100)
    list(place.listing())
    read(place.fetch(SMALL.path, 100))
    place.close()


@pytest.mark.parametrize(
    ("host", "named", "by_proxy"),
    [
        ("localhost", {"HTTP_PROXY": "P"}, True),
        ("localhost", {"http_proxy": "P"}, True),
        ("localhost", {"ALL_PROXY": "P"}, True),
        ("localhost", {"HTTPS_PROXY": "P"}, False),
        ("localhost", {"http_proxy": "P", "NO_PROXY": "localhost"}, False),
        ("localhost", {"http_proxy": "P", "no_proxy": "other.example"}, True),
        ("localhost", {"ALL_PROXY": "P", "NO_PROXY": "*"}, False),
        ("127.0.0.1", {"http_proxy": "P", "NO_PROXY": "127.0.0.0/8"}, False),
    ],
)
def test_all_libraries_go_by_the_same_proxy(
    service: Double, project: Project, keys: None, host: str, named: dict[str, str],
    by_proxy: bool, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with serving() as proxy:
        for name, value in named.items():
            monkeypatch.setenv(name, proxy.url if value == "P" else value)
        proxies.cache_clear()
        by_each_library(service.url.replace("127.0.0.1", host), project)
        proxies.cache_clear()
        asked = [len(proxy.asked), len(service.asked)]
    assert asked == ([4, 0] if by_proxy else [0, 4])


@pytest.mark.parametrize("by", ["setting", "environment"])
def test_all_libraries_have_the_profile_s_credentials_and_region(
    service: Double, project: Project, tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[profile ours]\nregion = eu-west-3\n")
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = other\naws_secret_access_key = b\n"
        "[ours]\naws_access_key_id = ours\naws_secret_access_key = b\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    if by == "environment":
        monkeypatch.setenv("AWS_PROFILE", "ours")
    by_each_library(service.url, project, "ours" if by == "setting" else "")
    assert {asked.signed_for for asked in service.asked} == {("ours", "eu-west-3")}


@pytest.mark.parametrize(
    ("bucket", "region", "base"),
    [
        ("plain", "", "https://plain.s3.amazonaws.com/"),
        ("plain", "eu-central-1", "https://plain.s3.eu-central-1.amazonaws.com/"),
        ("with.dots", "eu-central-1", "https://s3.eu-central-1.amazonaws.com/with.dots/"),
        ("plain", "cn-north-1", "https://plain.s3.cn-north-1.amazonaws.com.cn/"),
    ],
)
def test_a_bucket_of_amazon_s_is_asked_for_in_its_region(
    keys: None, bucket: str, region: str, base: str
) -> None:
    connection = S3Connection(S3Settings(region=region))
    assert connection.base(bucket) == base
    assert f"/{region or 'us-east-1'}/s3/" in connection.sign(f"{base}x")["Authorization"]
    connection.client.close()
