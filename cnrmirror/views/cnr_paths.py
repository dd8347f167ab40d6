"""The files of the CNR v1 view by their paths: their order, their packages, their addresses.

Paths are those of a site, or the keys that a bucket has in their place (``layout``).
"""

from __future__ import annotations

import re

from cnrmirror.views.base import LISTS_RANK, PACKAGE_RANK

PREFIX = "cnr"
PACKAGES = f"{PREFIX}/api/v1/packages"
PACKAGES_BY = f"{PREFIX}/api/v1/packages-by"
ANY = "_"

# What may be read first is written last.
_ARCHIVE, _BASE64, _MANIFEST, _RELEASE, _DEFAULT, _CHANNEL = 0, 1, 2, 3, 4, 6


def rank(path: str) -> int:
    """When a file may be written: only after everything of a lower rank; 0 to ``RANKS`` - 1.

    Archives, their base64 forms, manifests, releases; the same of ``default``, channels; packages;
    lists. ``…/pull`` and ``…/pull/json`` are apart, too: some servers lose one of two keys that
    come at once, if one is the other's folder.
    """
    _, found, below = path.partition(PACKAGES.removeprefix("cnr/") + "/")
    parts = below.removesuffix("/index.json").split("/") if found else []
    if len(parts) < 2 or parts == ["search", "index.json"]:
        return LISTS_RANK
    if len(parts) == 2 or parts[2:] == ["channels"] or parts[2].startswith(("type-", "index.")):
        return PACKAGE_RANK
    if parts[2] == "channels":
        return _CHANNEL
    if parts[2] == "blobs":
        return _BASE64 if parts[-1].endswith("json") else _ARCHIVE
    if len(parts) == 3:
        return _RELEASE
    kind = _ARCHIVE if parts[4:] == ["pull"] else _BASE64 if parts[4:5] else _MANIFEST
    return kind + (_DEFAULT if parts[2] == "default" else 0)


def package_in(path: str) -> str | None:
    """The package whose file this is; None for lists and the rest."""
    parts = path.removeprefix("cnr/").split("/")
    is_package = parts[:3] == ["api", "v1", "packages"] and len(parts) > 5
    return f"{parts[3]}/{parts[4]}" if is_package else None


_FILES = (
    (re.compile(rf"{PACKAGES_BY}/([^/]+)/([^/]+)\.json"), None),
    (re.compile(rf"({PACKAGES}/.+)/type-([^/]+)\.json"), r"\1?media_type=\2"),
    (re.compile(r"(.+/blobs/sha256/[^/]+)\.json"), r"\1?format=json"),
    (re.compile(r"(.+/pull)\.json"), r"\1?format=json"),
    (re.compile(r"(.+)/index\.json"), r"\1"),
)


def url_of(path: str) -> str:
    """The address, below the site's, at which a file of the v1 view answers.

    The other direction of ``route``: what is asked there, it finds in that file.
    """
    for pattern, replacement in _FILES:
        match = pattern.fullmatch(path)
        if match and replacement is None:
            names = {"namespace": match[1], "media_type": match[2]}
            query = "&".join(f"{k}={v}" for k, v in names.items() if v != ANY)
            return f"{PACKAGES}?{query}"
        if match and replacement is not None:
            return match.expand(replacement)
    return path
