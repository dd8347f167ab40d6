"""The OCI distribution view: what an OCI registry answers to whoever pulls.

``NS/NAME`` holds the charts, and nothing that Helm might take for one; every other format has a
repository of its own, ``NS/NAME/TYPE``. A release of several formats is also an index of all of
them, ``NS/NAME/formats:R``, by whose ``artifactType`` a client chooses. Layers, and whatever else
is a blob of the catalog, need no file where a host has rules. See ``oci_paths`` for the files.

Sources: distribution-spec 1.1, image-spec 1.1; cosign's tags.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Attachment, CatalogRoot, PackageDocument, Release
from cnrmirror.model.oci import (
    HELM_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    SUBJECT,
    TAG,
)
from cnrmirror.model.resource import JSON_TYPE, Alias, Resource
from cnrmirror.views import oci_paths
from cnrmirror.views.base import ByNamespace, Latest, Package, Settings
from cnrmirror.views.cnr_v1 import NOT_FOUND
from cnrmirror.views.groups import Changes, Groups, Rows, in_order
from cnrmirror.views.helm import UNKNOWN, Chart, charts, unknown_charts
from cnrmirror.views.oci_paths import FOLDERS, FORMATS, TOP, refused_name, tag_of
from cnrmirror.views.ocimanifest import (
    EMPTY,
    attachment_manifest,
    chart_manifest,
    described,
    encode,
    error,
    index_of,
    other_manifest,
)

OCTETS = "application/octet-stream"
Described = dict[str, Any]


class Repository:
    """The files of one repository, in the order in which they may be written.

    ``tags`` are those of its list: signatures and fallbacks have tags, too, which no client lists.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.tags: list[str] = []
        self._files: dict[str, Resource] = {}
        self._referrers: dict[str, list[Described]] = {}

    def blob(self, body: bytes | Descriptor) -> None:
        """What a manifest names."""
        digest = (Descriptor.of(body) if isinstance(body, bytes) else body).digest
        by_rule = not isinstance(body, bytes)
        self._add(Resource(f"{TOP}/{self.name}/blobs/sha256/{digest}", body, OCTETS, "immutable",
                           by_rule=by_rule))  # fmt: skip

    def manifest(self, media_type: str, body: bytes | Descriptor, **more: Any) -> Described:
        """A manifest by its digest; how others name it."""
        found = described(media_type, body, **more)
        path = f"{self._folder(media_type)}/{found['digest'].replace(':', '/')}"
        self._add(Resource(path, body, media_type, "immutable"))
        return found

    def tag(self, tag: str, manifest: Described, listed: bool = True) -> None:
        """A name for a manifest that is here."""
        target = Alias(manifest["digest"].replace(":", "/"), single=True)
        self._add(Resource(f"{self._folder(manifest['mediaType'])}/{tag}", target,
                           manifest["mediaType"]))  # fmt: skip
        if listed:
            self.tags.append(tag)

    def refers(self, subject: str, manifest: Described) -> None:
        """A manifest that is here refers to the one with a digest."""
        self._referrers.setdefault(subject, []).append(manifest)

    def _folder(self, media_type: str) -> str:
        return f"{TOP}/{self.name}/{FOLDERS[media_type]}"

    def _add(self, resource: Resource) -> None:
        self._files.setdefault(resource.path, resource)

    def files(self) -> Iterator[Resource]:
        """All of them; none if nothing has a tag."""
        if not self.tags:
            return
        for subject, manifests in sorted(self._referrers.items()):
            body = index_of(sorted(manifests, key=lambda m: str(m["digest"])))
            self._add(Resource(f"{TOP}/{self.name}/referrers/{subject.replace(':', '/')}", body,
                               OCI_INDEX))  # fmt: skip
            # For clients of registries that have no such call: the same under a tag.
            self.tag(subject.replace(":", "-"), self.manifest(OCI_INDEX, body), listed=False)
        yield from sorted(self._files.values(), key=lambda r: oci_paths.rank(r.path))
        tags = encode({"name": self.name, "tags": sorted(self.tags)})
        yield Resource(f"{TOP}/{self.name}/tags/list", tags)


def repositories(package: Package) -> list[Repository]:
    """Those of one package that have anything."""
    return _latest(package)


def _repositories(package: Package) -> list[Repository]:
    document = package.document
    formats = Repository(f"{document.package}/{FORMATS}")
    found = {"helm": Repository(document.package)}
    known = {c.release.key: c for c in charts(package)}
    for release in document.versions():
        tag = tag_of(release)
        if tag is None:
            continue
        members = []
        for item in document.of_release(release):
            if _reason(document, item) or (item.media_type == "helm" and item.key not in known):
                continue
            name = f"{document.package}/{item.media_type}"
            repository = found.setdefault(item.media_type, Repository(name))
            manifest = _one(repository, document.package, item, known.get(item.key))
            repository.tag(tag, manifest)
            members.append((item, manifest))
        if len(members) > 1:
            _several(formats, tag, document.package, members, known)
    return [each for each in (*found.values(), formats) if each.tags]


_latest = Latest(_repositories)


def _several(
    formats: Repository, tag: str, package: str, members: list[tuple[Release, Described]],
    known: dict[tuple[str, str], Chart],
) -> None:  # fmt: skip
    """A release of several formats: each once more, below an index of all."""
    for item, _ in members:
        _one(formats, package, item, known.get(item.key), alone=False)
    kinds = [HELM_CONFIG if i.media_type == "helm" else i.manifest_type for i, _ in members]
    of_all = [{**m, "artifactType": kind} for (_, m), kind in zip(members, kinds, strict=True)]
    formats.tag(tag, formats.manifest(OCI_INDEX, index_of(of_all)))


