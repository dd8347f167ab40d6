"""What reads a place, whatever it is: an address, a bucket, a folder, a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cnrmirror.model.errors import InputError
from cnrmirror.model.later import later
from cnrmirror.objects.base import Reader

if TYPE_CHECKING:
    from cnrmirror.bundle import format as formats
    from cnrmirror.bundle import read as bundles
    from cnrmirror.objects import folder as folders
    from cnrmirror.objects import http
    from cnrmirror.objects import scheme as schemes
else:
    formats = later("cnrmirror.bundle.format")
    bundles = later("cnrmirror.bundle.read")
    folders = later("cnrmirror.objects.folder")
    http = later("cnrmirror.objects.http")
    schemes = later("cnrmirror.objects.scheme")


def reader_for(source: str) -> Reader:
    """The reader of a place: an address, a bucket, a folder, a bundle.

    A mirror project's folder means its ``site``.

    Raises:
        InputError: none of these.
    """
    if source.startswith(("https://", "http://")):
        return http.HttpReader(source)
    scheme = schemes.scheme_of(source, ("https://…",))
    if scheme is not schemes.FOLDER:
        return scheme.reader(source, scheme.plain)
    folder = Path(source)
    if folder.is_file() or (folder / formats.TOC).is_file() or any(folder.glob("volume-*.tar")):
        return bundles.BundleReader([folder])
    if not folder.is_dir():
        known = "an address (https://…, s3://…, gs://…, az://…)"
        raise InputError(f"{source}: neither {known}, a folder nor a bundle")
    if not (folder / "catalog").is_dir() and (folder / "site" / "catalog").is_dir():
        folder = folder / "site"
    return folders.FolderReader(folder)
