"""The Helm repository view: an index a namespace, and one a package.

::

    helm/NS/index.yaml                        every chart of the namespace
    helm/NS/NAME/index.yaml                   one chart, a few kilobytes: the address for jobs
    helm/NS/b/HEX/NAME-VERSION.tgz            the archive; hosts with rules answer the blob HEX
    helm/NS/b/HEX/NAME-VERSION.tgz.prov       its provenance, if it has any
    helm/NS/artifacthub-repo.yml              of mirror.yaml: views.artifacthub

An index is JSON (which is YAML, and four times as fast), one version a line. ``generated`` is the
newest ``created``: the same catalog gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, Release, blob_path
from cnrmirror.model.flags import ROOT_FILES
from cnrmirror.model.names import is_release
from cnrmirror.model.resource import GZIP_TYPE, Resource
from cnrmirror.views.base import (
    LISTS_RANK,
    PACKAGE_RANK,
    ArtifactHub,
    ByNamespace,
    Latest,
    Package,
    Settings,
    namespaces_of,
)
from cnrmirror.views.chartfields import cleaned, refused_by_helm, typed
from cnrmirror.views.groups import Changes, Groups

TOP = "helm"
YAML_TYPE = "application/yaml"
TEXT_TYPE = "text/plain"
WARN_FROM = 20_000_000
"""Bytes of an index from which on clients need seconds and hundreds of megabytes to read it."""

UNKNOWN = "nothing is known of its Chart.yaml; 'cnrmirror build --facts' looks again"

_encode = msgspec.json.Encoder(order="sorted").encode


class HelmEntry(msgspec.Struct, frozen=True):
    """What the index of a namespace needs of a package: its lines, and the newest ``created``."""

    newest: str
    versions: list[msgspec.Raw]


class Chart(msgspec.Struct, frozen=True):
    """A release as Helm gets it: ``fields`` of its Chart.yaml, the archive and its provenance.

    ``refused`` is why Helm cannot use it; "" if it can.
    """

    release: Release
    fields: dict[str, Any]
    archive: Descriptor
    provenance: Descriptor | None
    refused: str


def charts(package: Package) -> list[Chart]:
    """The charts of a package of whose Chart.yaml anything is known, newest first."""
    return _latest(package)


def _charts(package: Package) -> Iterator[Chart]:
    name = package.document.package.partition("/")[2]
    for release in package.document.releases:
        facts = package.facts.get(release.blob.digest) if release.media_type == "helm" else None
        if facts is None or not facts.chart:
            continue
        fields, archive = typed(facts.first or facts.chart), repacked(release)
        provenance = None if archive else provenance_of(release)
        reason = refused_by_helm(fields)
        if facts.unreadable:
            reason = f"Helm cannot read {facts.unreadable} of its Chart.yaml"
        elif archive is None and ROOT_FILES in release.flags:
            reason = "its files are not in one folder, and it is too large to be repacked"
        elif _has_number(name) and len(_names(f"{name}-{release.release}")) > 1:
            reason = "where its name ends and its version begins cannot be told"
        yield Chart(release, fields, archive or release.blob, provenance, reason)


_latest = Latest(lambda package: list(_charts(package)))


def unknown_charts(package: Package) -> Iterator[Release]:
    """The charts of a package of whose Chart.yaml nothing is known."""
    known = {chart.release.key for chart in charts(package)}
    for release in package.document.releases:
        if release.media_type == "helm" and release.key not in known:
            yield release


def repacked(release: Release) -> Descriptor | None:
    """The archive that was made for Helm, where the release's own has its files at the root."""
    return next((a.blob for a in release.attachments if a.role == "repacked"), None)


def provenance_of(release: Release) -> Descriptor | None:
    """The chart's ``.prov`` file."""
    return next((a.blob for a in release.attachments if a.is_provenance), None)


def _line(name: str, chart: Chart, up: str) -> dict[str, Any]:
    release = chart.release.release
    return {
        "apiVersion": "v1",
        **cleaned(chart.fields),
        # The catalog's, not the chart's own: what people ask for, and what the file is called.
        "name": name,
        "version": release,
        "created": created(chart.release),
        "digest": chart.archive.digest,
        "urls": [f"{up}{_file(name, chart)}".replace("+", "%2B")],
    }


def created(release: Release) -> str:
    """The time of a release with its zone: without one, no Helm reads the index."""
    text = release.created_at
    return text if text.endswith("Z") or text[-6:-5] in ("+", "-") else f"{text}Z"


def _file(name: str, chart: Chart) -> str:
    return f"b/{chart.archive.digest}/{name}-{chart.release.release}.tgz"


def _has_number(name: str) -> bool:
    return any(word[:1].isdigit() for word in name.split("-")[1:])


