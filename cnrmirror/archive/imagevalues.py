"""The images that values name: under which key, and whether the tag is spelled or guessed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from cnrmirror.archive import imagename
from cnrmirror.archive.imagename import ImageName

_TAGS = ("tag", "imageTag", "version", "image_tag", "imageVersion")
_REGISTRIES = ("registry", "hub", "imageRegistry")
_BASES = ("repository", "repo", "name")
_WHOLE = ("dockerimage", "imagename", "imagerepository", "imagerepo", "baseimage")
_ADDRESSES = ("http:", "https:", "git@", "oci:")
_HEX = re.compile(r"[0-9a-f]{64}")
_LETTER = re.compile(r"[a-z]")


class Named(NamedTuple):
    """An image, and the key that names it: ``db.image.repository``."""

    name: ImageName
    key: str
    sure: bool


class Defaults(NamedTuple):
    """What stands for what an image's own values leave out; "" for nothing.

    ``tag``: the chart's appVersion. ``registry``: ``global.imageRegistry``, which by its convention
    takes the place of every ``registry``.
    """

    tag: str = ""
    registry: str = ""


def named_in(values: Any, defaults: Defaults, key: str = "") -> Iterator[Named]:
    """The images that values name, in their order; ``key`` is that of the values themselves."""
    if isinstance(values, list):
        for item in values:
            yield from named_in(item, defaults, f"{key}[]")
    elif isinstance(values, dict):
        mapping = _Mapping(values, defaults, key)
        yield from mapping.as_one_image()
        for name, value in values.items():
            below = f"{key}.{name}" if key else name
            if isinstance(value, dict | list):
                yield from named_in(value, defaults, below)
            elif isinstance(value, str) and value and name not in mapping.taken:
                yield from mapping.under(name, value, below)


class _Mapping:
    """One mapping among the values."""

    def __init__(self, values: dict[str, Any], defaults: Defaults, key: str) -> None:
        self._values, self._app, self._key = values, defaults.tag, key
        self._is_image = key.lower().endswith("image")
        self._registry = self._first(_REGISTRIES)
        if defaults.registry and "registry" in values:
            self._registry = defaults.registry
        self.taken: tuple[str, ...] = ()

    def _first(self, keys: tuple[str, ...]) -> str:
        texts = (self._values.get(key) for key in keys)
        return next((text for text in texts if isinstance(text, str) and text), "")

    def as_one_image(self) -> Iterator[Named]:
        """The image that the mapping is: registry, repository, tag and digest beside each other."""
        values = self._values
        tag, digest = self._first(_TAGS), self._first(("digest", "sha"))
        base = self._first(("repository", "repo"))
        if not base and (tag or digest) and ("pullPolicy" in values or self._is_image):
            base = self._first(("name",))
        told = digest or "pullPolicy" in values or "registry" in values or self._is_image
        if not base or base.startswith(_ADDRESSES):
            return
        if not told and not any(key in values for key in _TAGS):
            return
        self.taken = (*_BASES, *_REGISTRIES)
        full = f"{self._registry}/{base}" if self._registry else base
        spelled = imagename.has_tag(full)
        if not spelled:
            full += f":{tag or self._app or 'latest'}"
        digest = f"sha256:{digest}" if _HEX.fullmatch(digest) else digest
        if digest.startswith("sha256:") and "@" not in full:
            full += f"@{digest}" if tag or spelled else ""
            full = full if tag or spelled else f"{full.rpartition(':')[0]}@{digest}"
        if name := imagename.parse(full):
            yield Named(name, self._key, bool(spelled or tag or digest))

    def under(self, key: str, value: str, where: str) -> Iterator[Named]:
        """The images that the text under one key names."""
        low = key.lower()
        if not low.endswith("image") and low not in _WHOLE:
            whole = imagename.parse(value) if low.endswith(("img", "container")) else None
            if whole and "/" in value and imagename.is_telling(whole):
                yield Named(whole, where, True)
                return
            for name in imagename.in_text(value):
                yield Named(name, where, True)
            return
        tag = self._tag_beside(key)
        sure = bool(tag) or imagename.has_tag(value)
        if not imagename.has_tag(value):
            asked = (f"{key}Tag", "imageTag", "ImageTag", "tag")
            wants = any(name in self._values for name in asked)
            value += f":{tag or (self._app if wants else '') or 'latest'}"
        if self._registry and not imagename.has_host(value):
            value = f"{self._registry}/{value}"
        name_of = imagename.parse(value)
        if name_of and _LETTER.search(value):
            yield Named(name_of, where, sure)

    def _tag_beside(self, key: str) -> str:
        own = f"{key[:-5]}Tag" if key.lower().endswith("image") else f"{key}Tag"
        keys = (f"{key}Tag", own, f"{key}Version", "imageTag", "ImageTag", "image_tag", "tag")
        return self._first((*keys, "imageVersion", "version"))