def _one(
    repository: Repository, package: str, item: Release, chart: Chart | None, alone: bool = True
) -> Described:
    """The files of a release in one format; its manifest. ``alone``: with what refers to it."""
    own = next((a for a in item.attachments if a.role == "manifest"), None)
    if own is not None and own.media_type in FOLDERS:
        manifest = repository.manifest(own.media_type, own.blob)
        repository.blob(item.blob)
        for attachment in item.attachments:
            if attachment.role == "blob" or attachment.is_provenance:
                repository.blob(attachment.blob)
    elif chart is not None:
        manifest = _chart(repository, chart)
    else:
        repository.blob(EMPTY)
        repository.blob(item.blob)
        manifest = repository.manifest(OCI_MANIFEST, other_manifest(package, item))
    if alone:
        for attachment in item.attachments:
            _attached(repository, attachment, manifest)
    return manifest


def _chart(repository: Repository, chart: Chart) -> Described:
    """A chart's manifest. What was pinned before it had a provenance file is still there."""
    manifest: Described = {}
    for provenance in dict.fromkeys((None, chart.provenance)):
        body, config = chart_manifest(chart.fields, chart.archive, provenance)
        repository.blob(config)
        manifest = repository.manifest(OCI_MANIFEST, body)
    repository.blob(chart.archive)
    if chart.provenance:
        repository.blob(chart.provenance)
    return manifest


def _attached(repository: Repository, attachment: Attachment, manifest: Described) -> None:
    """What belongs to a release, where clients look for it."""
    kind = {"artifactType": attachment.artifact_type} if attachment.artifact_type else {}
    if attachment.role == "referrer" and attachment.media_type in FOLDERS:
        there = repository.manifest(attachment.media_type, attachment.blob, **kind)
        repository.refers(attachment.annotations.get(SUBJECT) or str(manifest["digest"]), there)
    elif attachment.role == "tag" and attachment.media_type in FOLDERS:
        tag = attachment.annotations.get(TAG, "")
        if tag and tag_of(tag):
            repository.tag(tag, repository.manifest(attachment.media_type, attachment.blob), False)
    elif not attachment.role and not attachment.is_provenance:
        repository.blob(EMPTY)
        repository.blob(attachment.blob)
        body = attachment_manifest(attachment, manifest)
        kind = {"artifactType": attachment.artifact_type or attachment.media_type}
        repository.refers(manifest["digest"], repository.manifest(OCI_MANIFEST, body, **kind))


def _reason(document: PackageDocument, item: Release) -> str:
    """Why a format of a package has no repository; "" if it has one."""
    parts = document.package.split("/")
    if item.media_type == "helm":
        return refused_name(*parts)
    if item.media_type == FORMATS:
        return f"{FORMATS!r} is where the OCI view has releases of several formats"
    return refused_name(*parts, item.media_type)


class OciRegistry(ByNamespace):
    """An OCI registry, for reading, as a view (``base.View``)."""

    name = "oci"
    version = 1
    tops = (TOP,)
    uses_facts = True
    row_type = summary_type = list[str]

    def __init__(self, settings: Settings) -> None:
        self._on = settings.oci

    def package(self, package: Package) -> Iterator[Resource]:
        """See ``base.View``."""
        for repository in repositories(package) if self._on else ():
            yield from repository.files()

    def left_out(self, package: Package) -> Iterator[str]:
        """See ``base.View``; charts that Helm cannot use are here for other clients."""
        document = package.document
        unknown = {release.key for release in unknown_charts(package)}
        for item in document.releases if self._on else ():
            reason = _reason(document, item)
            if not reason and tag_of(item.release) is None:
                reason = "no tag can be so long"
            if not reason and item.key in unknown:
                reason = UNKNOWN
            if reason:
                what = f"{document.package}@{item.release} ({item.media_type})"
                yield f"{what}: not in the OCI registry: {reason}"

    def entry(self, package: Package) -> list[str] | None:
        """See ``base.View``; also where the view is off: it may be on where this is published."""
        return [each.name for each in repositories(package)] or None

    def summary(self, name: str, rows: Rows) -> list[str]:
        """See ``base.View``."""
        return sorted(repository for each in rows.values() for repository in each)

    def lists(
        self, groups: Groups, changes: Changes | None, root: CatalogRoot
    ) -> Iterator[Resource]:
        """See ``base.View``."""
        if self._on:
            found = groups.summaries()
            names = [name for namespace in in_order(found) for name in found[namespace]]
            yield Resource(f"{TOP}/_catalog", encode({"repositories": names}))

    def fixed(self) -> Iterator[Resource]:
        """See ``base.View``."""
        if self._on:
            # Clients look at its status alone; and a key with a slash at its end is a folder in
            # some buckets (SeaweedFS), which lose what is written there.
            yield Resource(f"{TOP}/index.json", b"", JSON_TYPE, form="slash")
            yield Resource(f"{TOP}/404.json", error("MANIFEST_UNKNOWN", NOT_FOUND))

    def rank(self, path: str) -> int:
        """See ``base.View``."""
        return oci_paths.rank(path)

    def package_in(self, path: str) -> str | None:
        """See ``base.View``."""
        return oci_paths.package_in(path)

    def address(self, path: str) -> str | None:
        """See ``base.View``."""
        return oci_paths.url_of(path)

    def files_of(self, address: str) -> list[str]:
        """See ``base.View``."""
        return oci_paths.files_of(address)
