"""What a mirror holds at a place, by kind, and what another choice would change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import get_args

import msgspec

from cnrmirror.catalog.delta import immutable_files, metadata_files
from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.progress import stage
from cnrmirror.model.resource import Alias, Base64Json, Resource
from cnrmirror.model.signed import METADATA, TIMESTAMP
from cnrmirror.objects.scheme import S3, scheme_of
from cnrmirror.publish.open import form_of
from cnrmirror.publish.plan import PUT_PRICE, size_of
from cnrmirror.views.base import Package
from cnrmirror.views.layout import Form as Choice

# Of a byte a month in S3 Standard, from where ``plan`` has its prices.
MONTH_PRICE = 0.023 / (1 << 30)
_VIEWS = {"helm": "helm", "v2": "oci", "cnr": "cnr", "api": "cnr", "version": "cnr"}


class Amount(msgspec.Struct):
    """Files, or objects, and their bytes; a link has none."""

    files: int = 0
    bytes: int = 0

    def add(self, resource: Resource, size: int) -> None:
        """One more."""
        self.files += 1
        self.bytes += size


class Cost(msgspec.Struct, kw_only=True):
    """What stands at a place, if it is brought up to the mirror.

    ``kinds``: by kind: ``archives`` are those of the catalog, ``catalog`` is the rest of it, with
    its history; of each view its documents, archives and base64 forms. ``choices``: what each form
    that the place has not would add, and (negative) what each that it has would leave.
    ``month_dollars``, ``put_dollars``: at S3's list price; 0 for folders.
    """

    place: str
    releases: int = 0
    kinds: dict[str, Amount] = {}
    all: Amount = msgspec.field(default_factory=Amount)
    times_archives: float = 0
    files_a_release: float = 0
    choices: dict[str, Amount] = {}
    left_out: list[str] = []
    month_dollars: float = 0
    put_dollars: float = 0


def cost_here(project: Project) -> Cost:
    """What the mirror's own site holds: archives are hard links, and other names symlinks."""
    cost = Cost(place="site")

    def size(resource: Resource) -> int:
        in_catalog = resource.path.startswith("catalog/")
        return size_of(resource) if in_catalog or not isinstance(resource.body, Descriptor) else 0

    site = project.views
    _count(cost, _catalog(project), size)
    for package in _packages(project, cost):
        _count(cost, site.package(package), size)
    root = project.root()
    _count(cost, site.all_lists(site.read_entries(project.catalog, root.tree), root), size)
    _count(cost, site.fixed(), size)
    return _summed(cost)


def cost_at(project: Project, target: PublishTo) -> Cost:
    """What a destination holds, whatever is there now: nothing is asked of it."""
    forms = target.wanted
    form = form_of(project, target)
    cost = Cost(place=target.to, left_out=form.left_out)
    others: dict[str, list[Choice]] = {}
    if form.left_out or forms:  # else everything is there, by links
        others = {
            each: [f for f in forms if f != each] if each in forms else [*forms, each]
            for each in get_args(Choice)
        }
    plain = msgspec.structs.replace(target, pull="archive", bare_prefix=False)
    apart = {
        name: (form_of(project, msgspec.structs.replace(plain, forms=chosen)), Amount())
        for name, chosen in others.items()
    }
    root = project.root()
    _count(cost, _catalog(project), size_of)
    catalog = Amount(cost.all.files, cost.all.bytes)
    groups = form.site.read_entries(project.catalog, root.tree)
    same = {
        name
        for name, (other, _) in apart.items()
        if other.site.fingerprint == form.site.fingerprint
    }
    for package in _packages(project, cost):
        rendered = form.site.package(package)
        _count(cost, form.placed(rendered), size_of)
        for name, (other, amount) in apart.items():
            _add(amount, other.placed(rendered) if name in same else other.package(package))
    _count(cost, form.all_lists(groups, root), size_of)
    _count(cost, form.fixed(), size_of)
    for name, (other, amount) in apart.items():
        _add(amount, other.all_lists(groups, root))
        _add(amount, other.fixed())
        more = Amount(
            amount.files + catalog.files - cost.all.files,
            amount.bytes + catalog.bytes - cost.all.bytes,
        )
        cost.choices[name] = more
    found = _summed(cost)
    if scheme_of(target.to) is S3:
        found.month_dollars = found.all.bytes * MONTH_PRICE
        found.put_dollars = found.all.files * PUT_PRICE
    return found


def _packages(project: Project, cost: Cost) -> Iterator[Package]:
    """Every package, as views see it."""
    root = project.root()
    catalog, site = project.catalog, project.views
    with stage(project.progress, f"Counting {cost.place}", root.packages) as steps:
        for document in catalog.documents(catalog.packages(root.tree)):
            cost.releases += len(document.releases)
            yield site.load(catalog, document, project.store)
            steps.advance()


def _catalog(project: Project) -> Iterator[Resource]:
    head = project.metadata.signed_head()
    for files in immutable_files(project.store, CatalogReader(project.store), head, None):
        yield from files
    yield from metadata_files(project.metadata, head, None)
    yield Resource(TIMESTAMP, head.timestamp)


def _count(cost: Cost, resources: Iterable[Resource], size: Callable[[Resource], int]) -> None:
    for resource in resources:
        found = size(resource)
        cost.kinds.setdefault(_kind(resource), Amount()).add(resource, found)
        cost.all.add(resource, found)


def _add(amount: Amount, resources: Iterable[Resource]) -> None:
    for resource in resources:
        amount.add(resource, size_of(resource))


def _kind(resource: Resource) -> str:
    top, _, below = resource.path.partition("/")
    if top == "catalog":
        if below.startswith("blobs/"):
            return "archives"
        return "signed files" if resource.path.startswith(METADATA) else "catalog"
    view = _VIEWS.get(top, "pages")
    if resource.redirect:
        return f"{view}: redirects"
    match resource.body:
        case Alias():
            return f"{view}: links"
        case Descriptor():
            return f"{view}: archives"
        case Base64Json():
            return f"{view}: base64"
        case _:
            return f"{view}: documents" if view != "pages" else view


def _summed(cost: Cost) -> Cost:
    cost.kinds = dict(sorted(cost.kinds.items()))
    archives = cost.kinds.get("archives", Amount()).bytes
    cost.times_archives = round(cost.all.bytes / archives, 2) if archives else 0
    cost.files_a_release = round(cost.all.files / cost.releases, 2) if cost.releases else 0
    return cost
