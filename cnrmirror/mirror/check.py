"""Check: every digest of the catalog, and every view against what the catalog says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import msgspec

from cnrmirror import __version__
from cnrmirror.catalog.needed import blobs_of
from cnrmirror.crew.crew import Crew
from cnrmirror.mirror.checkpart import (
    NO_FILE,
    compared,
    good_archives,
    good_packages,
    trouble_of,
    trouble_with,
)
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, PackageDocument, PackageRef
from cnrmirror.model.errors import DamageError, DigestMismatch, InputError
from cnrmirror.model.evidence import Checked, SignedFile, Unchecked
from cnrmirror.model.finding import Finding
from cnrmirror.model.flags import meaning_of
from cnrmirror.model.progress import stage
from cnrmirror.model.resource import Resource
from cnrmirror.model.signed import SignedHead
from cnrmirror.objects.modes import closed_note
from cnrmirror.trust.chain import read_role
from cnrmirror.views.base import Package
from cnrmirror.views.site import ViewEntries, add_entries

_MOST_LEFT_OUT = 20
_HEAD = 4
"""The signed files that say what the mirror stands at: timestamp, snapshot, targets, catalog."""


class CheckReport(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="cnrmirror-check"
):
    """What a check saw. ``notes`` are oddities that came from upstream: no damage.

    Args:
        program: the version of cnrmirror that looked.
        registry: the registry's id.
        root: the newest root.
        timestamp: the timestamp in force.
        revision: the number of the revision.
        catalog: the digest of its catalog root.
        packages, releases, blobs, files: what most scripts ask of ``checked``.
        checked: how much was looked at.
        unchecked: what was not looked at.
        findings: what is wrong.
        notes: what is no fault.
    """

    program: str
    registry: str
    root: SignedFile
    timestamp: SignedFile
    revision: int
    catalog: str
    packages: int
    releases: int
    blobs: int
    files: int
    checked: Checked
    unchecked: list[Unchecked]
    findings: list[Finding]
    notes: list[str]


class Seen(msgspec.Struct):
    """What the packages of a revision ask for; filled by ``check_packages``.

    ``views`` are paths below the site; ``documents`` are digests of package documents; ``names``
    are those of packages with releases; ``entries`` are for the lists of views. ``unhelped`` says
    what workers should have looked at, and did not.
    """

    views: set[str] = msgspec.field(default_factory=set)
    documents: set[str] = msgspec.field(default_factory=set)
    blobs: dict[str, Descriptor] = msgspec.field(default_factory=dict)
    names: list[str] = msgspec.field(default_factory=list)
    releases: int = 0
    roots: int = 0
    entries: ViewEntries = msgspec.field(default_factory=dict)
    notes: list[str] = msgspec.field(default_factory=list)
    left_out: list[str] = msgspec.field(default_factory=list)
    large: list[str] = msgspec.field(default_factory=list)
    unhelped: list[str] = msgspec.field(default_factory=list)

    def all_notes(self) -> list[str]:
        """What is no fault: of what a view leaves out, the first are named."""
        more = len(self.left_out) - _MOST_LEFT_OUT
        rest = [f"{more} more releases are in no index: see 'cnrmirror show'"] if more > 0 else []
        left_out = [*self.left_out[:_MOST_LEFT_OUT], *rest]
        return [*self.notes, *self.large, *left_out, *self.unhelped]


def check(project: Project, crew: Crew | None = None) -> CheckReport:
    """Read everything once and compare; changes nothing but finishing what was interrupted.

    Args:
        crew: other processes that look first: what they find good is not compared again.

    Raises:
        DamageError: the head or the tree itself cannot be read.
    """
    with project.writing_if_possible():
        head, signed = project.root(), project.metadata.signed_head()
        seen = Seen()
        findings = list(check_packages(project, seen, crew))
        findings += check_extra(project, seen)
        findings += check_blobs(project, seen, crew)
        findings += check_nodes(project, seen)
        roots = f"{signed.kept.root}.root.json", "timestamp.json"
        root, timestamp = (_signed(project, name) for name in roots)
    checked = _checked(seen)
    return CheckReport(
        program=__version__, packages=checked.packages, releases=checked.releases,
        blobs=checked.blobs, files=checked.views, checked=checked,
        registry=head.registry, root=root,
        timestamp=timestamp, revision=head.revision, catalog=signed.at.digest,
        unchecked=sorted(_unchecked(project, head, signed)),
        findings=sorted(set(findings)), notes=[*seen.all_notes(), *closed_note(project.site)],
    )  # fmt: skip


def _checked(seen: Seen) -> Checked:
    size = sum(blob.size for blob in seen.blobs.values())
    older = max(0, seen.roots - 1)
    return Checked(
        len(seen.names), seen.releases, len(seen.blobs), size, len(seen.views), _HEAD, older
    )


def _unchecked(project: Project, head: CatalogRoot, signed: SignedHead) -> Iterator[Unchecked]:
    yield Unchecked("signatures", "who signed it: 'cnrmirror check --from' verifies that")
    yield Unchecked("metadata", "signed files but for the current ones below the root")
    if head.parent is not None:
        yield Unchecked("history", "whether older revisions are complete: what is there was read")
    if signed.kept.revision > 0:
        floor = signed.kept.revision
        yield Unchecked("retention", f"revisions before {floor} are not retained", floor)


def _signed(project: Project, name: str) -> SignedFile:
    path = project.metadata.path / name
    try:
        return read_role(project.metadata.read(name), str(path)).file
    except InputError as error:
        raise DamageError(f"{error.message}; restore it from a copy") from error


def check_packages(project: Project, seen: Seen, crew: Crew | None = None) -> Iterator[Finding]:
    """Every package document, and every view of it, of all lists, and of what is fixed."""
    views = project.builder.views
    refs = list(project.catalog.packages(project.tree()))
    good = good_packages(project, crew, refs, seen.unhelped.append) if crew else set()
    with stage(project.progress, "Checking packages", len(refs)) as progress:
        for ref in refs:
            seen.documents.add(ref.digest)
            document = _document(project, ref)
            if isinstance(document, Finding):
                yield document
            else:
                yield from _package(project, document, seen, ref.digest in good)
            progress.advance()
    lists = views.all_lists(views.grouped(seen.entries), project.root())
    seen.large += views.too_large(lists)
    yield from _compared(project, lists, seen)
    yield from _compared(project, views.fixed(), seen)


def _package(
    project: Project, document: PackageDocument, seen: Seen, is_good: bool
) -> Iterator[Finding]:
    views = project.builder.views
    _see(document, seen)
    try:
        package = views.load(project.catalog, document, project.store)
    except DamageError:  # its facts are reported by themselves
        package, is_good = Package(document, {}, project.store), False
    package = package.only_named() if is_good else package
    seen.left_out += views.left_out(package)
    add_entries(seen.entries, views.entries([package]))
    resources = views.package(package)
    if is_good:
        seen.views.update(resource.path for resource in resources)
    else:
        yield from _compared(project, resources, seen)


def check_extra(project: Project, seen: Seen) -> Iterator[Finding]:
    """Every file of the site that no view asked for."""
    return (Finding(path, "extra") for path in project.builder.extra(seen.views))


def check_blobs(project: Project, seen: Seen, crew: Crew | None = None) -> Iterator[Finding]:
    """Every blob that the revision needs."""
    left = list(seen.blobs.values())
    if crew:
        good = good_archives(project, crew, left, seen.unhelped.append)
        left = [blob for blob in left if blob.digest not in good]
    with stage(project.progress, "Checking blobs", len(left)) as progress:
        for blob in left:
            yield from _read(project, project.store.blob_path(blob.digest), blob)
            progress.advance()


def check_nodes(project: Project, seen: Seen) -> Iterator[Finding]:
    """Every other file of the catalog, also what only old revisions need, against its name."""
    done = {"nodes": seen.documents, "blobs": seen.blobs.keys(), "targets": ()}
    for what, digests in done.items():
        for path, digest, status in project.store.walk(what):
            if not digest:
                yield Finding(_inside(project, path), "extra")
            elif digest not in digests:
                seen.roots += what == "targets"
                yield from _read(project, path, Descriptor(digest, status.st_size))


def _document(project: Project, ref: PackageRef) -> PackageDocument | Finding:
    path = _inside(project, project.store.node_path(ref.digest))
    try:
        return project.catalog.document(ref)
    except DigestMismatch as error:
        return Finding(path, *trouble_of(error))
    except DamageError:
        return Finding(path, "missing")
    except IsADirectoryError:
        return Finding(path, *NO_FILE)


def _see(document: PackageDocument, seen: Seen) -> None:
    seen.blobs.update({blob.digest: blob for blob in blobs_of(document)})
    seen.notes += _contradictions(document)
    seen.releases += len(document.releases)
    if document.releases:
        seen.names.append(document.package)


def _compared(project: Project, resources: Sequence[Resource], seen: Seen) -> Iterator[Finding]:
    seen.views.update(resource.path for resource in resources)
    return compared(project.builder, resources)


def _read(project: Project, path: str, expected: Descriptor) -> Iterator[Finding]:
    """A file of the catalog that is missing, or not what it must be."""
    if trouble := trouble_with(path, expected):
        yield Finding(_inside(project, path), *trouble)


def _inside(project: Project, path: str) -> str:
    return os.path.relpath(path, project.site)


def _contradictions(document: PackageDocument) -> list[str]:
    return [
        f"{document.package}@{r.release} ({r.media_type}): its manifest says {r.content.size} "
        f"bytes, its archive has {r.blob.size}"
        for r in document.releases
        if r.content.size != r.blob.size
    ] + [
        f"{document.package}@{r.release} ({r.media_type}): {flag}: {meaning_of(flag)}"
        for r in document.releases
        for flag in r.flags
    ]
