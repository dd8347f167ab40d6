"""What the page of a package shows, as plain values for its template (docs/pages.md)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import yaml
from markupsafe import Markup

from cnrmirror.archive.readme import readme_in
from cnrmirror.model.documents import ArchiveFacts, PackageDocument, Release, blob_path
from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.model.flags import meaning_of
from cnrmirror.views.base import Package, Settings
from cnrmirror.views.chartfields import cleaned, typed
from cnrmirror.views.cnr_paths import PACKAGES
from cnrmirror.views.pageicon import icon
from cnrmirror.views.pagetext import readme, safe_link, text, texts

MOST_RELEASES = 300
"""Rows of a page; the script shows the others out of the package's document."""
_UP = "../../../"
_MOST_TOMBSTONES = 100
_MOST_IMAGES = 100
_MOST_CHANGES = 50
_CHANGES = "artifacthub.io/changes"
_LICENSE = "artifacthub.io/license"

Values = dict[str, Any]


class ReleaseRow(msgspec.Struct, frozen=True):
    """A release in the table of a page; ``href`` is seen from the page."""

    release: str
    media_type: str
    created: str
    size: int
    digest: str
    blob: str
    href: str
    file: str
    app_version: str
    origin: str
    signatures: list[str]
    flags: list[str]


def moment(written: str) -> str:
    """A time as it stands in a document, in UTC: ``2026-01-02T03:04:05Z``; "" if it is none.

    Example:
        >>> moment("2026-01-02T05:04:05.123+02:00")
        '2026-01-02T03:04:05Z'
    """
    try:
        found = datetime.fromisoformat(written)
        found = found.astimezone(UTC) if found.tzinfo else found
    except (ValueError, OverflowError):
        return ""
    return found.replace(tzinfo=None, microsecond=0).isoformat() + "Z"


def newest(document: PackageDocument) -> Release | None:
    """The release that a page speaks of: the highest that is no prerelease, the chart of it.

    Of prereleases alone, the highest.
    """
    versions = document.versions()
    stable = (text for text in versions if "-" not in text.partition("+")[0])
    version = next(stable, versions[0] if versions else None)
    found = document.of_release(version) if version else []
    return min(found, key=lambda r: (r.media_type != "helm", r.media_type), default=None)


def chart_of(package: Package, release: Release | None) -> dict[str, Any]:
    """The known fields of a release's Chart.yaml, cleaned; {} if it has none."""
    facts = package.facts.get(release.blob.digest) if release else None
    return cleaned(typed(facts.chart)) if facts else {}


def description_of(chart: Mapping[str, Any]) -> str:
    """One line about a package."""
    return text(chart.get("description", ""))


def package_values(package: Package, settings: Settings) -> Values:
    """The values of a package's page, but for those that all pages have."""
    document = package.document
    release = newest(document)
    shown = document.releases[:MOST_RELEASES]
    short = document.package.partition("/")[2]
    name, source = _readme(package, release)
    return {
        "package": _package(package, release),
        "releases": [_row(package, each, short) for each in shown],
        "more_releases": len(document.releases) - len(shown),
        "tombstones": [
            msgspec.to_builtins(stone) | {"reason": text(stone.reason)}
            for stone in sorted(document.tombstones, key=lambda t: t.removed_at, reverse=True)[
                :_MOST_TOMBSTONES
            ]
        ],
        "commands": list(_commands(document, release, settings)),
        "readme": Markup(source),
        "readme_name": name,
        "data_href": f"{_UP}{PACKAGES}/{document.package}",
    }


def _package(package: Package, release: Release | None) -> Values:
    document = package.document
    chart = chart_of(package, release)
    facts = package.facts.get(release.blob.digest) if release else None
    namespace, _, short = document.package.partition("/")
    annotations = chart.get("annotations", {})
    times = sorted(filter(None, (moment(r.created_at) for r in document.releases)))
    return {
        "name": document.package, "namespace": namespace, "short": short,
        "description": description_of(chart),
        "deprecated": chart.get("deprecated") is True,
        "latest": release.release if release else "",
        "media_types": sorted({r.media_type for r in document.releases}),
        "icon": icon(document.package),
        "home": safe_link(chart.get("home", "")),
        "sources": texts(chart.get("sources", [])),
        "maintainers": _some(chart, "maintainers", ("name", "email", "url")),
        "keywords": texts(chart.get("keywords", [])),
        "license": text(annotations.get(_LICENSE, "")),
        "app_version": text(chart.get("appVersion", "")),
        "kube_version": text(chart.get("kubeVersion", "")),
        "dependencies": _some(
            chart, "dependencies", ("name", "version", "repository", "condition")
        ),
        "images": _images(facts),
        "changes": _changes(annotations.get(_CHANGES, "")),
        "channels": [
            {"name": c.name, "current": c.current, "releases": len(c.releases)}
            for c in document.channels
        ],
        "origins": sorted({text(r.origin) for r in document.releases}),
        "first_seen": times[0] if times else "",
    }  # fmt: skip


