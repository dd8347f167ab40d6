"""What is known of the releases that are meant, and what the newest of them says of itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from cnrmirror.archive.facts import EXTRACTOR, facts_of
from cnrmirror.archive.inspect import ArchiveReader
from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.client.choose import absent, meant
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import ArchiveFacts, Image, PackageDocument
from cnrmirror.model.errors import InputError
from cnrmirror.model.names import Reference

_MAX_OPENED = 4 << 20
"""Where facts are older, a larger archive is not fetched only to see what images it names."""


class Shown(msgspec.Struct, frozen=True):
    """A package's document, cut down to the releases that are meant, with all their facts.

    ``images`` are those that the newest of them names; empty if it is no chart.
    """

    document: PackageDocument
    images: list[Image]

    @property
    def chart(self) -> dict[str, Any]:
        """What the Chart.yaml of the newest release says; empty if there is none."""
        facts = _facts(self.document)
        return facts.chart if facts else {}

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
            yield "image", f"{image}{'' if image.sure else ' (a guess)'}"


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
    whole = document
    if reference.kind != "default":
        document = msgspec.structs.replace(document, releases=meant(document, reference))
        if not document.releases:
            raise absent(reference, whole)
    archives = {release.blob.digest for release in document.releases}
    known = {d: facts for d, facts in catalog.facts(document).items() if d in archives}
    document = msgspec.structs.replace(document, facts=[], inline_facts=known)
    facts = _facts(document)
    if facts and facts.extractor < EXTRACTOR and document.releases[0].blob.size <= _MAX_OPENED:
        with contextlib.suppress(InputError):  # it was accepted under other limits
            facts = _looked_into(blob(document.releases[0].blob)) or facts
    return Shown(document, facts.images if facts else [])


def _facts(document: PackageDocument) -> ArchiveFacts | None:
    """Those of the newest release."""
    if not document.releases:
        return None
    return document.inline_facts.get(document.releases[0].blob.digest)


def _looked_into(archive: Iterable[bytes]) -> ArchiveFacts | None:
    reader = ArchiveReader()
    for piece in archive:
        reader.feed(piece)
    info = reader.close()
    return facts_of(info.telling, info.clues)
