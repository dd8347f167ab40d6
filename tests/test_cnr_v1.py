"""v1.py: each file of the view, to the byte, and what holds of all of them."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Channel, Content, PackageDocument, Release, Tombstone
from cnrmirror.model.names import newest_first, release_key
from cnrmirror.model.resource import Alias, Base64Json, Resource
from cnrmirror.views import cnr_v1 as v1
from cnrmirror.views.base import Package, Settings
from cnrmirror.views.cnr_paths import rank, url_of
from cnrmirror.views.cnr_v1 import (
    Block,
    ListEntry,
    Row,
    fixed_resources,
    list_entry,
    list_resources,
    listing,
    package_resources,
    releases_by_digest,
    to_json,
)
from cnrmirror.views.groups import Grouped
from tests.conftest import NO_ROOT

NAME = "ns/chat"
BASE = f"cnr/api/v1/packages/{NAME}"
LAW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
TIMES = {"1.0.0": "2026-01-01T00:00:00", "2.0.0": "2026-02-02T00:00:00",
         "2.0.0-rc.1": "2025-12-31T00:00:00", "2.0.0+x": "2026-03-03T00:00:00"}  # fmt: skip


def release(text: str, media_type: str = "helm", tar: str = "") -> Release:
    """One release; those with the same ``tar`` have one CNR digest, and archives of their own."""
    digest = Descriptor.of((tar or f"{text} {media_type}").encode()).digest
    content = Content(digest, "application/x-tar", 7, ["u"])
    blob = Descriptor.of(f"archive of {text} {media_type}".encode())
    manifest_type = f"manifest of {media_type}"
    metadata = msgspec.Raw(b'{"a":1}')
    return Release(text, media_type, TIMES[text], manifest_type, content, blob, metadata)


def package(*releases: Release, channels: dict[str, list[str]] | None = None) -> PackageDocument:
    found = [Channel(name, ever[0], ever) for name, ever in (channels or {}).items()]
    return PackageDocument(NAME, list(releases), found).sorted()


def manifest(item: Release) -> dict[str, Any]:
    """The manifest as the registry's servers give it."""
    return {
        "package": NAME,
        "release": item.release,
        "created_at": item.created_at,
        "mediaType": item.manifest_type,
        "content": {"digest": item.content.digest, "mediaType": "application/x-tar", "size": 7,
                    "urls": ["u"]},
        "metadata": {"a": 1},
    }  # fmt: skip