def _names(stem: str) -> list[str]:
    """What may be the name in NAME-VERSION."""
    words = stem.split("-")
    splits = (("-".join(words[:n]), "-".join(words[n:])) for n in range(1, len(words)))
    return [name for name, version in splits if is_release(version)]


def index(versions: Mapping[str, Iterable[bytes]], newest: str) -> bytes:
    """An ``index.yaml``: for each chart its versions, which are JSON already."""
    blocks = (
        _encode(name) + b":[\n" + b",\n".join(lines) + b"\n]"
        for name, lines in sorted(versions.items())
    )
    entries = b",\n".join(blocks)
    return (
        b'{"apiVersion":"v1","entries":{\n' + entries + b'\n},"generated":' + _encode(newest)
        + b"}\n"
    )  # fmt: skip


class HelmRepository(ByNamespace):
    """Helm repositories as a view (``base.View``): one a namespace, and one a package."""

    name = "helm"
    version = 1
    tops = (TOP,)
    uses_facts = True
    row_type = HelmEntry

    def __init__(self, settings: Settings) -> None:
        self._on = settings.helm
        self._artifacthub = settings.artifacthub

    def package(self, package: Package) -> Iterator[Resource]:
        """See ``base.View``."""
        found = self._charts(package)
        if not found:
            return
        namespace, _, name = package.document.package.partition("/")
        base = f"{TOP}/{namespace}"
        for chart in found:
            path = f"{base}/{_file(name, chart)}"
            yield Resource(path, chart.archive, GZIP_TYPE, "immutable", by_rule=True)
            if chart.provenance:
                yield Resource(f"{path}.prov", chart.provenance, TEXT_TYPE)
        lines = [_encode(_line(name, chart, "../")) for chart in found]
        newest = max(created(chart.release) for chart in found)
        yield Resource(f"{base}/{name}/index.yaml", index({name: lines}, newest), YAML_TYPE)

    def _charts(self, package: Package) -> list[Chart]:
        """Those that Helm can use."""
        return [c for c in charts(package) if not c.refused] if self._on else []

    def left_out(self, package: Package) -> Iterator[str]:
        """See ``base.View``."""
        if not self._on:
            return
        reasons = [(c.release.release, c.refused) for c in charts(package) if c.refused]
        reasons += [(r.release, UNKNOWN) for r in unknown_charts(package)]
        for release, reason in reasons:
            yield f"{package.document.package}@{release}: not in Helm's index: {reason}"

    def entry(self, package: Package) -> HelmEntry | None:
        """See ``base.View``."""
        found = self._charts(package)
        if not found:
            return None
        name = package.document.package.partition("/")[2]
        lines = [msgspec.Raw(_encode(_line(name, chart, ""))) for chart in found]
        return HelmEntry(max(created(chart.release) for chart in found), lines)

    def lists(
        self, groups: Groups, changes: Changes | None, root: CatalogRoot
    ) -> Iterator[Resource]:
        """See ``base.View``."""
        for namespace in sorted(namespaces_of(groups, changes)):
            if found := groups.group(namespace):
                yield from self._of_namespace(namespace, found)

    def _of_namespace(self, namespace: str, found: Mapping[str, HelmEntry]) -> Iterator[Resource]:
        newest = max(entry.newest for entry in found.values())
        versions = {
            package.partition("/")[2]: map(bytes, entry.versions)
            for package, entry in found.items()
        }
        base = f"{TOP}/{namespace}"
        yield Resource(f"{base}/index.yaml", index(versions, newest), YAML_TYPE)
        if self._artifacthub != ArtifactHub():
            text = _encode(self._artifacthub) + b"\n"
            yield Resource(f"{base}/artifacthub-repo.yml", text, YAML_TYPE)

    def fixed(self) -> Iterator[Resource]:
        """See ``base.View``: every file follows from packages."""
        yield from ()

    def rank(self, path: str) -> int:
        """See ``base.View``."""
        parts = path.split("/")
        if parts[2:3] == ["b"] and len(parts) == 5:
            return 0
        return PACKAGE_RANK if len(parts) == 4 else LISTS_RANK

    def package_in(self, path: str) -> str | None:
        """See ``base.View``."""
        parts = path.split("/")
        if len(parts) == 4:
            return f"{parts[1]}/{parts[2]}"
        if parts[2:3] != ["b"] or len(parts) != 5:
            return None
        names = _names(parts[4].removesuffix(".prov").removesuffix(".tgz"))
        return f"{parts[1]}/{names[0]}" if names else None

    def address(self, path: str) -> str | None:
        """See ``base.View``."""
        return path

    def files_of(self, address: str) -> list[str]:
        """See ``base.View``."""
        parts = address.split("/")
        blob = parts[3] if parts[2:3] == ["b"] and len(parts) == 5 else ""
        return [address, *([blob_path(blob)] if parts[-1].endswith(".tgz") and blob else [])]
