"""names.py: what is accepted, and how releases are ordered and chosen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnrmirror.model.errors import InvalidName
from cnrmirror.model.names import (
    PackageName,
    Reference,
    check_channel,
    check_media_type,
    check_release,
    default_release,
    newest_first,
    select_release,
)

NUMBERS = st.integers(0, 30)
RELEASES = st.builds(
    lambda a, b, c, pre, build: f"{a}.{b}.{c}{pre}{build}",
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.sampled_from(["", "-alpha.1", "-rc.2"]),
    st.sampled_from(["", "+build.7"]),
)


@given(st.lists(RELEASES, min_size=1, unique=True), st.randoms())
def test_the_order_of_releases_does_not_depend_on_where_they_came_from(
    releases: list[str], dice: object
) -> None:
    mixed = list(releases)
    dice.shuffle(mixed)  # type: ignore[attr-defined]
    assert newest_first(mixed) == newest_first(releases)
    assert default_release(mixed) == default_release(releases)


@given(RELEASES)
def test_a_reference_reads_what_it_wrote(release: str) -> None:
    for text in (f"ns/name@{release}", "ns/name", "ns/name:stable", f"ns/name@sha256:{'0' * 64}"):
        assert str(Reference.parse(text)) == text


def test_ranges_choose_as_the_servers_do() -> None:
    releases = ["1.0.0", "1.2.0", "2.0.0-alpha.1", "3.0.0", "3.0.0+build.7"]
    assert select_release(releases, "^1.0.0") == "1.2.0"
    assert select_release(releases, ">=2.0.0-alpha,<3.0.0") == "2.0.0-alpha.1"
    assert select_release(releases, "default") == "3.0.0"
    assert select_release(releases, "3.0.0") == "3.0.0"
    assert select_release(releases, ">9") is None
    with pytest.raises(InvalidName):
        select_release(releases, "abc")


@pytest.mark.parametrize(
    "text", ["", "a", "a/", "/a", "a/b/c", "../b", "a/..", "a/.b", "a/b.json", "a/b ",
             "a/\u00e9", "a/b\n"]
)  # fmt: skip
def test_a_bad_package_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        PackageName.parse(text)


@pytest.mark.parametrize(
    "text", ["", "1", "1.0", "v1.0.0", "1.0.0/x", "1.0.0-", "1" * 200, "1.0.\u0663"]
)
def test_a_bad_release_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        check_release(text)


@pytest.mark.parametrize("text", ["", "Helm", "he.lm", "../x", "a/b", "x" * 99])
def test_a_bad_media_type_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        check_media_type(text)


def test_a_channel_cannot_be_a_file_of_the_site() -> None:
    for text in ("index.json", "a/b", "..", ""):
        with pytest.raises(InvalidName):
            check_channel(text)


@pytest.mark.parametrize("version", ["v0", "v1", "v2beta1"])
@pytest.mark.parametrize("vendor", ["cnr", "appr"])
def test_a_long_media_type_may_have_any_version(vendor: str, version: str) -> None:
    for text in (f"package-manifest.helm.{version}.json", f"package.helm.{version}.tar+gzip"):
        assert check_media_type(f"application/vnd.{vendor}.{text}") == "helm"


@pytest.mark.parametrize(
    "text", ["package.helm.json", "package.helm.x1.json", "package.helm.v.json"]
)
def test_a_long_media_type_without_a_version_is_none(text: str) -> None:
    with pytest.raises(InvalidName):
        check_media_type(f"application/vnd.cnr.{text}")
