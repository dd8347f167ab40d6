"""How an audit looks at one package."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cnrmirror.audit.journal import Noted
from cnrmirror.audit.part import Part
from cnrmirror.catalog.needed import blobs_of
from cnrmirror.model.documents import PackageRef, blob_path
from cnrmirror.objects.base import Reader
from cnrmirror.views.base import Package
from cnrmirror.views.site import Site


def key_of(ref: PackageRef, with_views: bool) -> str:
    """What names a package that was found good, and how it was looked at."""
    return f"{ref.digest} {int(with_views)}"


class Look:
    """Looks at packages of one mirror.

    Args:
        reader: reads the mirror.
        site: renders its views.
        with_views: compare them, too.
    """

    def __init__(self, reader: Reader, site: Site, with_views: bool) -> None:
        self._reader = reader
        self._site = site
        self._with_views = with_views

    def key(self, ref: PackageRef) -> str:
        """See ``key_of``."""
        return key_of(ref, self._with_views)

    def at(self, ref: PackageRef, noted: Noted | None = None) -> tuple[Package | None, Part]:
        """A package, and what was seen of it.

        Args:
            noted: what was noted when it was found good before: then only its document is read.

        Returns:
            None for a package whose document cannot be used.
        """
        part = Part(self._reader, self._site)
        document = part.document(ref)
        if document is None:
            return None, part
        package, blobs = part.package(document), blobs_of(document)
        if noted is not None:
            part.expected.update(blob_path(blob.digest) for blob in blobs)
            part.blobs.update({blob.digest: blob.size for blob in blobs})
            if self._with_views:
                part.views.know(package, noted)
            return package, part
        with tempfile.TemporaryDirectory() as work:
            copies = {blob.digest: Path(work) / blob.digest for blob in blobs}
            good = {b.digest: copies[b.digest] for b in blobs if part.blob(b, copies[b.digest])}
            if self._with_views:
                part.views.package(package, good)
        return package, part
