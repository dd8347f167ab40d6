"""Which releases of a package a reference means."""

from __future__ import annotations

from cnrmirror.model.documents import PackageDocument, Release
from cnrmirror.model.names import Reference, select_release


def meant(document: PackageDocument, reference: Reference) -> list[Release]:
    """Every release, in all its formats, that is meant, as the registry resolves it; maybe none.

    Raises:
        InvalidName: neither a release nor a semver range.
    """
    if reference.kind == "digest":
        return [r for r in document.releases if r.content.digest == reference.value]
    if reference.kind == "channel":
        release = next((c.current for c in document.channels if c.name == reference.value), None)
    else:
        release = select_release(document.versions(), reference.value)
    return document.of_release(release) if release else []
