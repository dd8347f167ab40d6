"""The images that releases name, as they are listed: with what mirror.yaml adds and leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from cnrmirror.archive import imagename
from cnrmirror.archive.facts import EXTRACTOR
from cnrmirror.client.choose import absent, meant
from cnrmirror.mirror.settings import Images, filled
from cnrmirror.model.documents import ArchiveFacts, PackageDocument, Release
from cnrmirror.model.names import Reference
from cnrmirror.sources.filters import glob_matches

ADDED = "mirror.yaml: images.add_for"
CHART = "helm"


class Row(msgspec.Struct, frozen=True, order=True):
    """One image that one release names. ``ref`` is without the digest that it is pinned to."""

    ref: str
    digest: str
    package: str
    release: str
    sure: bool
    why: str

    @property
    def image(self) -> str:
        return f"{self.ref}@{self.digest}" if self.digest else self.ref


class Unknown(msgspec.Struct, frozen=True, order=True):
    """A release that may name images; ``extractor``: of its facts, 0 if there are none."""

    package: str
    release: str
    extractor: int


class Asked(NamedTuple):
    """The releases of one package whose images are asked for, and facts by archive's digest."""

    package: str
    releases: list[Release]
    facts: Mapping[str, ArchiveFacts]


class Listing(msgspec.Struct, frozen=True):
    """The images of some releases, sorted, and the releases whose images are not known."""

    images: list[Row]
    unknown: list[Unknown]

    @property
    def guesses(self) -> list[Row]:
        """The images with a tag that is a guess."""
        return [row for row in self.images if not row.sure]

    @property
    def names(self) -> list[str]:
        """Each image once, sorted."""
        return sorted({row.image for row in self.images})


def chosen(document: PackageDocument, reference: Reference | None, every: bool) -> list[Release]:
    """The charts whose images are asked for.

    Args:
        reference: a package means its default release, and all of them with ``every``; a release,
            range, channel or digest means itself.

    Raises:
        NotFoundError: nothing is meant by the reference.
    """
    if reference is not None and reference.kind != "default":
        found = meant(document, reference)
        if not found:
            raise absent(reference, document)
    elif every:
        found = document.releases
    else:
        found = document.of_release(document.default() or "")
    return [release for release in found if release.media_type == CHART]


def listing(packages: Iterable[Asked], rules: Images = Images()) -> Listing:
    """The images of some releases of some packages; ``rules``: what is added and left out."""
    rows: set[Row] = set()
    unknown: set[Unknown] = set()
    for package, releases, facts in packages:
        for release in releases:
            known = facts.get(release.blob.digest)
            if known is None or known.extractor < EXTRACTOR:
                extractor = known.extractor if known else 0
                unknown.add(Unknown(package, release.release, extractor))
            rows.update(_rows(package, release.release, known, rules))
    return Listing(sorted(rows), sorted(unknown))


def _rows(package: str, release: str, facts: ArchiveFacts | None, rules: Images) -> Iterator[Row]:
    for image in facts.images if facts else ():
        if not _is_excluded(image.ref, image.digest, rules):
            yield Row(image.ref, image.digest, package, release, image.sure, image.why)
    chart: Mapping[str, Any] = facts.chart if facts else {}
    for pattern, references in rules.add_for.items():
        for reference in references if glob_matches(package, pattern) else ():
            name = imagename.parse(filled(reference, chart.get("appVersion", ""), release))
            if name and not _is_excluded(name.ref, name.digest, rules):
                yield Row(name.ref, name.digest, package, release, True, ADDED)


def _is_excluded(ref: str, digest: str, rules: Images) -> bool:
    full = f"{ref}@{digest}" if digest else ref
    return any(glob_matches(text, p) for p in rules.exclude for text in {ref, full})
