"""References of container images: ``docker.io/library/nginx:1.25``, written out in full."""

from __future__ import annotations

import re
from typing import NamedTuple

_HOST = (
    r"(?:(?:[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+|localhost)(?::[0-9]{1,5})?"
    r"|[a-zA-Z0-9-]+:[0-9]{1,5})"
)
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][\w.-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_REFERENCE = re.compile(
    rf"(?:({_HOST})/)?({_PART}(?:/{_PART})*)(?::({_TAG}))?(?:@({_DIGEST}))?", re.A
)
_HAS_HOST = re.compile(rf"{_HOST}/", re.A)
_TAGGED = re.compile(r":[\w.-]+$")
# In free text: only what can hardly be anything else: a host with a dot, a tag with a digit.
_IN_TEXT = re.compile(
    rf"(?<![\w./:@-])((?:[a-z0-9-]{{1,63}}\.)+[a-z0-9-]{{1,63}}(?::[0-9]{{1,5}})?(?:/{_PART})+"
    rf"(?::[\w][\w.-]{{0,127}}|@{_DIGEST}))(?![\w/:])",
    re.A,
)
_DIGIT = re.compile("[0-9]")
_DOCKER = ("index.docker.io", "registry-1.docker.io", "docker.io", None)
MAX_TEXT = 512
"""Characters; what is longer is no reference."""


class ImageName(NamedTuple):
    """A registry's host, a repository there, and a tag or digest, or both; "" for none.

    Example:
        >>> str(parse("nginx"))
        'docker.io/library/nginx:latest'
    """

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        return f"{self.host}/{self.path}"

    @property
    def ref(self) -> str:
        """Without the digest."""
        return f"{self.repository}:{self.tag}" if self.tag else self.repository

    def __str__(self) -> str:
        return f"{self.ref}@{self.digest}" if self.digest else self.ref


def parse(text: str) -> ImageName | None:
    """What a reference means, as a container runtime reads it; None if it is none."""
    text = text.strip()
    match = _REFERENCE.fullmatch(text) if len(text) <= MAX_TEXT else None
    if match is None:
        return None
    host, path, tag, digest = match.groups()
    if host in _DOCKER:
        host = "docker.io"
        path = path if "/" in path else f"library/{path}"
    return ImageName(host, path, tag or ("" if digest else "latest"), digest or "")


def in_text(text: str) -> list[ImageName]:
    """The references in free text that name a host, and a tag with a digit or a digest."""
    if "/" not in text or len(text) > 4096:
        return []
    found = (parse(match[1]) for match in _IN_TEXT.finditer(text))
    return [name for name in found if name and is_telling(name)]


def is_telling(name: ImageName) -> bool:
    """Whether it has a digest, or a tag with a digit: hardly anything else looks so."""
    return bool(name.digest) or _DIGIT.search(name.tag) is not None


def has_tag(text: str) -> bool:
    """Whether a reference spells a tag or a digest."""
    return "@" in text or _TAGGED.search(text) is not None


def has_host(text: str) -> bool:
    """Whether a reference spells the registry's host."""
    return _HAS_HOST.match(text) is not None
