"""Which releases of a package a reference means."""

from __future__ import annotations

from cnrmirror.model.documents import PackageDocument, Release
from cnrmirror.model.errors import NotFoundError
from cnrmirror.model.names import Reference, select_release
from cnrmirror.model.near import did_you_mean


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


def absent(reference: Reference, document: PackageDocument, what: str = "") -> NotFoundError:
    """The error for a reference that means nothing of a package; it names what is near.

    Args:
        what: more that was asked for, behind the reference.
    """
    known = [c.name for c in document.channels]
    if reference.kind != "channel":
        known = document.versions() if reference.kind == "release" else []
    hint = did_you_mean(reference.value, known) or f"; see 'show {reference.package}'"
    return NotFoundError(f"there is no {reference}{what}{hint}")
