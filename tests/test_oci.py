"""views/oci.py: what an OCI registry answers, and digests that never change."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnrmirror.model.documents import ArchiveFacts
from cnrmirror.model.oci import (
    DOCKER_MANIFEST,
    HELM_CONFIG,
    HELM_PROVENANCE,
    OCI_INDEX,
    OCI_MANIFEST,
)
from cnrmirror.model.resource import Alias, Resource
from cnrmirror.views import oci_paths
from cnrmirror.views.base import Package, Settings
from cnrmirror.views.groups import Grouped
from cnrmirror.views.oci import OciRegistry
from tests.charts import attached, blob_of, package, release
from tests.conftest import NO_ROOT

VIEW = OciRegistry(Settings())
CHART = {
    "description": "A web server", "home": "https://example.com", "sources": ["https://a.example"],
    "maintainers": [{"name": "A", "email": "a@example.com"}, {"name": "B"}], "appVersion": "1.10",
    "dependencies": [{"name": "lib", "version": "1.x"}], "deprecated": True,
}  # fmt: skip


class Registry:
    """The files of the view, asked by address as clients ask."""

    def __init__(self, *packages: Package) -> None:
        self.files: dict[str, Resource] = {}
        entries = {p.document.package: e for p in packages if (e := VIEW.entry(p)) is not None}
        found = [r for p in packages for r in VIEW.package(p)]
        for resource in (*found, *VIEW.lists(Grouped(VIEW, entries), {}, NO_ROOT), *VIEW.fixed()):
            assert resource.path not in self.files
            self.files[resource.path] = resource

    def ask(self, address: str) -> Resource | None:
        for path in VIEW.files_of(f"v2/{address}"):
            found = self.files.get(path)
            if found is not None and isinstance(found.body, Alias):
                found = self.files[found.body.seen_from(path)]
            if found is not None:
                return found
        return None

    def json(self, address: str) -> Any:
        found = self.ask(address)
        assert found is not None and isinstance(found.body, bytes)
        return json.loads(found.body)

    def walk(self) -> int:
        """Everything that can be reached from the list of repositories is there, and is right."""
        seen = 0
        for repository in self.json("_catalog")["repositories"]:
            for tag in self.json(f"{repository}/tags/list")["tags"]:
                seen += self._manifest(repository, tag)
        return seen

    def _manifest(self, repository: str, reference: str) -> int:
        found = self.ask(f"{repository}/manifests/{reference}")
        assert found is not None and isinstance(found.body, bytes), reference
        if reference.startswith("sha256:"):
            assert reference[7:] == hashlib.sha256(found.body).hexdigest()
        document = json.loads(found.body)
        assert document["mediaType"] == found.media_type
        for inner in document.get("manifests", []):
            assert self._manifest(repository, inner["digest"]) > 0
        for blob in [document["config"], *document["layers"]] if "config" in document else []:
            there = self.ask(f"{repository}/blobs/{blob['digest']}")
            assert there is not None
            size = len(there.body) if isinstance(there.body, bytes) else there.body.size  # type: ignore[union-attr]
            assert size == blob["size"]
        return 1


def test_a_manifest_has_the_digest_that_it_has_always_had() -> None:
    """Whoever changes one of these breaks what people pinned and signed: make a second function."""
    given_package = package("ns/chat", release("1.0.0"), release("1.0.0", "kpm"), chart=CHART)
    registry = Registry(given_package)
    found = {
        name: registry.files[registry.files[path].body.seen_from(path)].path[-64:]  # type: ignore[union-attr]
        for name, path in (("helm", "v2/ns/chat/manifests/1.0.0"),
                           ("kpm", "v2/ns/chat/kpm/manifests/1.0.0"))
    }  # fmt: skip
    assert found == {
        "helm": "d5587e237e8a3b933a5a3bcec5a2624ccae533a8eb792424e950839952a94baf",
        "kpm": "1505ce4a086ef0dcc8347a7fc2e2ae5ad851f2f6167804b19af531feca6844e5",
    }


def test_a_chart_is_as_helm_pushes_it() -> None:
    registry = Registry(package("ns/chat", release("1.0.0"), chart=CHART))
    manifest = registry.json("ns/chat/manifests/1.0.0")
    assert manifest["config"]["mediaType"] == HELM_CONFIG
    (layer,) = manifest["layers"]
    assert layer["digest"] == f"sha256:{blob_of('archive 1.0.0 helm').digest}"
    assert manifest["annotations"] == {
        "org.opencontainers.image.authors": "A (a@example.com), B",
        "org.opencontainers.image.description": "A web server",
        "org.opencontainers.image.source": "https://a.example",
        "org.opencontainers.image.title": "chat",
        "org.opencontainers.image.url": "https://example.com",
        "org.opencontainers.image.version": "1.0.0",
    }
    config = registry.json(f"ns/chat/blobs/{manifest['config']['digest']}")
    assert config["appVersion"] == "1.10" and config["deprecated"] is True
    assert registry.ask("") is not None and registry.walk() == 1


def test_a_repository_of_charts_has_nothing_that_helm_might_take_for_one() -> None:
    mixed = package("ns/chat", release("1.0.0"), release("2.0.0", "kpm"), release("1.0.0", "kpm"))
    registry = Registry(mixed)
    assert registry.json("ns/chat/tags/list") == {"name": "ns/chat", "tags": ["1.0.0"]}
    assert registry.json("ns/chat/kpm/tags/list")["tags"] == ["1.0.0", "2.0.0"]
    assert registry.json("ns/chat/formats/tags/list")["tags"] == ["1.0.0"]
    index = registry.json("ns/chat/formats/manifests/1.0.0")
    assert index["mediaType"] == OCI_INDEX
    kinds = [each["artifactType"] for each in index["manifests"]]
    assert kinds == [HELM_CONFIG, "manifest/kpm"]
    assert registry.json("_catalog") == {
        "repositories": ["ns/chat", "ns/chat/formats", "ns/chat/kpm"]
    }
    assert registry.walk() == 4


def test_a_plus_is_an_underscore_in_a_tag() -> None:
    registry = Registry(package("ns/chat", release("1.0.0+build.5")))
    assert registry.json("ns/chat/tags/list")["tags"] == ["1.0.0_build.5"]
    assert registry.ask("ns/chat/manifests/1.0.0_build.5") is not None


def test_what_was_pinned_stays_when_a_provenance_file_comes() -> None:
    before = Registry(package("ns/chat", release("1.0.0")))
    signed = release("1.0.0", "helm", attached("prov", HELM_PROVENANCE))
    after = Registry(package("ns/chat", signed))
    (old,) = [path for path in before.files if "/manifests/sha256/" in path]
    assert before.files[old] == after.files[old]
    manifest = after.json("ns/chat/manifests/1.0.0")
    assert [layer["mediaType"] for layer in manifest["layers"]][1:] == [HELM_PROVENANCE]
    assert after.walk() == 1


def test_a_later_look_at_the_chart_changes_no_manifest() -> None:
    before = package("ns/chat", release("1.0.0"), chart={"description": "x"})
    (digest,) = before.facts
    first = before.facts[digest].chart
    facts = ArchiveFacts(9, {**first, "description": "seen otherwise"}, first=first)
    after = msgspec.structs.replace(before, facts={digest: facts})
    assert Registry(before).files.keys() == Registry(after).files.keys()


def test_an_upstreams_manifest_is_served_as_it_is() -> None:
    for media_type, folder in ((OCI_MANIFEST, "manifests"), (DOCKER_MANIFEST, "docker")):
        own = attached("theirs", media_type, role="manifest")
        config = attached("config", "application/x", role="blob")
        registry = Registry(package("ns/chat", release("1.0.0", "helm", own, config)))
        found = registry.ask("ns/chat/manifests/1.0.0")
        assert found is not None and found.body == own.blob and found.media_type == media_type
        assert found.path == f"v2/ns/chat/{folder}/sha256/{own.digest}"
        assert registry.ask(f"ns/chat/blobs/sha256:{config.digest}") is not None


def test_what_refers_to_a_manifest_is_found_both_ways() -> None:
    sbom = attached("sbom", "application/spdx+json")
    registry = Registry(package("ns/chat", release("1.0.0", "helm", sbom)))
    (pinned,) = [p[-64:] for p in registry.files if p.endswith("ns/chat/manifests/1.0.0")] or [""]
    alias = registry.files["v2/ns/chat/manifests/1.0.0"].body
    assert isinstance(alias, Alias) and pinned
    digest = alias.target.removeprefix("sha256/")
    index = registry.json(f"ns/chat/referrers/sha256:{digest}")
    (found,) = index["manifests"]
    assert found["artifactType"] == "application/spdx+json"
    manifest = registry.json(f"ns/chat/manifests/{found['digest']}")
    assert manifest["subject"]["digest"] == f"sha256:{digest}"
    assert manifest["layers"][0]["digest"] == f"sha256:{sbom.digest}"
    assert registry.json(f"ns/chat/manifests/sha256-{digest}") == index
    assert registry.json("ns/chat/tags/list")["tags"] == ["1.0.0"]


def test_signatures_of_an_upstream_have_their_tags_and_are_not_listed() -> None:
    own = attached("theirs", OCI_MANIFEST, role="manifest")
    tag = f"sha256-{own.digest}.sig"
    signature = attached("sig", OCI_MANIFEST, role="tag", tag=tag)
    referrer = attached("ref", OCI_MANIFEST, "application/sig", role="referrer",
                        subject=f"sha256:{own.digest}")  # fmt: skip
    signed = release("1.0.0", "helm", own, signature, referrer)
    assert signed.signatures == ["cosign"] and release("1.0.0", "helm", own).signatures == []
    registry = Registry(package("ns/chat", signed))
    found = registry.ask(f"ns/chat/manifests/{tag}")
    assert found is not None and found.body == signature.blob
    (listed,) = registry.json(f"ns/chat/referrers/sha256:{own.digest}")["manifests"]
    assert listed["digest"] == f"sha256:{referrer.digest}"
    assert registry.json("ns/chat/tags/list")["tags"] == ["1.0.0"]


@pytest.mark.parametrize(("name", "media_type", "reason"), [
    ("ns/Chat", "helm", "no OCI repository can be called 'ns/Chat'"),
    ("ns/a--.b", "helm", "no OCI repository"),
    ("ns/tags", "helm", "'tags' has a meaning"),
    ("docker.io/chat", "helm", "'docker.io' looks like the host of a registry"),
    ("localhost/chat", "helm", "looks like the host"),
    ("ns/chat", "formats", "releases of several formats"),
    ("ns/chat", "manifests", "'manifests' has a meaning"),
])  # fmt: skip
def test_names_that_no_repository_can_have_are_left_out_and_said(
    name: str, media_type: str, reason: str
) -> None:
    given_package = package(name, release("1.0.0", media_type))
    assert VIEW.entry(given_package) is None and list(VIEW.package(given_package)) == []
    (said,) = VIEW.left_out(given_package)
    assert said.startswith(f"{name}@1.0.0 ({media_type}): not in the OCI registry: ")
    assert reason in said


def test_a_tag_that_is_too_long_is_left_out_and_said() -> None:
    long = package("ns/chat", release(f"1.0.0-{'a' * 130}"))
    assert VIEW.entry(long) is None
    assert [said.endswith("no tag can be so long") for said in VIEW.left_out(long)] == [True]


NAMES = st.from_regex(r"[a-z0-9]{1,6}([._-][a-z0-9]{1,4})?/[a-z0-9]{1,6}([._-][a-z0-9]{1,4})?",
                      fullmatch=True)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    names=st.sets(NAMES, min_size=1, max_size=3),
    versions=st.sets(st.sampled_from(["1.0.0", "1.1.0+x", "2.0.0-rc.1"]), min_size=1),
    kinds=st.sets(st.sampled_from(["helm", "kpm", "dab"]), min_size=1),
    extra=st.booleans(),
)
def test_whoever_walks_the_registry_finds_everything(
    names: set[str], versions: set[str], kinds: set[str], extra: bool
) -> None:
    more = (attached("sbom", "application/spdx+json"), attached("p", HELM_PROVENANCE))
    releases = [release(v, k, *(more if extra else ())) for v in versions for k in kinds]
    registry = Registry(*(package(name, *releases) for name in sorted(names)))
    offered = sum("." not in name.partition("/")[0] for name in names)
    one = len(versions) * (len(kinds) + (len(kinds) > 1))
    assert registry.walk() == offered * one


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(names=st.sets(NAMES, min_size=1, max_size=2), extra=st.booleans())
def test_addresses_ranks_and_files_agree(names: set[str], extra: bool) -> None:
    more = (attached("sbom", "application/spdx+json"),) if extra else ()
    packages = [package(n, release("1.0.0", "helm", *more), release("1.0.0", "kpm")) for n in names]
    for path in Registry(*packages).files:
        address = VIEW.address(path)
        assert address is not None and path in VIEW.files_of(address)
        assert oci_paths.rank(path) == oci_paths.rank(address)
    for each in packages:
        ranks = [oci_paths.rank(r.path) for r in VIEW.package(each)]
        assert all(VIEW.package_in(r.path) == each.document.package for r in VIEW.package(each))
        assert 8 not in ranks
