"""OCI registries: what of them is a release, who is asked with what, and those that lie."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnrmirror.mirror import config
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.model import oci
from cnrmirror.model.documents import MAX_ATTACHMENTS, Attachment, Release
from cnrmirror.model.errors import (
    AccessDenied,
    CnrMirrorError,
    IncompleteError,
    InputError,
    TrustError,
)
from cnrmirror.objects.http import HttpReader, Patience
from cnrmirror.sources import ociclient
from cnrmirror.sources.base import Ask, Hole, Listing
from cnrmirror.sources.filters import Filter, Wanted
from cnrmirror.sources.oci import OciSource
from cnrmirror.sources.ocirepository import Tags
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.report import PARTIAL, SourceReport
from cnrmirror.sync.run import sync
from tests.conftest import NOW, chart_bytes, tar_gz
from tests.hostile import Host, hosting
from tests.mirrors import make, reopen
from tests.oci_double import BASIC, CONFIG, Registry, digest_of, named
from tests.test_guard import HERE, PUBLIC, Internet
from tests.test_sync import releases
from tests.test_sync_faults import ran

KPM_MANIFEST = "application/vnd.cnr.package-manifest.kpm.v0.json"
KPM_LAYER = "application/vnd.cnr.package.kpm.v0.tar+gzip"
KPM = tar_gz({"x/manifest.yaml": b"package: {name: ns/a, version: 1.0.0}\n"})
PROV = b"-----BEGIN PGP SIGNED MESSAGE-----\n"


class Place:
    """A registry over HTTP, and a mirror that is synced from it."""

    def __init__(self, folder: Path, host: Host) -> None:
        self.folder = folder
        self.host = host
        self.registry = Registry()
        host.fault = self.registry
        self.project: Project = make(folder / "mirror", "oci")
        self.headers: dict[str, str] = {}

    def source(self, **settings: Any) -> OciSource:
        http = HttpReader(
            self.host.url + settings.pop("prefix", ""), Patience(attempts=1), self.headers,
            sleep=lambda seconds: None,
        )  # fmt: skip
        return OciSource("up", http, cache=self.folder / "cache", **settings)

    def look(self, wanted: Filter = Filter(), **settings: Any) -> Listing:
        return self.source(**settings).look(Ask(Wanted(wanted)))

    def sync(self, rules: Rules = Rules(), **settings: Any) -> SourceReport:
        self.registry.seen.clear()
        (report,) = sync(self.project, [(self.source(**settings), rules)], NOW).sources
        return report

    def release(self, package: str = "ns/a", release: str = "1.0.0", kind: str = "helm") -> Release:
        found = self.project.document(package).find(release, kind)
        assert found is not None
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with hosting(tmp_path) as host:
        yield Place(tmp_path, host)


def offered(listing: Listing) -> set[str]:
    return {f"{o.package}@{o.release} {o.media_type}" for o in listing.offers}


def roles(release: Release) -> dict[str, list[Attachment]]:
    found: dict[str, list[Attachment]] = {}
    for attachment in release.attachments:
        found.setdefault(attachment.annotations.get(oci.ROLE, ""), []).append(attachment)
    return found


# -- what is a release ----------------------------------------------------------------------------


def test_charts_and_packages_are_releases_and_images_are_left_out(place: Place) -> None:
    registry = place.registry
    registry.chart("ns/a", "1.0.0_build.7", chart_bytes("a", "1.0.0"))
    registry.put("ns/a/kpm", "1.0.0", [(KPM, KPM_LAYER)],
                 config=(b"{}", oci.EMPTY_CONFIG), artifactType=KPM_MANIFEST)  # fmt: skip
    registry.put("ns/a/odd", "1.0.0", [(KPM, "application/vnd.oci.image.layer.v1.tar+gzip")],
                 config=(b"{}", KPM_MANIFEST))  # fmt: skip
    registry.put("ns/image", "1.2.3", [(b"x", "application/vnd.oci.image.layer.v1.tar+gzip")],
                 config=(b"{}", "application/vnd.oci.image.config.v1+json"))  # fmt: skip
    registry.put("ns/sbom", "1.2.3", [(b"x", "text/spdx")], config=(b"{}", oci.EMPTY_CONFIG))
    registry.index("ns/many", "1.0.0", [named(b"x", oci.OCI_MANIFEST)])
    listing = place.look()
    assert offered(listing) == {
        "ns/a@1.0.0+build.7 helm", "ns/a@1.0.0 kpm", "a/odd@1.0.0 kpm"
    }  # fmt: skip
    types = {o.package: o.manifest_type for o in listing.offers if o.media_type == "kpm"}
    assert types == {"ns/a": KPM_MANIFEST, "a/odd": KPM_MANIFEST}
    assert listing.holes == [] and listing.complete
    assert sorted(note.partition(":")[0] for note in listing.notes) == [
        "left out, 1 artifacts that are no package", "left out, 1 images", "left out, 1 indexes",
    ]  # fmt: skip


def test_the_formats_of_an_index_are_releases(place: Place) -> None:
    registry = place.registry
    chart = registry.chart("ns/a/formats", "", chart_bytes("a", "1.0.0"))
    kpm = registry.put("ns/a/formats", "", [(KPM, KPM_LAYER)],
                       config=(b"{}", oci.EMPTY_CONFIG), artifactType=KPM_MANIFEST)  # fmt: skip
    data = [registry.manifests["ns/a/formats", digest][0] for digest in (chart, kpm)]
    members = [named(data[0], oci.OCI_MANIFEST, artifactType=oci.HELM_CONFIG),
               named(data[1], oci.OCI_MANIFEST, artifactType=KPM_MANIFEST),
               named(b"other", oci.OCI_MANIFEST)]  # fmt: skip
    registry.index("ns/a/formats", "1.0.0", members)
    assert offered(place.look()) == {"ns/a@1.0.0 helm", "ns/a@1.0.0 kpm"}
    # What stands by itself is not taken out of the index once more.
    registry.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0"))
    registry.seen.clear()
    listing = place.look()
    assert offered(listing) == {"ns/a@1.0.0 helm"} or len(listing.offers) == 2
    assert place.sync().exit_code == 0


def test_tags_that_are_no_version_are_left_alone_and_a_v_is_left_out() -> None:
    tags = Tags.of(["1.0.0", "v1.0.0", "v2.0.0", "latest", f"sha256-{'a' * 64}.sig", "1.0", 3,
                    "-x", "1.0.0-rc.1_b.2"])  # fmt: skip
    assert tags.releases == {
        "1.0.0": "1.0.0",
        "2.0.0": "v2.0.0",
        "1.0.0-rc.1+b.2": "1.0.0-rc.1_b.2",
    }
    assert tags.odd == 2 and "latest" in tags.others


@pytest.mark.parametrize(
    ("repository", "namespace", "prefix", "package"),
    [("ns/a", "", "", "ns/a"), ("x/ns/a", "", "", "ns/a"), ("x/y/a", "ours", "", "ours/a"),
     ("a", "ours", "", "ours/a"), ("team/ns/a", "", "/team", "ns/a"), ("team/a", "", "/team", "")],
)  # fmt: skip
def test_the_last_parts_of_a_name_are_the_package(
    place: Place, repository: str, namespace: str, prefix: str, package: str
) -> None:
    place.registry.chart(repository, "1.0.0", chart_bytes("a", "1.0.0"))
    place.registry.chart("elsewhere/other/b", "1.0.0", chart_bytes("b", "1.0.0"))
    listing = place.look(Filter(exclude=["*/b"]), namespace=namespace, prefix=prefix)
    assert [o.package for o in listing.offers] == ([package] if package else [])
    assert [hole.what for hole in listing.holes] == ([] if package else ["team/a"])
    assert package or "namespace" in listing.holes[0].reason


def test_two_repositories_that_become_one_package_are_a_hole_if_they_differ(place: Place) -> None:
    place.registry.chart("x/ns/a", "1.0.0", chart_bytes("a", "1.0.0"))
    place.registry.chart("y/ns/a", "1.0.0", chart_bytes("a", "1.0.0", "other"))
    report = place.sync()
    assert report.exit_code == PARTIAL and "offered 2 times" in report.holes[0].reason
    rules = Rules(filter=Filter(exclude=["ns/*"]))
    assert place.sync(rules).exit_code == 0


def test_the_time_of_a_release_is_its_annotation(place: Place) -> None:
    layers = [(chart_bytes("a", "1.0.0"), oci.HELM_LAYER)]
    for tag, text in (("1.0.0", "2024-05-06T07:08:09+02:00"), ("1.1.0", "yesterday")):
        place.registry.put("ns/a", tag, layers,
                           annotations={"org.opencontainers.image.created": text})  # fmt: skip
    found = {o.release: o.created_at for o in place.look().offers}
    assert found == {"1.0.0": "2024-05-06T05:08:09", "1.1.0": ""}


# -- what belongs to it ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["list", "tag"])
def test_manifest_provenance_signatures_and_referrers_are_attached(place: Place, how: str) -> None:
    registry = place.registry
    digest = registry.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0"), PROV)
    subject = named(registry.manifests["ns/a", digest][0], oci.OCI_MANIFEST)
    sbom = registry.put("ns/a", "", [(b"sbom", "text/spdx")], config=(b"{}", oci.EMPTY_CONFIG),
                        artifactType="text/spdx", subject=subject)  # fmt: skip
    tag = f"sha256-{digest.partition(':')[2]}"
    signature = registry.put("ns/a", f"{tag}.sig", [(b"payload", "application/simple-signing")])
    if how == "tag":
        registry.referrers = False
        member = named(registry.manifests["ns/a", sbom][0], oci.OCI_MANIFEST)
        registry.index("ns/a", tag, [member])
    assert place.sync().exit_code == 0
    found = roles(place.release())
    assert [f"sha256:{a.digest}" for a in found["manifest"]] == [digest]
    assert found["manifest"][0].artifact_type == oci.HELM_CONFIG
    assert [a.media_type for a in found[""]] == [oci.HELM_PROVENANCE]
    (referrer,) = found["referrer"]
    assert f"sha256:{referrer.digest}" == sbom and referrer.artifact_type == "text/spdx"
    assert referrer.annotations[oci.SUBJECT] == digest
    (tagged,) = found["tag"]
    assert f"sha256:{tagged.digest}" == signature
    assert tagged.annotations[oci.TAG] == f"{tag}.sig"
    blobs = {f"sha256:{a.digest}" for a in found["blob"]}
    assert blobs == {digest_of(b) for b in (CONFIG, b"{}", b"sbom", b"payload")}
    assert check(place.project).findings == []
    assert registry.asked()["referrers"] == 1


def test_referrers_are_not_asked_for_if_nobody_wants_them(place: Place) -> None:
    place.registry.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0"))
    assert place.sync(referrers=False).exit_code == 0
    assert place.registry.asked() == {"_catalog": 1, "tags": 1, "manifests": 1, "blobs": 2}


def test_too_many_referrers_are_said_and_the_release_is_taken(place: Place) -> None:
    registry = place.registry
    digest = registry.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0"))
    subject = named(registry.manifests["ns/a", digest][0], oci.OCI_MANIFEST)
    for number in range(40):
        registry.put("ns/a", "", [(b"%d" % number, "text/x")], subject=subject)
    report = place.sync()
    assert report.exit_code == 0 and any("too many" in note for note in report.notes)
    found = place.release().attachments
    assert MAX_ATTACHMENTS - 3 <= len(found) <= MAX_ATTACHMENTS
    # Whatever is attached has all that it names.
    assert len(roles(place.release())["referrer"]) == (len(found) - 2) // 2


def test_an_error_of_the_referrers_is_a_hole_and_no_release_without_them(place: Place) -> None:
    digest = place.registry.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0"))
    place.registry.answers[f"/v2/ns/a/referrers/{digest}"] = 500, b"{}", {}
    assert place.sync().exit_code == PARTIAL and releases(place.project) == set()
    place.registry.answers.clear()
    assert place.sync().exit_code == 0 and len(releases(place.project)) == 1


def test_what_was_signed_later_is_seen_where_all_tags_are_asked_for(place: Place) -> None:
    registry = place.registry
    digest = registry.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0"))
    assert place.sync().exit_code == 0
    tag = f"sha256-{digest.partition(':')[2]}.sig"
    registry.put("ns/a", tag, [(b"payload", "application/simple-signing")])
    assert place.sync().exit_code == 0 and "tag" not in roles(place.release())
    assert place.sync(tags="all").exit_code == 0 and "tag" in roles(place.release())
    before = place.project.head()
    assert place.sync(tags="all").exit_code == 0 and place.project.head() == before


# -- how much is asked ----------------------------------------------------------------------------


def test_with_nothing_new_a_run_costs_a_list_of_tags_a_repository(place: Place) -> None:
    registry = place.registry
    for name in ("a", "b", "c"):
        for release in ("1.0.0", "1.1.0"):
            registry.chart(f"ns/{name}", release, chart_bytes(name, release))
        registry.put(f"ns/{name}", "2.0.0", [(b"x", "text/x")], config=(b"", oci.EMPTY_CONFIG))
    registry.page = 2
    assert place.sync().exit_code == 0
    asked = registry.asked()
    # Each chart: its manifest, and a signature by its tag.
    assert asked["manifests"] == 6 * 2 + 3 and asked["referrers"] == 6
    assert (asked["_catalog"], asked["tags"]) == (2, 6) and asked["blobs"] <= 2 * 6
    assert place.sync().exit_code == 0
    assert registry.asked() == {"_catalog": 2, "tags": 6}
    registry.chart("ns/b", "1.2.0", chart_bytes("b", "1.2.0"))
    assert place.sync().fetched == 1
    assert registry.asked()["manifests"] == 2
    assert place.sync(Rules(filter=Filter(packages=["ns/b"]))).exit_code == 0
    assert registry.asked() == {"_catalog": 2, "tags": 2}


def test_of_many_tags_only_those_are_asked_for_that_the_filter_takes(place: Place) -> None:
    for n in range(30):
        place.registry.chart("ns/a", f"1.{n}.0", chart_bytes("a", f"1.{n}.0"))
    place.registry.put("ns/a", "1.30.0", [(b"x", "text/x")], config=(b"", oci.EMPTY_CONFIG))
    assert place.sync(Rules(filter=Filter(newest=3, releases="<1.40.0"))).exit_code == 0
    assert releases(place.project) == {f"ns/a@1.{n}.0" for n in (27, 28, 29)}
    assert place.registry.asked()["manifests"] == 4 + 3
    place.registry.chart("ns/a", "1.31.0", chart_bytes("a", "1.31.0"))
    assert place.sync(Rules(filter=Filter(newest=3, releases="<1.40.0"))).exit_code == 0
    assert releases(place.project) == {f"ns/a@1.{n}.0" for n in (28, 29, 31)}
    assert place.registry.asked()["manifests"] == 2


def test_a_tag_that_moved_is_frozen_where_all_tags_are_asked_for(place: Place) -> None:
    place.registry.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0"))
    assert place.sync().exit_code == 0
    place.registry.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0", "other"))
    assert place.sync().exit_code == 0
    report = place.sync(tags="all")
    assert report.exit_code == 4 and [a.kind for a in report.actions] == ["frozen"]


def test_what_is_gone_is_asked_for_by_itself_before_it_is_dropped(place: Place) -> None:
    registry = place.registry
    for release in ("1.0.0", "1.1.0", "1.2.0", "1.3.0"):
        registry.chart("ns/a", release, chart_bytes("a", release))
    assert place.sync().exit_code == 0
    follow = Rules(deletes="follow", max_shrink=0.5)
    del registry.tags["ns/a"]["1.0.0"]
    hidden = json.dumps({"tags": ["1.2.0", "1.3.0"]}).encode()
    registry.answers["/v2/ns/a/tags/list"] = 200, hidden, {}
    assert place.sync(follow).exit_code == 0
    assert releases(place.project) == {"ns/a@1.1.0", "ns/a@1.2.0", "ns/a@1.3.0"}
    # A catalog that shows nothing any more drops nothing: each is asked for.
    registry.answers = {"/v2/_catalog": (200, b'{"repositories": null}', {})}
    assert place.sync(follow).exit_code == 0 and len(releases(place.project)) == 3
    registry.answers["/v2/ns/a/manifests/1.1.0"] = 500, b"{}", {}
    assert place.sync(follow).exit_code == PARTIAL and len(releases(place.project)) == 3


def test_a_named_repository_that_is_not_there_is_gone_and_all_of_them_an_error(
    place: Place,
) -> None:
    place.registry.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0"))
    listing = place.look(repositories=["ns/a", "ns/b"])
    assert len(listing.offers) == 1 and listing.holes == []
    assert listing.notes == ["named, and not there: ns/b"]
    with pytest.raises(IncompleteError, match="none of: ns/b"):
        place.look(repositories=["ns/b"])
    assert not any("_catalog" in path for path, _ in place.registry.seen)


# -- who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize("anonymous", [True, False])
def test_tokens_are_asked_for_once_a_scope_and_anew_when_they_are_over(
    place: Place, anonymous: bool
) -> None:
    registry = place.registry
    registry.auth, registry.anonymous = "token", anonymous
    for name in ("a", "b"):
        for release in ("1.0.0", "1.1.0"):
            registry.chart(f"ns/{name}", release, chart_bytes(name, release))
    place.headers = {} if anonymous else {"Authorization": BASIC}
    source = place.source()
    assert len(source.look(Ask()).offers) == 4
    assert registry.tokens == 3 and registry.asked()["token"] == 3
    shown = {given for path, given in registry.seen if not path.startswith("/token")}
    assert BASIC not in shown, "the password goes to the token service alone"
    registry.expire()
    listing = source.look(Ask())
    assert len(listing.offers) == 4 and registry.tokens == 6
    registry.expire()
    for offer in listing.offers:
        assert b"".join(source.open(offer)) == chart_bytes(offer.package[3:], offer.release)


def test_a_password_is_shown_when_it_is_asked_for(place: Place) -> None:
    place.registry.auth = "basic"
    place.registry.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0"))
    with pytest.raises(AccessDenied, match="give credentials"):
        place.look()
    place.headers = {"Authorization": "Basic d3Jvbmc="}
    with pytest.raises(AccessDenied, match="are refused"):
        place.look()
    place.headers = {"Authorization": BASIC}
    assert place.sync().exit_code == 0 and len(releases(place.project)) == 1


def test_a_wrong_password_is_refused_by_the_token_service(place: Place) -> None:
    place.registry.auth = "token"
    place.registry.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0"))
    place.headers = {"Authorization": "Basic d3Jvbmc="}
    with pytest.raises(AccessDenied, match="/token"):
        place.look()


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"[]", b"{}", b'{"token": 3}', b'{"token": "a\\nb"}', b"x" * 99999]
)
def test_a_token_service_that_answers_nonsense_is_an_error(place: Place, answer: bytes) -> None:
    place.registry.auth = "token"
    place.registry.answers["/token"] = 200, answer, {}
    with pytest.raises(CnrMirrorError):
        place.look()


@pytest.mark.parametrize("realm", ["", "file:///etc/passwd", "//x", "http://u:p@127.0.0.1/", "x"])
def test_a_realm_that_is_no_address_is_not_asked(place: Place, realm: str) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}
    place.registry.answers["/v2/_catalog"] = 401, b"{}", challenge
    with pytest.raises(TrustError, match="no secure address"):
        place.look()


def test_a_blob_elsewhere_and_a_tokens_host_are_asked_without_what_is_not_theirs(
    place: Place, tmp_path: Path
) -> None:
    registry, other = place.registry, Registry()
    data = chart_bytes("a", "1.0.0")
    registry.chart("ns/a", "1.0.0", data, PROV)
    with hosting(tmp_path) as stranger:
        stranger.fault = other
        registry.auth, registry.anonymous = "token", False
        registry.moved = f"{stranger.url}/storage"
        other.answers = {f"/storage/{digest}": (200, blob, {})
                         for digest, blob in registry.blobs.items()}  # fmt: skip
        place.headers = {"Authorization": BASIC}
        assert place.sync().exit_code == 0
        assert {given for _, given in other.seen} == {""} and len(other.seen) == 3
        # A token service on another host gets the password, and what it leads to does not.
        registry.realm = f"{stranger.url}/other"
        other.answers = {"/other": (302, b"", {"Location": f"{place.host.url}/token"})}
        other.seen.clear()
        registry.seen.clear()
        other.answers |= {
            path: (302, b"", {"Location": f"{place.host.url}/token"})
            for path in ("/other?service=registry&scope=registry%3Acatalog%3A%2A",)
        }
        with pytest.raises(CnrMirrorError):
            place.look()
        assert {given for _, given in other.seen} == {BASIC}
        assert BASIC not in {given for _, given in registry.seen}


@pytest.mark.parametrize("name", ["127.0.0.1", "inside.example", "[::1]"])
def test_a_public_registry_leads_to_no_token_service_of_this_network(
    place: Place, name: str
) -> None:
    net = Internet(up_example=[PUBLIC], inside_example=["10.1.2.3"])
    place.registry.auth = "token"
    place.registry.realm = place.host.url.replace(HERE, name) + "/token"
    reader = net.reader(place.host.url.replace(HERE, "up.example"))
    with pytest.raises(TrustError, match="not a public address"):
        OciSource("up", reader).look(Ask())
    reader.close()
    assert place.registry.tokens == 0 and set(net.connected) == {PUBLIC}


# -- in mirror.yaml -------------------------------------------------------------------------------


def configured(place: Place, text: str) -> None:
    yaml = f"id: {place.project.config.id}\nsources:\n  up: {{type: oci, {text}}}\n"
    (place.project.folder / "mirror.yaml").write_text(yaml)


def test_a_source_of_mirror_yaml_is_asked_with_its_password(place: Place) -> None:
    place.registry.auth, place.registry.anonymous = "token", False
    place.registry.chart("team/web/a", "1.0.0", chart_bytes("a", "1.0.0"), PROV)
    (place.project.folder / "login").write_text(f"{BASIC}\n")
    configured(place, f"url: '{place.host.url}/team', namespace: ours, repositories: [web/a], "
                      "authorization_file: login")  # fmt: skip
    code, said = ran(place.project, "sync")
    assert code == 0 and BASIC not in said, said
    assert releases(reopen(place.project.folder)) == {"ours/a@1.0.0"}
    code, said = ran(place.project, "sync")
    assert code == 0 and place.registry.asked()["blobs"] == 3


@pytest.mark.parametrize(
    ("text", "key"),
    [("url: 'oci://user:secret@h'", "url"), ("url: 'oci:x'", "url"), ("url: ftp://x", "url"),
     ("url: 'oci://h?x'", "url"), ("url: 'oci://h', repositories: [A]", "repositories"),
     ("url: 'oci://h', repositories: [a//b]", "repositories"),
     ("url: 'oci://h', tags: some", "tags"), ("url: 'oci://h', namespace: a/b", "namespace")],
)  # fmt: skip
def test_settings_that_cannot_be_are_named(place: Place, text: str, key: str) -> None:
    configured(place, text)
    with pytest.raises(InputError, match=key) as caught:
        config.load(place.project.folder / "mirror.yaml")
    assert "secret" not in caught.value.message


# -- registries that lie --------------------------------------------------------------------------


def hole_of(place: Place) -> Hole:
    (hole,) = place.look().holes
    return hole


def test_another_manifest_than_was_announced_is_a_hole(place: Place) -> None:
    place.registry.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0"))
    lie = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}
    place.registry.headers["/v2/ns/a/manifests/1.0.0"] = lie
    assert "was announced" in hole_of(place).reason
    assert place.sync().exit_code == PARTIAL


def test_another_archive_or_config_than_the_manifest_names_is_a_hole(place: Place) -> None:
    for name, liar in (("a", 0), ("b", 1)):
        data = chart_bytes(name, "1.0.0")
        place.registry.put(f"ns/{name}", "1.0.0", [(data, oci.HELM_LAYER)],
                           config=(name.encode(), oci.HELM_CONFIG))  # fmt: skip
        victim = (data, name.encode())[liar]
        place.registry.blobs[digest_of(victim)] = (chart_bytes(name, "1.0.0", "x"), b"y")[liar]
    report = place.sync()
    assert {hole.what for hole in report.holes} == {"ns/a@1.0.0", "ns/b@1.0.0"}
    assert releases(place.project) == set()


def _pages(place: Place, link: str) -> None:
    place.registry.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0"))
    place.registry.answers["/v2/_catalog"] = 200, b'{"repositories": ["ns/a"]}', {"Link": link}


@pytest.mark.parametrize(
    "link", ["</v2/_catalog?n=1000>; rel=next", "</v2/_catalog?x=1>; rel=\"next\"",
             "<http://[x>; rel=next", "<http://192.0.2.1/v2/_catalog>; rel=next",
             "<file:///x>; rel=next", "<//127.0.0.1:1/x>; rel=next"],
)  # fmt: skip
def test_pages_that_go_in_circles_or_elsewhere_are_an_error(place: Place, link: str) -> None:
    _pages(place, link)
    with pytest.raises(CnrMirrorError):
        place.look()
    assert len(place.registry.seen) <= 2


def test_pages_without_an_end_are_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ociclient, "_MAX_PAGES", 20)
    place.registry.page = 1
    for number in range(50):
        place.registry.tags[f"ns/r{number:02}"] = {}
    with pytest.raises(CnrMirrorError, match="no end"):
        place.look()
    assert len(place.registry.seen) == 20


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"{}", b"<html>", b'{"layers": []}', b'{"manifests": 3}',
     b'{"config": {"mediaType": "x", "digest": "sha512:00", "size": 1}, "layers": []}',
     b'{"mediaType": "%s", "manifests": []}' % oci.OCI_MANIFEST.encode(),
     b'{"a": 1, "a": 2}', b"[" * 9999, b" " * ((4 << 20) + 1)],
)  # fmt: skip
def test_a_manifest_that_is_none_is_a_hole_of_its_release(place: Place, body: bytes) -> None:
    place.registry.chart("ns/a", "1.0.0", chart_bytes("a", "1.0.0"))
    place.registry.chart("ns/b", "1.0.0", chart_bytes("b", "1.0.0"))
    place.registry.answers["/v2/ns/a/manifests/1.0.0"] = 200, body, {}
    listing = place.look()
    assert [h.what for h in listing.holes] == ["ns/a@1.0.0"]
    assert offered(listing) == {"ns/b@1.0.0 helm"}


def test_a_chart_with_two_archives_or_none_is_a_hole(place: Place) -> None:
    data = chart_bytes("a", "1.0.0")
    place.registry.put("ns/a", "1.0.0", [(data, oci.HELM_LAYER)] * 2)
    place.registry.put("ns/a", "1.1.0", [(PROV, oci.HELM_PROVENANCE)])
    assert {h.what for h in place.look().holes} == {"ns/a@1.0.0", "ns/a@1.1.0"}


def test_a_thousand_faults_bring_no_wrong_byte_and_drop_nothing(place: Place) -> None:
    """Any answer may go wrong in any way: what is here stays, what comes is right, errors end."""
    registry, dice = place.registry, random.Random(5)
    names = ("a", "b", "c")
    for name in names:
        registry.chart(f"ns/{name}", "1.0.0", chart_bytes(name, "1.0.0"), PROV)
    assert place.sync().exit_code == 0
    registry.chart("ns/a", "1.1.0", chart_bytes("a", "1.1.0"))
    had = releases(place.project)
    truth = registry.answer
    rules = Rules(deletes="follow", max_shrink=1)
    kinds = ("500", "403", "401", "html", "cut", "flip", "other", "redirect", "null")
    faults = 0

    def lying(address: str, given: str, base: str) -> tuple[int, bytes, dict[str, str]]:
        nonlocal faults
        status, body, headers = truth(address, given, base)
        if dice.random() > 0.3:
            return status, body, headers
        faults += 1
        fault = dice.choice(kinds)
        if fault in ("500", "403", "401"):
            return int(fault), b"{}", {}
        if fault == "redirect":
            return 302, b"", {"Location": "file:///etc/passwd"}
        if fault == "flip" and body:
            at = dice.randrange(len(body))
            return status, body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :], headers
        nonsense = {"html": b"<html>", "null": b"null", "other": b"[3]"}
        return 200, nonsense.get(fault, body[: len(body) // 2]), headers

    registry.answer = lying  # type: ignore[method-assign]
    rounds = 0
    while faults < 1000:
        rounds += 1
        which = dice.choice(("new", "all"))
        place.registry.seen.clear()
        sync(place.project, [(place.source(tags=which), rules)], NOW, dry_run=bool(rounds % 5))
        found = releases(place.project)
        assert had <= found, f"round {rounds}: {had - found}"
        had = found
    for package, release in (text.split("@") for text in had):
        blob = place.release(package, release).blob
        assert blob.digest == digest_of(chart_bytes(package[3:], release)).partition(":")[2]
    assert check(place.project).findings == []
    registry.answer = truth  # type: ignore[method-assign]
    assert place.sync(rules).exit_code == 0 and len(releases(place.project)) == 4
