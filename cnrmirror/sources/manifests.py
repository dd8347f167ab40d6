"""CNR manifests from outside, checked field by field: what registry, datastore and backup share."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.canonical import normalise_metadata
from cnrmirror.model.digest import parse_digest
from cnrmirror.model.documents import Channel
from cnrmirror.model.errors import InputError, InvalidDocument
from cnrmirror.model.names import (
    PackageName,
    check_channel,
    check_media_type,
    check_release,
    newest_first,
)
from cnrmirror.sources.base import Hole, Offer

MAX_LIST_BYTES = 64 << 20
MAX_DOCUMENT_BYTES = 16 << 20
_Text = Annotated[str, msgspec.Meta(max_length=4096)]


class _Content(msgspec.Struct, rename={"media_type": "mediaType"}):
    digest: _Text
    size: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] = 0
    media_type: _Text = ""
    urls: list[_Text] = []


class _Manifest(msgspec.Struct, rename={"manifest_type": "mediaType"}):
    package: _Text
    release: _Text
    manifest_type: _Text
    content: _Content
    created_at: _Text = ""
    metadata: Any = None


def offer(value: Any, package: str, place: str = "") -> Offer:
    """The release that a manifest describes.

    Raises:
        InputError: fields missing or of another type, or a name that cannot be; or it is the
            manifest of another package.
    """
    try:
        found = typed.convert(value, _Manifest)
    except msgspec.ValidationError as error:
        raise InvalidDocument(f"{package}: not a manifest: {error}") from error
    if found.package != package:
        raise InvalidDocument(f"{package}: a manifest of {found.package!r}")
    PackageName.parse(package)
    return Offer(
        package,
        check_release(found.release),
        check_media_type(found.manifest_type),
        found.created_at,
        found.manifest_type,
        parse_digest(found.content.digest),
        found.content.size,
        place,
        found.content.urls,
        normalise_metadata(found.metadata, f"{package}@{found.release}: metadata"),
    )


class Manifests(msgspec.Struct):
    """A list of manifests.

    ``offers``: the releases that are wanted; ``holes``: what is damaged. ``releases`` and ``types``
    are all that are named, wanted or not.
    """

    offers: list[Offer] = []
    holes: list[Hole] = []
    releases: set[str] = set()
    types: set[str] = set()


def offers(
    values: Any, package: str, takes_type: Callable[[str], bool] = lambda media_type: True
) -> Manifests:
    """The releases in a list of manifests; what is wrong with one is no harm to the others.

    Args:
        values: the list, as it came.
        package: whose manifests they must be.
        takes_type: which media types are wanted; what has another one that can be read is passed
            over, whatever it is.

    Raises:
        InvalidDocument: not a list.
    """
    if not isinstance(values, list):
        raise InvalidDocument(f"{package}: a list of manifests was expected")
    found = Manifests([], [], set(), set())
    nameless = 0
    for value in values:
        media_type = media_type_of(value)
        told = value.get("release") if isinstance(value, dict) else None
        release = told if isinstance(told, str) else ""
        found.types |= {media_type} - {""}
        found.releases |= {release} - {""}
        if media_type and not takes_type(media_type):
            continue
        try:
            found.offers.append(offer(value, package))
        except InputError as error:
            if release:
                found.holes.append(Hole.of_release(package, release[:200], error.message[:1000]))
            else:
                nameless, last = nameless + 1, error.message[:1000]
    if nameless:
        reason = f"{last} ({nameless} that do not tell their release)"
        found.holes.append(Hole(f"{package}@?", reason, package))
    return found


def media_type_of(value: Any) -> str:
    """The short media type that a manifest has; "" if none can be read."""
    full = value.get("mediaType") if isinstance(value, dict) else None
    try:
        return check_media_type(full) if isinstance(full, str) else ""
    except InputError:
        return ""


def channel(name: Any, current: Any, releases: Any, known: set[str]) -> Channel:
    """A channel, as far as its releases are known. Raises InputError."""
    if not isinstance(name, str) or not isinstance(current, str) or not isinstance(releases, list):
        raise InvalidDocument(f"channel {name!r}: name, current and releases were expected")
    kept = [r for r in releases if isinstance(r, str) and r in known]
    if current not in known:
        raise InvalidDocument(f"channel {name}: it points at {current!r}, which is not there")
    return Channel(check_channel(name), current, newest_first(dict.fromkeys([*kept, current])))


def decode_blob(pieces: Iterable[bytes], where: str) -> Iterator[bytes]:
    """An archive out of its base64, piece by piece; line ends in it do not matter.

    Raises:
        InvalidDocument: not base64, or cut off.
    """
    rest = b""
    try:
        for piece in pieces:
            text = rest + piece.translate(None, b"\r\n")
            whole = len(text) // 4 * 4
            rest = text[whole:]
            if whole:
                yield base64.b64decode(text[:whole], validate=True)
        if rest:
            raise ValueError("it is cut off")
    except (binascii.Error, ValueError) as error:
        raise InvalidDocument(f"{where}: not base64: {error}") from error
