"""What a view is: files of a site that follow from the catalog alone.

A view is one module: it renders a package, gives one entry a package for its lists, and renders the
lists that a change touches. Whoever builds, publishes, checks, audits or serves knows only the list
of views (``site.VIEWS``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Annotated, Any, BinaryIO, Generic, Protocol, TypeVar

import msgspec

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import ArchiveFacts, CatalogRoot, PackageDocument
from cnrmirror.model.names import Vendor
from cnrmirror.model.resource import Resource
from cnrmirror.views.groups import Changes, Grouping, Groups, Rows

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


class View(Grouping, Protocol):
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
    def row_type(self) -> Any:
        """The type of the rows of its groups; they can be written as JSON."""

    @property
    def summary_type(self) -> Any:
        """The type of the summary of a group; it can be written as JSON. None if there is none."""

    def package(self, package: Package) -> Iterator[Resource]:
        """The files of one package, leaves first: nothing refers to what comes after it."""

    def entry(self, package: Package) -> Any | None:
        """What the lists need to know of a package; None if they leave it out."""

    def lists(
        self, groups: Groups, changes: Changes | None, root: CatalogRoot
    ) -> Iterator[Resource]:
        """The lists that a change touches, as they are for all entries at a revision.

        Args:
            groups: the entries as they are before the change, or as they are after it.
            changes: the packages that changed; None for everything.
            root: the revision. What follows from it alone (its number, its log) is always made.
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


class ByNamespace:
    """What views have in common whose entries stand in the groups of their namespaces."""

    summary_type: Any = None

    def rows(self, package: str, entry: Any) -> Mapping[str, Any]:
        """See ``View``."""
        return {package.partition("/")[0]: entry}

    def summary(self, name: str, rows: Rows) -> Any:
        """See ``View``."""
        return None


def namespaces_of(groups: Groups, changes: Changes | None) -> Collection[str]:
    """The namespaces that a change touches."""
    if changes is None:
        return groups.summaries().keys()
    return {package.partition("/")[0] for package, pair in changes.items() if pair != (None, None)}


class WithoutPackages(ByNamespace):
    """What views have in common that have no file of a package; most of them have no lists."""

    uses_facts = False
    row_type: Any = None

    def package(self, package: Package) -> Iterator[Resource]:
        """A package has no file here."""
        yield from ()

    def entry(self, package: Package) -> Any:
        """No list names it."""
        return None

    def lists(
        self, groups: Groups, changes: Changes | None, root: CatalogRoot
    ) -> Iterator[Resource]:
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


def touched(changes: Changes) -> list[Any]:
    """The entries before and after, of all packages that changed."""
    return [entry for pair in changes.values() for entry in pair if entry is not None]
