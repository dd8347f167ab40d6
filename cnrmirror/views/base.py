"""What a view is: files of a site that follow from the catalog alone.

A view is one module: it renders a package, gives one entry a package for its lists, and renders the
lists that a change touches. Whoever builds, publishes, checks, audits or serves knows only the list
of views (``site.VIEWS``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from cnrmirror.model.documents import ArchiveFacts, PackageDocument
from cnrmirror.model.names import Vendor
from cnrmirror.model.resource import Resource

RANKS = 9
"""Ranks of a view's files, 0 to 8: a file is written only after all of a lower rank."""

PACKAGE_RANK, LISTS_RANK = 7, 8


class Package(msgspec.Struct, frozen=True):
    """A package as views see it: its document, and facts by the digest of the archive."""

    document: PackageDocument
    facts: Mapping[str, ArchiveFacts] = {}


class ArtifactHub(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What an ``artifacthub-repo.yml`` says (artifacthub.io/docs/topics/repositories).

    ``repositoryID``: proves to Artifact Hub who publishes here. ``owners``: with ``name`` and
    ``email``. ``ignore``: packages that are not to be listed, with ``name`` and ``version``.
    """

    repositoryID: str = ""
    owners: list[dict[str, str]] = []
    ignore: list[dict[str, str]] = []


class Settings(msgspec.Struct, frozen=True):
    """What views take from mirror.yaml; it stands in the catalog root.

    ``url``: the public address without a slash at the end, or "". ``dialect``: whose words the
    CNR v1 view uses. ``helm``, ``oci``: whether there are these views. ``artifacthub``: what stands
    in artifacthub-repo.yml.
    """

    url: str = ""
    dialect: Vendor = "appr"
    helm: bool = True
    oci: bool = True
    artifacthub: ArtifactHub = ArtifactHub()


Entries = Mapping[str, Any]
"""The entries of one view, by package."""

Changes = Mapping[str, tuple[Any | None, Any | None]]
"""The entries of the packages that changed, before and after; None where there was, or is, none."""


class View(Protocol):
    """One face of the catalog. Every method is pure."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def version(self) -> int:
        """Raised when the same catalog gives other files: every mirror is then built again."""

    @property
    def tops(self) -> tuple[str, ...]:
        """The names at the top of the site that are this view's, or whole paths of single files."""

    @property
    def uses_facts(self) -> bool:
        """Whether ``package`` and ``entry`` look at facts; else none are read for it."""

    @property
    def entry_type(self) -> type[Any]:
        """The type of an entry; it can be written as JSON."""

    def package(self, package: Package) -> Iterator[Resource]:
        """The files of one package, leaves first: nothing refers to what comes after it."""

    def entry(self, package: Package) -> Any | None:
        """What the lists need to know of a package; None if they leave it out."""

    def lists(self, entries: Entries, changes: Changes) -> Iterator[Resource]:
        """The lists that these changes touch, as they are for all ``entries``."""

    def fixed(self) -> Iterator[Resource]:
        """The files that do not depend on what the mirror holds."""

    def rank(self, path: str) -> int:
        """When a file of this view may be written, 0 to ``RANKS`` - 1."""

    def package_in(self, path: str) -> str | None:
        """The package whose file this is; None for lists and fixed files."""

    def address(self, path: str) -> str | None:
        """The address, below the site's, at which a file answers; None if it has none."""

    def files_of(self, address: str) -> list[str]:
        """The files of the site that may answer an address; the first that is there does."""

    def left_out(self, package: Package) -> Iterator[str]:
        """What of a package its clients cannot have from this view, and why."""


T = TypeVar("T")


class Latest(Generic[T]):
    """What was worked out of the package that was asked about last.

    Views, and the methods of one view, ask for the same of one package in turn.
    """

    def __init__(self, work: Callable[[Package], T]) -> None:
        self._work = work
        self._last: tuple[Package, T] | None = None

    def __call__(self, package: Package) -> T:
        """What ``work`` gives for it."""
        last = self._last
        if last is None or last[0] is not package:
            self._last = last = package, self._work(package)
        return last[1]


MakeView = Callable[[Settings], View]


def all_changes(entries: Entries) -> Changes:
    """The changes from nothing to these entries: they touch every list."""
    return {package: (None, entry) for package, entry in entries.items()}


def touched(changes: Changes) -> list[Any]:
    """The entries before and after, of all packages that changed."""
    return [entry for pair in changes.values() for entry in pair if entry is not None]


def in_order(entries: Entries) -> Iterable[Any]:
    """The entries, sorted by package."""
    return (entries[package] for package in sorted(entries))
