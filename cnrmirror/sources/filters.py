"""Which of the things that a source offers are wanted, and what they are called here."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import msgspec

from cnrmirror.model.errors import InvalidDocument, InvalidName
from cnrmirror.model.later import later
from cnrmirror.model.names import check_release, matches, newest_first

if TYPE_CHECKING:
    import semantic_version
else:
    semantic_version = later("semantic_version")


# A day, or a moment in UTC; "" for none.
_TIME = r"^(\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?)?)?$"


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to take of a source; everything, where nothing is said.

    ``packages`` and ``exclude`` are globs (``charts/*``) or, between slashes, regular expressions
    (``/charts/n.+/``). ``releases`` is a semver range. ``newest`` keeps so many releases of each
    package. ``channels`` keeps what these point at. ``created_after`` compares with the upstream's
    ISO time.
    """

    packages: list[str] = []
    exclude: list[str] = []
    media_types: list[str] = []
    releases: str = ""
    prereleases: bool = True
    newest: Annotated[int, msgspec.Meta(ge=0)] = 0
    created_after: Annotated[str, msgspec.Meta(pattern=_TIME)] = ""
    channels: list[str] = []

    def problems(self) -> Iterator[tuple[str, str]]:
        """Each pattern or range that cannot be: its key, and what is wrong with it."""
        for key, patterns in (("packages", self.packages), ("exclude", self.exclude)):
            for pattern in patterns:
                try:
                    glob_matches("", pattern)
                except InvalidDocument as error:
                    yield key, error.message
        if self.releases:
            try:
                matches("1.0.0", self.releases)
            except InvalidName as error:
                yield "releases", error.message

    def names(self, package: str) -> bool:
        """Whether a package of this name is wanted at all."""
        return (
            not self.packages or any(glob_matches(package, p) for p in self.packages)
        ) and not any(glob_matches(package, p) for p in self.exclude)

    def takes_type(self, media_type: str) -> bool:
        """Whether releases of this media type are wanted at all."""
        return not self.media_types or media_type in self.media_types

    def takes_release(self, release: str) -> bool:
        """Whether a release of this name is wanted, as far as its name tells.

        What is no semantic version (``0.4``, ``1.1.000``) is read as the one that it looks like.
        """
        if self.prereleases and not self.releases:
            return True
        read = as_release(release)
        if read is None:
            return True  # it may be any
        return (self.prereleases or "-" not in read.partition("+")[0]) and (
            not self.releases or matches(read, self.releases)
        )

    def takes_time(self, created_at: str) -> bool:
        """Whether a release that was made then is wanted."""
        return not self.created_after or created_at > self.created_after

    def possible(self, releases: Iterable[str], current: Collection[str]) -> set[str]:
        """Of one package's releases, those that are wanted, but for ``newest``.

        Args:
            releases: semantic versions.
            current: those at which a channel points that is named here.
        """
        found = {r for r in releases if self.takes_release(r)}
        return found & set(current) if self.channels else found

    def kept(self, releases: Iterable[str], current: Collection[str]) -> set[str]:
        """Of one package's releases, those that are wanted; see ``possible``."""
        return set(newest_first(self.possible(releases, current))[: self.newest or None])


def as_release(text: str) -> str | None:
    """The release that a text is, or looks like (``0.4`` like 0.4.0); None if like none."""
    try:
        return check_release(text)
    except InvalidName:
        pass
    try:
        return str(semantic_version.Version.coerce(text[:128].removeprefix("v")))
    except ValueError:
        return None


def glob_matches(name: str, pattern: str) -> bool:
    """Whether a name matches a glob or, between slashes, a regular expression."""
    if len(pattern) > 2 and pattern[0] == pattern[-1] == "/":
        try:
            return re.fullmatch(pattern[1:-1], name) is not None
        except re.error as error:
            raise InvalidDocument(f"{pattern}: not a regular expression: {error}") from error
    return fnmatchcase(name, pattern)


def renamed(name: str, names: Mapping[str, str]) -> str:
    """What a package is called here: by an exact entry, or by one of ``upstream/*: here/*``."""
    if name in names:
        return names[name]
    for pattern, target in names.items():
        if pattern.endswith("/*") and name.startswith(pattern[:-1]):
            return target[:-1] + name[len(pattern) - 1 :] if target.endswith("/*") else target
    return name


def upstream_names(name: str, names: Mapping[str, str]) -> list[str]:
    """All that the upstream may call a package of this name here, the likeliest first.

    Nothing, where only a pattern leads to one name: that may be any.
    """
    may = []
    for upstream, target in names.items():
        if upstream.endswith("/*") and target.endswith("/*") and name.startswith(target[:-1]):
            may.append(upstream[:-1] + name[len(target) - 1 :])
        elif target == name and upstream.endswith("/*"):
            return []
        elif target == name:
            may.append(upstream)
    return [found for found in dict.fromkeys((*may, name)) if renamed(found, names) == name]


class Wanted(msgspec.Struct, frozen=True):
    """What is wanted of one source, asked by the names that it uses itself.

    Args:
        filter: speaks of the names here.
        names: upstream name → name here.
    """

    filter: Filter = Filter()
    names: dict[str, str] = {}

    def package(self, upstream: str) -> bool:
        """Whether anything of this package is wanted; any text may be asked about."""
        return self.filter.names(renamed(upstream, self.names))

    def exact(self) -> list[str]:
        """The packages that the filter names without a pattern, as the source calls them."""
        plain = [p for p in self.filter.packages if not _PATTERN.search(p)]
        return [name for package in plain for name in upstream_names(package, self.names)[:1]]


_PATTERN = re.compile(r"[*?\[]|^/.*/$")
