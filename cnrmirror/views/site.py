"""All views of a mirror together, in the form that one kind of host needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import msgspec

from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.model import typed
from cnrmirror.model.canonical import encode
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, Node, PackageDocument
from cnrmirror.model.errors import DamageError
from cnrmirror.model.names import Vendor
from cnrmirror.model.resource import Resource
from cnrmirror.views.base import (
    LISTS_RANK,
    Archives,
    ArtifactHub,
    Look,
    MakeView,
    Package,
    Settings,
    View,
)
from cnrmirror.views.cnr_v1 import CnrV1
from cnrmirror.views.forms import page_of, precompressed
from cnrmirror.views.front import FrontPage
from cnrmirror.views.groups import Edited, Grouped, Groups
from cnrmirror.views.helm import WARN_FROM, HelmRepository
from cnrmirror.views.oci import OciRegistry
from cnrmirror.views.openapi import OpenApi
from cnrmirror.views.pages import Pages, PagesForm
from cnrmirror.views.search import Search
from cnrmirror.views.templates import digest_of_templates

VIEWS: tuple[MakeView, ...] = (
    CnrV1, HelmRepository, OciRegistry, OpenApi, FrontPage, Search, Pages,
)  # fmt: skip
"""Every view that a mirror has."""

T = TypeVar("T")
NO_JEKYLL = ".nojekyll"
# Raise it when the forms change (``_adapted``, ``forms``): every mirror is then built again.
VERSION = 6


class ViewSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``views`` of mirror.yaml.

    ``dialect``: whose words new manifests and the version document use. ``profile``: ``full`` for
    servers that take a generated configuration, ``plain`` for those that only know index.html.
    ``plain_pull``: what ``pull`` is in the plain profile, the archive or its base64 form (which
    ``appr pull`` asks for). ``precompress``: write ``.gz`` beside larger JSON documents. ``keep``:
    globs of files in the site that are somebody else's (``CNAME``, ``robots.txt``). ``helm``,
    ``oci``: whether Helm and OCI clients are served, too. ``artifacthub``: what stands in the
    artifacthub-repo.yml of each namespace (``repositoryID``, ``owners``, ``ignore``). ``pages``:
    whether there are pages for people. ``look``: their ``title``, ``logo`` (one or two letters) and
    ``accent`` (a colour, #rrggbb). ``templates``: a folder with own templates of the pages, seen
    from mirror.yaml; see docs/pages.md.
    """

    dialect: Vendor = "appr"
    profile: Literal["full", "plain"] = "full"
    plain_pull: Literal["archive", "json"] = "archive"
    precompress: bool = True
    keep: list[str] = []
    helm: bool = True
    oci: bool = True
    artifacthub: ArtifactHub = ArtifactHub()
    pages: bool = True
    look: Look = Look()
    templates: str = ""

    def in_catalog(self, url: str, templates: Mapping[str, str]) -> dict[str, Any]:
        """What the views take from mirror.yaml, as it stands in the catalog root.

        Args:
            url: the public address.
            templates: the own ones of the pages.
        """
        found = {"url": url, "dialect": self.dialect, "helm": self.helm, "oci": self.oci}
        found[OpenApi.name] = OpenApi.version
        if hub := msgspec.to_builtins(self.artifacthub):
            found["artifacthub"] = hub
        if self.pages:
            form = PagesForm(Pages.version, digest_of_templates(templates), self.look)
            found["pages"] = msgspec.to_builtins(form)
        return found

    @classmethod
    def from_catalog(cls, settings: Mapping[str, Any]) -> ViewSettings:
        """What ``in_catalog`` gave, in the full profile. Raises DamageError if it is none of that.

        What is not said there is as in a mirror.yaml that does not say it.
        """
        fields = ("dialect", "helm", "oci", "artifacthub")
        pages = PagesForm.of(settings)
        try:
            found = typed.convert({k: settings[k] for k in fields if k in settings}, cls)
            return msgspec.structs.replace(
                found, pages=bool(pages), look=(pages and pages.look) or Look()
            )
        except msgspec.ValidationError as error:
            raise DamageError(f"the catalog root's settings: {error}") from error


ViewEntries = dict[str, dict[str, Any]]
"""The entries of some packages: by view, then by package."""

ViewGroups = Mapping[str, Groups]
"""The entries of all packages, by view."""

ViewChanges = dict[str, dict[str, tuple[Any | None, Any | None]]]
"""What changed in the entries of every view, see ``base.Changes``."""