def compact(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def twin(blob: Descriptor, **fields: str) -> Base64Json:
    return Base64Json(b'{"blob":"', blob, b'",' + compact(fields)[1:])


def files_of_blob(item: Release) -> list[Resource]:
    digest = item.content.digest
    path, name = f"{BASE}/blobs/sha256/{digest}", f"ns_chat_{digest[:8]}.tar.gz"
    target = f"../../{item.release}/{item.media_type}/pull.json"
    return [
        Resource(path, item.blob, "application/x-gzip", "immutable", name),
        Resource(f"{path}.json", Alias(target, single=True), form="base64"),
    ]


def archives(item: Release) -> list[Resource]:
    path, name = f"{BASE}/{item.release}/{item.media_type}", f"ns_chat_{item.release}.tar.gz"
    fields = {"filename": name, "media_type": item.media_type, "release": item.release}
    return [
        Resource(f"{path}/pull", item.blob, "application/x-gzip", "short", name),
        Resource(f"{path}/pull.json", twin(item.blob, package=NAME, **fields), form="base64"),
    ]


def one_manifest(item: Release, *channels: str) -> Resource:
    value = {**manifest(item), "channels": list(channels)}
    return file(f"{item.release}/{item.media_type}/index.json", value)


def file(path: str, value: Any) -> Resource:
    return Resource(f"{BASE}/{path}", compact(value))


def alias(path: str, target: str, single: bool = False) -> Resource:
    found = Resource(f"{BASE}/{path}", Alias(target, single))
    return msgspec.structs.replace(found, form="dash") if path.endswith("/-") else found


def blobs(*items: Release) -> list[Resource]:
    """The archives of releases, which are given newest first."""
    ordered = sorted(items, key=lambda item: item.content.digest)
    return [
        *(found for item in items for found in archives(item)),
        *(found for item in ordered for found in files_of_blob(item)),
    ]


def test_a_package_of_one_media_type_has_these_files_in_this_order() -> None:
    one, two = release("1.0.0"), release("2.0.0")
    document = package(one, two, channels={"beta": ["2.0.0", "1.0.0"], "stable": ["1.0.0"]})
    beta = {"name": "beta", "current": "2.0.0", "releases": ["2.0.0", "1.0.0"]}
    stable = {"name": "stable", "current": "1.0.0", "releases": ["1.0.0"]}
    assert list(package_resources(document)) == [
        *blobs(two, one),
        one_manifest(two, "beta"),
        alias("2.0.0/-", "helm"),
        file("2.0.0/index.json", [manifest(two)]),
        one_manifest(one, "stable"),
        alias("1.0.0/-", "helm"),
        file("1.0.0/index.json", [manifest(one)]),
        alias("default/helm", "../2.0.0/helm"),
        alias("default/-", "../2.0.0/helm"),
        file("channels/beta/index.json", beta),
        file("channels/stable/index.json", stable),
        file("channels/index.json", [beta, stable]),
        file("index.json", [manifest(two), manifest(one)]),
        alias("type-helm.json", "index.json", single=True),
    ]


def test_a_package_of_two_media_types_has_a_list_of_each_and_no_dash() -> None:
    helm, kpm, old = release("2.0.0"), release("2.0.0", "kpm"), release("1.0.0")
    assert list(package_resources(package(old, kpm, helm))) == [
        *blobs(helm, kpm, old),
        one_manifest(helm),
        one_manifest(kpm),
        file("2.0.0/index.json", [manifest(helm), manifest(kpm)]),
        one_manifest(old),
        alias("1.0.0/-", "helm"),
        file("1.0.0/index.json", [manifest(old)]),
        alias("default/helm", "../2.0.0/helm"),
        alias("default/kpm", "../2.0.0/kpm"),
        file("channels/index.json", []),
        file("type-helm.json", [manifest(helm), manifest(old)]),
        file("type-kpm.json", [manifest(kpm)]),
        file("index.json", [manifest(helm), manifest(kpm), manifest(old)]),
    ]


def test_a_package_of_which_only_tombstones_are_left_has_no_files_and_no_row() -> None:
    stone = Tombstone("1.0.0", "helm", Descriptor.of(b"").digest, TIMES["1.0.0"], "gone")
    document = PackageDocument(NAME, [], [], [stone])
    assert list(package_resources(document)) == [] and list_entry(document) is None


def test_of_several_archives_of_one_tar_the_highest_release_is_served() -> None:
    items = [release(text, tar="same") for text in ("2.0.0", "2.0.0-rc.1", "1.0.0")]
    for found in (package(*items), package(*reversed(items))):
        assert {d: r.blob for d, r in releases_by_digest(found).items()} == {
            items[0].content.digest: items[0].blob
        }


RELEASES = st.builds(
    release, st.sampled_from(list(TIMES)), st.sampled_from(["helm", "kpm"]),
    st.sampled_from(["", "a", "b"]),
)  # fmt: skip
PACKAGES = st.builds(
    lambda items, channels: package(
        *items, channels={c: [items[0].release] for c in channels} if items else {}
    ),
    st.lists(RELEASES, max_size=6, unique_by=lambda r: r.key),
    st.sets(st.sampled_from(["stable", "beta"])),
)


@LAW
@given(PACKAGES)
def test_no_path_is_given_twice_and_what_an_alias_means_came_before_it(
    document: PackageDocument,
) -> None:
    seen: set[str] = set()
    for resource in package_resources(document):
        assert resource.path.startswith(f"{BASE}/") and resource.path not in seen
        if isinstance(resource.body, Alias):
            target = posixpath.join(posixpath.dirname(resource.path), resource.body.target)
            target = posixpath.normpath(target)
            assert target in seen or f"{target}/index.json" in seen
        seen.add(resource.path)


@LAW
@given(PACKAGES)
def test_every_list_of_releases_comes_after_the_files_of_what_it_names(
    document: PackageDocument,
) -> None:
    paths = [resource.path.removeprefix(f"{BASE}/") for resource in package_resources(document)]
    for item in document.releases:
        place = f"{item.release}/{item.media_type}"
        order = [f"{place}/pull", f"blobs/sha256/{item.content.digest}", f"{place}/index.json",
                 f"{item.release}/index.json", "channels/index.json", "index.json"]  # fmt: skip
        assert [paths.index(path) for path in order] == sorted(map(paths.index, order))


@LAW
@given(PACKAGES)
def test_each_digest_has_the_archive_of_its_highest_release(document: PackageDocument) -> None:
    found = releases_by_digest(document)
    assert list(found) == sorted({item.content.digest for item in document.releases})
    for digest, served in found.items():
        same = [item for item in document.releases if item.content.digest == digest]
        highest = max(release_key(item.release) for item in same)
        assert served in [item for item in same if release_key(item.release) == highest]


@LAW
@given(PACKAGES)
def test_a_row_is_the_short_form_of_its_package(document: PackageDocument) -> None:
    found = list_entry(document)
    if not document.releases:
        assert found is None
        return
    assert found is not None
    releases = newest_first({item.release for item in document.releases})
    of_type = {
        t: newest_first(item.release for item in document.releases if item.media_type == t)
        for t in {item.media_type for item in document.releases}
    }
    newest = {item.media_type for item in document.releases if item.release == releases[0]}
    created = min(item.created_at for item in document.releases)
    assert found == ListEntry(NAME, created, releases, of_type, sorted(newest))
    assert list(found.types) == sorted(of_type)


@LAW
@given(PACKAGES)
def test_a_row_says_of_its_package_what_the_short_form_does(document: PackageDocument) -> None:
    short = list_entry(document)
    if short is None:
        return
    row = Row.of(short)
    assert row.entry() == short and (row.name, row.media_types) == (NAME, list(short.types))
    assert list(row.types) == (row.media_types if len(row.media_types) > 1 else [])
    assert row.of_type("none of them") is None
    for media_type in (None, *row.media_types):
        element = row.of_type(media_type)
        assert element is not None and bytes(element) + b"\n" == compact(entry(short, media_type))


A = ListEntry("a/x", "2026", ["2.0.0", "1.0.0"], {"helm": ["1.0.0"], "kpm": ["2.0.0"]}, ["kpm"])
B = ListEntry("a/y", "2025", ["3.0.0"], {"helm": ["3.0.0"]}, ["helm"])
C = ListEntry("b/z", "2024", ["4.0.0"], {"helm": ["4.0.0"]}, ["helm"])
ROWS = [Row.of(A), Row.of(B), Row.of(C)]
VIEW = v1.CnrV1(Settings())


def blocks(*rows: Row) -> Mapping[str, Block]:
    """By namespace, as the view sums them up."""
    return Grouped(VIEW, {row.name: row for row in rows}).summaries()


def entry(item: ListEntry, media_type: str | None = None) -> dict[str, Any]:
    releases = item.types[media_type] if media_type else item.releases
    return {
        "name": item.name,
        "created_at": item.created_at,
        "default": releases[0],
        "manifests": [media_type] if media_type else item.manifests,
        "releases": releases,
        "visibility": "public",
    }


def test_a_listing_has_what_there_is_of_the_media_type() -> None:
    a, b, c = ROWS
    assert listing([a, b, c]) == compact([entry(A), entry(B), entry(C)])
    assert listing([a, b], "helm") == compact([entry(A, "helm"), entry(B, "helm")])
    assert listing([a, b, a], "kpm") == compact([entry(A, "kpm"), entry(A, "kpm")])
    assert listing([], "helm") == listing([a], "docker") == b"[]\n"


def by(path: str, *rows: dict[str, Any]) -> Resource:
    return Resource(f"cnr/api/v1/packages-by/{path}.json", compact(list(rows)))


def test_the_lists_that_a_change_touches_are_written_and_no_others() -> None:
    everything = [
        Resource("cnr/api/v1/packages/index.json", compact([entry(A), entry(B), entry(C)])),
        Resource("cnr/api/v1/packages/search/index.json", compact(["a/x", "a/y", "b/z"])),
    ]
    helm = by("_/helm", entry(A, "helm"), entry(B, "helm"), entry(C, "helm"))
    kpm = by("_/kpm", entry(A, "kpm"))
    of_a = [by("a/_", entry(A), entry(B)), by("a/helm", entry(A, "helm"), entry(B, "helm"))]
    of_b = [by("b/_", entry(C)), by("b/helm", entry(C, "helm"))]
    a, b, c = ROWS
    assert list(list_resources(blocks(*ROWS), [])) == everything
    assert list(list_resources(blocks(*ROWS), [c])) == [*everything, helm, *of_b]
    assert list(list_resources(blocks(*ROWS), [b])) == [*everything, helm, *of_a]
    expected = [*everything, helm, kpm, *of_a, by("a/kpm", entry(A, "kpm")), *of_b]
    assert list(list_resources(blocks(*ROWS), [c, a, b])) == expected


def test_everything_is_what_a_change_of_all_touches() -> None:
    assert list(list_resources(blocks(*ROWS), None)) == list(list_resources(blocks(*ROWS), ROWS))
    empty = [resource.body for resource in list_resources({}, None)]
    assert empty == [b"[]\n", b"[]\n"]


@LAW
@given(
    st.lists(st.sampled_from(["a", "a-b", "a.b", "b", "B"]), min_size=1, max_size=4, unique=True)
)
def test_namespaces_stand_in_the_lists_as_their_packages_do(namespaces: list[str]) -> None:
    kinds = [{"helm": ["1.0.0"]}, {"helm": ["1.0.0"], "kpm": ["1.0.0"]}, {"kpm": ["1.0.0"]}]
    rows = [
        Row.of(ListEntry(f"{namespace}/{name}", "2026", ["1.0.0"], kinds[number % 3], ["helm"]))
        for number, namespace in enumerate(namespaces)
        for name in ("x", "y-z")
    ]
    ordered = sorted(rows, key=lambda row: row.name)

    def lists(touched: list[Row]) -> dict[str, Any]:
        made = list_resources(blocks(*rows), touched)
        return {r.path.removeprefix("cnr/api/v1/"): r.body for r in made}

    found = lists([])
    assert found["packages/index.json"] == listing(ordered)
    assert found["packages/search/index.json"] == compact([row.name for row in ordered])
    found = {
        r.path.removeprefix("cnr/api/v1/"): r.body for r in list_resources(blocks(*rows), rows)
    }
    for kind in ("helm", "kpm"):
        assert found.get(f"packages-by/_/{kind}.json", b"[]\n") == listing(ordered, kind)
        for namespace in namespaces:
            of_it = [row for row in ordered if row.name.startswith(f"{namespace}/")]
            path = f"packages-by/{namespace}/{kind}.json"
            assert found.get(path, b"[]\n") == listing(of_it, kind)
            assert found[f"packages-by/{namespace}/_.json"] == listing(of_it)


def test_a_list_that_became_empty_has_no_file() -> None:
    a, b, c = ROWS
    found = list(list_resources(blocks(b), [a, c]))
    assert found == [
        Resource("cnr/api/v1/packages/index.json", compact([entry(B)])),
        Resource("cnr/api/v1/packages/search/index.json", compact(["a/y"])),
        by("_/helm", entry(B, "helm")),
        by("a/_", entry(B)),
        by("a/helm", entry(B, "helm")),
    ]


def test_a_namespace_ends_at_the_first_slash() -> None:
    other = msgspec.structs.replace(ROWS[2], name="b/z/y")
    for touched in (ROWS[2], other):
        found = list(list_resources(blocks(other), [touched]))
        assert "cnr/api/v1/packages-by/b/_.json" in [resource.path for resource in found]


@pytest.mark.parametrize(
    ("vendor", "version"), [("appr", {"appr-api": "0.7.4"}), ("cnr", {"cnr-api": "0.2.7"})]
)
@pytest.mark.parametrize("url", ["", "https://mirror.example/x"])
def test_the_fixed_files_are_these(vendor: Any, version: dict[str, str], url: str) -> None:
    uri = f"{url}/cnr/"
    nothing = "this mirror has nothing of that name"
    read_only = "this is a read-only mirror: only GET and HEAD"
    prefixes = {"version": "v1.0.0", "prefix": uri, "uri_prefix": uri}
    missing = compact({"code": "package-not-found", "message": nothing, "details": {}})
    refused = compact({"code": "unsupported", "message": read_only, "details": {}})
    assert list(fixed_resources(vendor, url)) == [
        Resource("cnr/version/index.json", compact(version)),
        Resource("cnr/api/v1/packages-by/empty.json", b"[]\n"),
        Resource("cnr/404.json", missing),
        Resource("cnr/405.json", refused),
        Resource("api", Alias("cnr/api")),
        Resource("version", Alias("cnr/version")),
        Resource(".well-known/app-registry-uri.json", compact(prefixes)),
    ]
    assert v1.not_found() == missing


def test_an_error_carries_its_details() -> None:
    expected = {"code": "c", "message": "m", "details": {"a": 1, "b": "x"}}
    assert v1.error("c", "m", a=1, b="x") == expected


def test_json_is_sorted_and_compact_and_ends_with_a_line_end() -> None:
    assert to_json({"b": [1, {"d": None, "c": "ä"}], "a": True}) == (
        '{"a":true,"b":[1,{"c":"ä","d":null}]}\n'.encode()
    )


def test_the_view_gives_these_files_entries_and_paths() -> None:
    view = v1.CnrV1(Settings("https://example.com", "cnr"))
    document = package(release("1.0.0"), channels={"stable": ["1.0.0"]})
    short = list_entry(document)
    assert short is not None and view.entry(Package(document)) == Row.of(short)
    assert view.entry(Package(PackageDocument(NAME, [], []))) is None
    assert list(view.package(Package(document))) == list(package_resources(document))
    assert list(view.fixed()) == list(v1.fixed_resources("cnr", "https://example.com"))
    row = Row.of(short)
    groups = Grouped(view, {row.name: row})
    lists = list(view.lists(groups, {row.name: (None, row)}, NO_ROOT))
    assert lists == list(v1.list_resources(blocks(row), [row])) != []
    assert list(view.lists(groups, None, NO_ROOT)) == lists
    both = Grouped(view, {row.name: row, C.name: ROWS[2]})
    some = list(view.lists(both, {row.name: (None, row)}, NO_ROOT))
    assert some == list(v1.list_resources(both.summaries(), [row]))
    assert len(some) < len(list(view.lists(both, None, NO_ROOT)))
    assert view.rows(row.name, row) == {"ns": row}
    for resource in view.package(Package(document)):
        assert view.rank(resource.path) == rank(resource.path)
        assert view.package_in(resource.path) == document.package
        assert view.address(resource.path) == url_of(resource.path)
