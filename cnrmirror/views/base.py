"""What a view is: files of a site that follow from the catalog alone.

A view is one module: it renders a package, gives one entry a package for its lists, and renders the
lists that a change touches. Whoever builds, publishes, checks, audits or serves knows only the list
of views (``site.VIEWS``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Annotated, Any, BinaryIO, Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import ArchiveFacts, CatalogRoot, PackageDocument
from cnrmirror.model.names import Vendor
from cnrmirror.model.resource import Resource

RANKS = 9
"""Ranks of a view's files, 0 to 8: a file is written only after all of a lower rank."""

PACKAGE_RANK, LISTS_RANK = 7, 8


class Archives(Protocol):
    """Where views that show long texts (a readme) find the archives."""

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """An archive. Raises CnrMirrorError if it is not there."""


class Package(msgspec.Struct, frozen=True):
    """A package as views see it: its document, and facts by the digest of the archive.

    ``archives``: None where only the names of files are wanted, not their bytes. ``named``: then
    a view may also leave out bytes on which no name depends.
    """

    document: PackageDocument
    facts: Mapping[str, ArchiveFacts] = {}
    archives: Archives | None = None
    named: bool = False

    def only_named(self) -> Package:
        """The same, for whoever wants the names of its files, and no bytes."""
        return msgspec.structs.replace(self, archives=None, named=True)


class ArtifactHub(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What an ``artifacthub-repo.yml`` says (artifacthub.io/docs/topics/repositories).

    ``repositoryID``: proves to Artifact Hub who publishes here. ``owners``: with ``name`` and
    ``email``. ``ignore``: packages that are not to be listed, with ``name`` and ``version``.
    """

    repositoryID: str = ""
    owners: list[dict[str, str]] = []
    ignore: list[dict[str, str]] = []


class Look(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How the pages look.

    ``title``: what the mirror is called. ``logo``: one or two letters in the place of a picture.
    ``accent``: the colour of links and buttons, ``#rrggbb``; the one for dark screens follows.
    """

    title: Annotated[str, msgspec.Meta(max_length=100)] = "Application packages"
    logo: Annotated[str, msgspec.Meta(max_length=2)] = ""
    accent: Annotated[str, msgspec.Meta(pattern=r"^#[0-9a-fA-F]{6}$")] = "#0b57d0"


class Settings(msgspec.Struct, frozen=True):
    """What views take from mirror.yaml; it stands in the catalog root.

    ``url``: the public address without a slash at the end, or "". ``dialect``: whose words the
    CNR v1 view uses. ``helm``, ``oci``, ``pages``: whether there are these views. ``artifacthub``:
    what stands in artifacthub-repo.yml. ``look``: how the pages look. ``templates``: own ones of
    the pages, by file name.
    """

    url: str = ""
    dialect: Vendor = "appr"
    helm: bool = True
    oci: bool = True
    artifacthub: ArtifactHub = ArtifactHub()
    pages: bool = True
    look: Look = Look()
    templates: Mapping[str, str] = {}


Entries = Mapping[str, Any]
"""The entries of one view, by package."""

Changes = Mapping[str, tuple[Any | None, Any | None]]
"""The entries of the packages that changed, before and after; None where there was, or is, none."""


@runtime_checkable
class ByNamespace(Protocol):
    """Entries that need not be read whole."""

    def within(self, namespaces: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """Those of some namespaces, with their packages."""


def within(entries: Entries, namespaces: Collection[str]) -> Iterable[tuple[str, Any]]:
    """The entries of the packages of some namespaces, in any order."""
    if isinstance(entries, ByNamespace):
        return entries.within(namespaces)
    return ((p, entry) for p, entry in entries.items() if p.partition("/")[0] in namespaces)


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

    def lists(self, entries: Entries, changes: Changes, root: CatalogRoot) -> Iterator[Resource]:
        """The lists that these changes touch, as they are for all ``entries`` at a revision.

        What follows from the revision alone (its number, its log) is always among them.
        """

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


class FixedFiles:
    """What all views have in common that write the same files for every mirror, and no lists."""

    uses_facts = False
    entry_type: type[Any] = msgspec.UnsetType

    def package(self, package: Package) -> Iterator[Resource]:
        """A package has no file here."""
        yield from ()

    def entry(self, package: Package) -> None:
        """No list names it."""

    def lists(self, entries: Entries, changes: Changes, root: CatalogRoot) -> Iterator[Resource]:
        """There are none."""
        yield from ()

    def rank(self, path: str) -> int:
        """See ``View``."""
        return LISTS_RANK

    def package_in(self, path: str) -> None:
        """See ``View``."""

    def address(self, path: str) -> str | None:
        """See ``View``."""
        return path

    def files_of(self, address: str) -> list[str]:
        """See ``View``."""
        return [address]

    def left_out(self, package: Package) -> Iterator[str]:
        """See ``View``."""
        yield from ()


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
