"""The names of the field: package, release, channel, media type, reference.

Each is checked once, where it enters; later code trusts it. All of them become parts of URLs and
of file names, so the alphabets are narrow and nothing can climb out of a folder.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import msgspec

from cnrmirror.model.digest import parse_digest
from cnrmirror.model.errors import InvalidName
from cnrmirror.model.later import later

if TYPE_CHECKING:
    import semantic_version
else:
    semantic_version = later("semantic_version")


_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?")
_MEDIA_TYPE = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_FULL_TYPE = re.compile(
    r"application/vnd\.(?P<vendor>cnr|appr)\.package(?:-manifest)?\.(?P<short>[^.]+)\.v[0-9][0-9a-z]*\.(?:json|tar\+gzip)"
)
_MAX_RELEASE = 128
# File names of the site that a package or channel must not take.
_RESERVED_ENDINGS = (".json", ".gz", ".html", ".yaml")

Vendor = Literal["appr", "cnr"]


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8: it has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _part(text: str, what: str) -> str:
    if not _PART.fullmatch(text) or ".." in text:
        raise InvalidName(
            f"{text!r} is not a {what}: use letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit, at most 128 characters"
        )
    if text.lower().endswith(_RESERVED_ENDINGS):
        raise InvalidName(
            f"{text!r} is not a {what}: the endings {', '.join(_RESERVED_ENDINGS)} are taken"
        )
    return text


class PackageName(msgspec.Struct, frozen=True, order=True):
    """``namespace/name``.

    Example:
        >>> PackageName.parse("charts/nginx").namespace
        'charts'
    """

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> PackageName:
        """The two parts of ``namespace/name``.

        Raises:
            InvalidName: not two parts, or a character that is not allowed.
        """
        namespace, slash, name = text.partition("/")
        if not slash or "/" in name:
            raise InvalidName(f"{text!r} is not a package name: write NAMESPACE/NAME")
        return cls(_part(namespace, "namespace"), _part(name, "package name"))

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def check_channel(text: str) -> str:
    """``text``, if it can name a channel. Raises InvalidName."""
    return _part(text, "channel")


def check_media_type(text: str) -> str:
    """The short media type (``helm``) of a short or a full one. Raises InvalidName.

    Example:
        >>> check_media_type("application/vnd.cnr.package-manifest.helm.v0.json")
        'helm'
    """
    match = _FULL_TYPE.fullmatch(text)
    short = match["short"] if match else text
    if not _MEDIA_TYPE.fullmatch(short):
        raise InvalidName(
            f"{text!r} is not a media type: use lower-case letters, digits, '_' and '-', "
            "for example helm, kpm, docker-compose"
        )
    return short


def manifest_type(media_type: str, vendor: Vendor) -> str:
    """The full type of a manifest, in the words of the one server or the other."""
    return f"application/vnd.{vendor}.package-manifest.{media_type}.v0.json"


def content_type(media_type: str, vendor: Vendor) -> str:
    """The full type of a package archive, in the words of the one server or the other."""
    return f"application/vnd.{vendor}.package.{media_type}.v0.tar+gzip"


@functools.lru_cache(maxsize=65536)
def _version(text: str) -> semantic_version.Version:
    return semantic_version.Version(text)


def check_release(text: str) -> str:
    """``text``, if it is one exact semver release. Raises InvalidName.

    Example:
        >>> check_release("1.2.0-rc.1+build.7")
        '1.2.0-rc.1+build.7'
    """
    try:
        # The library's own pattern lets a line end pass at the end.
        if len(text) > _MAX_RELEASE or not text.isascii() or not text.isprintable():
            raise ValueError(text)
        _version(text)
    except ValueError:
        raise InvalidName(
            f"{text!r} is not a release: write a semantic version such as 1.2.0 or 1.2.0-rc.1"
        ) from None
    return text


def is_release(text: str) -> bool:
    """Whether a text is one exact semver release."""
    try:
        check_release(text)
    except InvalidName:
        return False
    return True


ReleaseKey = tuple[tuple[object, ...], bool, tuple[str, ...]]


def release_key(text: str) -> ReleaseKey:
    """Orders releases by semver precedence, then by build metadata (none is lowest)."""
    return _precedence(text), bool(_version(text).build), tuple(_version(text).build)


@functools.lru_cache(maxsize=65536)
def _precedence(text: str) -> tuple[object, ...]:
    # The library's own key orders build metadata too; semver §11 does not.
    key: tuple[object, ...] = _version(text).truncate("prerelease").precedence_key
    return key


def newest_first(releases: Iterable[str]) -> list[str]:
    """The releases in the order that every list of the site shows them in."""
    return sorted(releases, key=release_key, reverse=True)


def default_release(releases: Iterable[str]) -> str | None:
    """What ``default`` means: the highest by semver, prereleases included.

    Of two that differ in build metadata only, the one without: it is the plainer promise.
    """
    best = None
    for text in sorted(releases, key=release_key):
        if best is None or _precedence(text) != _precedence(best):
            best = text
    return best


def select_release(releases: Iterable[str], query: str) -> str | None:
    """The release that ``query`` means: exact, ``default``, or the highest in a semver range.

    A range without a prerelease in it ("-") does not match prereleases, as on the servers.

    Raises:
        InvalidName: neither a release nor a range.
    """
    known = list(releases)
    if query in known:
        return query
    if query == "default":
        return default_release(known)
    try:
        if len(query) > _MAX_RELEASE:
            raise ValueError(f"range of more than {_MAX_RELEASE} characters")
        spec = semantic_version.SimpleSpec(query.replace(" ", ""))
    except ValueError as error:
        raise InvalidName(str(error), release=query) from None
    candidates = [r for r in known if "-" in query or "-" not in r]
    return max((r for r in candidates if spec.match(_version(r))), key=release_key, default=None)


def matches(release: str, query: str) -> bool:
    """Whether a release lies in a semver range. Raises InvalidName if that is none."""
    try:
        return bool(semantic_version.SimpleSpec(query.replace(" ", "")).match(_version(release)))
    except ValueError as error:
        raise InvalidName(f"{query!r} is not a semver range: {error}") from None


class Reference(msgspec.Struct, frozen=True):
    """What a person means by ``ns/name``, ``ns/name@1.0.0``, ``ns/name:stable`` and their like."""

    package: PackageName
    kind: Literal["default", "release", "channel", "digest"]
    value: str = "default"

    @classmethod
    def parse(cls, text: str) -> Reference:
        """The package and what of it is meant; ``release`` may be a semver range.

        Raises:
            InvalidName: no package name, or an empty or impossible rest.

        Example:
            >>> Reference.parse("charts/nginx:stable").value
            'stable'
        """
        match = re.fullmatch(r"([^@:]+)(?:([@:])(.+))?", text)
        if not match:
            raise InvalidName(
                f"{text!r} is not a reference: write NS/NAME, NS/NAME@RELEASE, NS/NAME:CHANNEL "
                "or NS/NAME@sha256:DIGEST"
            )
        package = PackageName.parse(match[1])
        if match[2] is None:
            return cls(package, "default")
        if match[2] == ":":
            return cls(package, "channel", check_channel(match[3]))
        if match[3].startswith("sha256:"):
            return cls(package, "digest", parse_digest(match[3]))
        return cls(package, "release", match[3])

    def __str__(self) -> str:
        mark = {"default": "", "release": "@", "channel": ":", "digest": "@sha256:"}[self.kind]
        return f"{self.package}{mark}{self.value if mark else ''}"