def _some(chart: Mapping[str, Any], key: str, fields: tuple[str, ...]) -> list[dict[str, str]]:
    """The entries of a list in Chart.yaml; a ``url`` only if it is one."""
    found = []
    for entry in chart.get(key, [])[:50]:
        values = {field: text(entry.get(field, "")) for field in fields}
        if "url" in values:
            values["url"] = safe_link(values["url"])
        found.append(values)
    return found


def _images(facts: ArchiveFacts | None) -> list[Values]:
    images = facts.images[:_MOST_IMAGES] if facts else []
    return [{"ref": i.ref, "why": text(i.why), "sure": i.sure, "digest": i.digest} for i in images]


def _changes(annotation: str) -> list[dict[str, str]]:
    """What ``artifacthub.io/changes`` says: texts, or mappings with a kind and a description."""
    try:
        found: Any = yaml.load(annotation, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return []
    changes = []
    for entry in found[:_MOST_CHANGES] if isinstance(found, list) else ():
        if isinstance(entry, dict):
            kind, words = entry.get("kind", ""), entry.get("description", "")
            changes.append({"kind": text(kind, 20), "text": text(words)})
        elif isinstance(entry, str):
            changes.append({"kind": "", "text": text(entry)})
    return [change for change in changes if change["text"]]


class _Loader(yaml.BaseLoader):
    """Makes texts, lists and mappings of texts; refuses aliases, which can be bombs."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


def _row(package: Package, release: Release, short: str) -> ReleaseRow:
    facts = package.facts.get(release.blob.digest)
    blob = release.blob
    return ReleaseRow(
        release.release, release.media_type, moment(release.created_at), blob.size,
        release.content.digest, blob.digest, f"{_UP}{blob_path(blob.digest)}",
        f"{short}-{release.release}.tgz",
        text(facts.chart.get("appVersion", "")) if facts else "",
        _origin(release.origin), release.signatures,
        [text(meaning_of(flag)) for flag in release.flags],
    )  # fmt: skip


# Most releases came from one place.
_origin = functools.lru_cache(maxsize=256)(text)


def _readme(package: Package, release: Release | None) -> tuple[str, str]:
    """The name of the newest release's readme, and what it says as clean HTML."""
    if release is None or package.archives is None:
        return "", ""
    try:
        with package.archives.open_blob(release.blob) as stream:
            found = readme_in(stream)
    except CnrMirrorError:  # whoever checks blobs says so
        return "", ""
    return (text(found.name), readme(found.data, found.is_markdown)) if found else ("", "")


# -- the commands that fetch it --

_Commands = Iterator[tuple[str, str, str]]


def _commands(
    document: PackageDocument, release: Release | None, settings: Settings
) -> Iterator[dict[str, str]]:
    if release is None:
        return
    url = settings.url or "URL"
    kinds: list[Callable[[str, PackageDocument, Release, str], _Commands]] = []
    if release.media_type == "helm" and settings.helm:
        kinds.append(_helm)
    if settings.oci and settings.url:
        kinds.append(_oci)
    for kind in (*kinds, _own, _appr, _curl):
        for tool, label, line in kind(url, document, release, release.release):
            yield {"tool": tool, "label": label, "text": line}


def _helm(url: str, document: PackageDocument, release: Release, version: str) -> _Commands:
    namespace, _, short = document.package.partition("/")
    add = f"helm repo add {namespace} {url}/helm/{namespace}"
    yield "helm", "Helm", f"{add}\nhelm install {short} {namespace}/{short} --version {version}"


def _oci(url: str, document: PackageDocument, release: Release, version: str) -> _Commands:
    host = url.partition("://")[2]
    if "/" in host or document.package != document.package.lower():
        return  # such clients want the registry at the root of a host, and small letters
    if release.media_type == "helm":
        pull = f"helm pull oci://{host}/{document.package} --version {version}"
        yield "oci", "Helm, from the OCI registry", pull
    else:
        tag = version.replace("+", "_")
        yield "oci", "oras", f"oras pull {host}/{document.package}/{release.media_type}:{tag}"


def _own(url: str, document: PackageDocument, release: Release, version: str) -> _Commands:
    which = f"{document.package}@{version} -t {release.media_type}"
    yield (
        "cnrmirror",
        "cnrmirror, verified",
        f"cnrmirror pull {which} --from {url} --root root.json",
    )


def _appr(url: str, document: PackageDocument, release: Release, version: str) -> _Commands:
    host = url.partition("://")[2] or url
    line = f"appr pull {host}/{document.package}@{version} -t {release.media_type}"
    yield "appr", "appr", line


def _curl(url: str, document: PackageDocument, release: Release, version: str) -> _Commands:
    short = document.package.partition("/")[2]
    address = f"{url}/{PACKAGES}/{document.package}/{version}/{release.media_type}/pull"
    yield "curl", "curl", f"curl -fsS {address} -o {short}-{version}.tgz"
