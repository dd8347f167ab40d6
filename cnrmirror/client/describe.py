"""What is known of the releases that are meant, and what the newest of them says of itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from cnrmirror.archive.images import images_of
from cnrmirror.archive.scan import Limits
from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.client.choose import meant
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import PackageDocument
from cnrmirror.model.errors import InputError, NotFoundError
from cnrmirror.model.names import Reference

_MAX_OPENED = 4 << 20
"""A larger archive is not fetched only to see what images it names."""


class Shown(msgspec.Struct, frozen=True):
    """A package's document, cut down to the releases that are meant, with all their facts.

    ``images`` are those that the newest of them names; empty if it is no chart.
    """

    document: PackageDocument
    images: list[str]

    @property
    def chart(self) -> dict[str, Any]:
        """What the Chart.yaml of the newest release says; empty if there is none."""
        return _chart(self.document)

    def about(self) -> Iterator[tuple[str, str]]:
        """What it says of itself, for people: a name and a text each."""
        chart = self.chart
        for key in ("description", "appVersion", "kubeVersion", "type"):
            if key in chart:
                yield key, chart[key]
        if chart.get("deprecated"):
            yield "deprecated", "yes"
        for who in chart.get("maintainers", ()):
            mail = f" <{who['email']}>" if "email" in who else ""
            yield "maintainer", who.get("name", "") + mail
        for other in chart.get("dependencies", ()):
            parts = (other.get(key, "") for key in ("name", "version", "repository"))
            yield "depends on", " ".join(part for part in parts if part)
        for image in self.images:
            yield "image", image


def describe(
    reference: Reference,
    document: PackageDocument,
    catalog: CatalogReader,
    blob: Callable[[Descriptor], Iterable[bytes]],
) -> Shown:
    """The releases that are meant.

    Args:
        blob: the bytes of an archive.

    Raises:
        NotFoundError: nothing is meant by the reference.
    """
    if reference.kind != "default":
        document = msgspec.structs.replace(document, releases=meant(document, reference))
        if not document.releases:
            raise NotFoundError(f"there is no {reference}; see 'show {reference.package}'")
    archives = {release.blob.digest for release in document.releases}
    known = {d: facts for d, facts in catalog.facts(document).items() if d in archives}
    document = msgspec.structs.replace(document, facts=[], inline_facts=known)
    images: list[str] = []
    if (chart := _chart(document)) and document.releases[0].blob.size <= _MAX_OPENED:
        with contextlib.suppress(InputError):  # it was accepted under other limits
            images = images_of(chart, blob(document.releases[0].blob), Limits())
    return Shown(document, images)


def _chart(document: PackageDocument) -> dict[str, Any]:
    if not document.releases:
        return {}
    facts = document.inline_facts.get(document.releases[0].blob.digest)
    return facts.chart if facts else {}