class Site:
    """Renders packages, lists and fixed files of every view.

    Args:
        settings: which form.
        url: the public address of the mirror without a slash at the end, or "".
        rules: whether the host has rules, and finds blobs by them; by default as the profile says.
        templates: own templates of the pages, by file name.
        unknown: views whose files are there, and whose bytes another program or template makes.
        absent: views that are not there.
    """

    def __init__(
        self, settings: ViewSettings, url: str, rules: bool | None = None,
        templates: Mapping[str, str] = MappingProxyType({}), unknown: Collection[str] = (),
        absent: Collection[str] = (),
    ) -> None:  # fmt: skip
        self._settings = settings
        self._rules = settings.profile == "full" if rules is None else rules
        # A host without rules knows neither the media types nor the addresses of a registry.
        oci = settings.oci and settings.profile == "full"
        self._oci = oci
        given = Settings(
            url, settings.dialect, settings.helm, oci, settings.artifacthub, settings.pages,
            settings.look, templates,
        )  # fmt: skip
        self._own = digest_of_templates(templates)
        self._unknown = unknown
        views = (make(given) for make in VIEWS)
        self._views = [view for view in views if view.name not in absent]
        self._url = url
        self._uses_facts = any(view.uses_facts for view in self._views)
        self._of_top = {top: view for view in self._views for top in view.tops}

    @property
    def fingerprint(self) -> str:
        """Differs whenever the same catalog would give other files."""
        # The search was a part of the pages once, and has their version.
        named = (view for view in self._views if view.name != Search.name)
        views = " ".join(f"{view.name}/{view.version}" for view in named)
        form = f"{self._rules} {self._own} {encode(self._settings).decode()}"
        return f"{VERSION} {views} {self._url} {form}"

    @property
    def has_oci(self) -> bool:
        """Whether it answers as an OCI registry."""
        return self._oci

    def keeps(self, path: str) -> bool:
        """Whether a file of the site is somebody else's, to be left alone."""
        return any(fnmatchcase(path, pattern) for pattern in self._settings.keep)

    # -- what is rendered --

    def load(
        self, catalog: CatalogReader, document: PackageDocument, archives: Archives | None
    ) -> Package:
        """A package as the views see it; its facts are read only if a view looks at them."""
        return Package(document, catalog.facts(document) if self._uses_facts else {}, archives)

    def package(self, package: Package | None) -> list[Resource]:
        """Every file of one package, leaves first; none for None."""
        if package is None:
            return []
        return [r for view in self._views for r in self._adapted(view.package(package))]

    def entries(self, packages: Iterable[Package]) -> ViewEntries:
        """The entries of every view."""
        found: ViewEntries = {view.name: {} for view in self._views}
        for package in packages:
            for view in self._views:
                if (entry := view.entry(package)) is not None:
                    found[view.name][package.document.package] = entry
        return found

    def moved(self, name: str, old: Package | None, new: Package | None) -> ViewChanges:
        """What changed in the entries of a package."""
        # One package after the other: views keep what they worked out of the last one.
        before, after = (self.entries([each] if each else []) for each in (old, new))
        return {v: {name: (before[v].get(name), after[v].get(name))} for v in before}

    def read_entries(self, catalog: CatalogReader, tree: Node) -> ViewGroups:
        """The entries of every view at a revision, out of all its documents."""
        documents = catalog.documents(catalog.packages(tree))
        packages = (self.load(catalog, document, None) for document in documents)
        return self.grouped(self.entries(packages))

    def grouped(self, entries: ViewEntries) -> ViewGroups:
        """Entries of all packages that are in memory."""
        return {v.name: Grouped(v, entries.get(v.name, {})) for v in self._views}

    def edited(self, before: ViewGroups, moved: ViewChanges) -> dict[str, Edited]:
        """The entries after a change."""
        return {v.name: Edited(v, before[v.name], moved.get(v.name, {})) for v in self._views}

    @property
    def row_types(self) -> dict[str, tuple[Any, Any]]:
        """The types of rows and summaries of every view; they can be written as JSON."""
        return {view.name: (view.row_type, view.summary_type) for view in self._views}

    def lists(
        self, groups: ViewGroups, moved: ViewChanges | None, root: CatalogRoot
    ) -> list[Resource]:
        """The lists that a change touches, None for all of them, as they are at a revision."""
        return list(self._adapted(self._lists(groups, moved, root)))

    def all_lists(self, groups: ViewGroups, root: CatalogRoot) -> list[Resource]:
        """Every list, as it is for these entries at a revision."""
        return self.lists(groups, None, root)

    def _lists(
        self, groups: ViewGroups, moved: ViewChanges | None, root: CatalogRoot
    ) -> Iterator[Resource]:
        for view in self._views:
            changes = None if moved is None else moved.get(view.name, {})
            yield from view.lists(groups[view.name], changes, root)

    def list_changes(
        self, before: tuple[ViewGroups, CatalogRoot], after: tuple[ViewGroups, CatalogRoot],
        moved: ViewChanges,
    ) -> Iterator[Resource | str]:  # fmt: skip
        """The ``lists`` that differ in two states, each its entries and its revision.

        First the files to write, leaves first; then, as paths, those to remove, pointers first.
        Of all these bytes, one list's are held at a time.
        """
        (old, old_root), (new, new_root) = before, after
        was = {
            r.path: (_in_short(r), [_in_short(form) for form in self._adapted([r], named=True)])
            for r in self._lists(old, moved, old_root)
        }
        kept: set[str] = set()
        for resource in self._lists(new, moved, new_root):
            former, forms = was.get(resource.path, (None, []))
            if former == _in_short(resource):
                kept.update(form.path for form in forms)
                continue
            known = {form.path: form for form in forms}
            for form in self._adapted([resource]):
                kept.add(form.path)
                if known.get(form.path) != form:
                    yield form
        for _, forms in reversed(was.values()):
            yield from (form.path for form in reversed(forms) if form.path not in kept)

    def fixed(self) -> list[Resource]:
        """What does not depend on what the mirror holds."""
        resources = [r for view in self._views for r in self._adapted(view.fixed())]
        if self._settings.profile == "plain":
            # GitHub Pages leaves out what begins with "_" or "." where this is not there.
            resources.append(Resource(NO_JEKYLL, b"", "text/plain"))
        return resources

    # -- files by their paths --

    def _view_of(self, path: str) -> View | None:
        return self._of_top.get(path.partition("/")[0]) or self._of_top.get(path)

    def has_top(self, path: str) -> bool:
        """Whether a path is below one of the names that are views'."""
        return self._view_of(path) is not None

    def renders(self, path: str) -> bool:
        """Whether the bytes of a view's file are known here."""
        view = self._view_of(path)
        return view is None or view.name not in self._unknown

    def rank(self, path: str) -> int:
        """When a file may be written: only after all of a lower rank."""
        view = self._view_of(path)
        return view.rank(path) if view else LISTS_RANK

    def package_in(self, path: str) -> str | None:
        """The package whose file this is; None for lists and the rest."""
        view = self._view_of(path)
        return view.package_in(path) if view else None

    def address(self, path: str) -> str | None:
        """The address at which a file answers on a server with rules."""
        view = self._view_of(path)
        return view.address(path) if view else path

    def files_of(self, address: str) -> list[str]:
        """The files that may answer an address; the first that is there does."""
        view = self._view_of(address)
        return view.files_of(address) if view else []

    def left_out(self, package: Package) -> list[str]:
        """What of a package some clients cannot have, and why."""
        return [text for view in self._views for text in view.left_out(package)]

    @staticmethod
    def too_large(lists: Iterable[Resource]) -> list[str]:
        """The indexes that Helm's clients read slowly, and what to do."""
        return [
            f"{r.path} has {len(r.body)} bytes, which every 'helm repo update' reads: split the "
            "namespace, or give jobs the index of one package"
            for r in lists
            if isinstance(r.body, bytes) and r.path.startswith("helm/") and len(r.body) > WARN_FROM
        ]

    def _adapted(self, resources: Iterable[Resource], named: bool = False) -> Iterator[Resource]:
        """All forms of these files; ``named``: compressed ones have their names only, no bytes."""
        plain = self._settings.profile == "plain"
        base64 = plain and self._settings.plain_pull == "json"
        for resource in resources:
            if resource.by_rule and self._rules:
                continue
            if self._settings.precompress and not plain:
                yield from precompressed(resource, named)
            if base64 and resource.path.endswith("/pull"):
                continue  # its base64 form takes the path
            yield resource
            if plain and resource.path.endswith("/index.json"):
                yield page_of(resource)
            if base64 and resource.path.endswith("/pull.json"):
                yield Resource(resource.path[:-5], resource.body)


def _in_short(resource: Resource) -> Resource:
    """The same, with the digest of its bytes in their place."""
    body = resource.body
    if not isinstance(body, bytes):
        return resource
    return msgspec.structs.replace(resource, body=Descriptor.of(body))


def reversed_changes(moved: ViewChanges) -> ViewChanges:
    """What leads back."""
    return {
        view: {package: (new, old) for package, (old, new) in each.items()}
        for view, each in moved.items()
    }


def entries_of(moved: ViewChanges) -> ViewEntries:
    """The entries after changes from nothing."""
    return {
        view: {package: new for package, (_, new) in each.items() if new is not None}
        for view, each in moved.items()
    }


def add_entries(found: dict[str, dict[str, T]], more: Mapping[str, Mapping[str, T]]) -> None:
    """Put in the entries of further packages, or what changed in them."""
    for view, each in more.items():
        found.setdefault(view, {}).update(each)


def changes(old: Iterable[Resource], new: Iterable[Resource]) -> tuple[list[Resource], list[str]]:
    """What to write and what to remove, to come from the one state to the other.

    Writes are in the order of ``new`` (leaves first), removals in the reverse order of ``old``
    (pointers first). The same path twice in one state is a bug of a renderer.
    """
    before = _by_path(old)
    after = _by_path(new)
    puts = [r for path, r in after.items() if before.get(path) != r]
    return puts, [path for path in reversed(before) if path not in after]


def _by_path(resources: Iterable[Resource]) -> dict[str, Resource]:
    result: dict[str, Resource] = {}
    for resource in resources:
        if resource.path in result:
            raise AssertionError(f"two renderers want {resource.path}")
        result[resource.path] = resource
    return result
