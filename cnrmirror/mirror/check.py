"""Check: every digest of the catalog, and every view against what the catalog says."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Literal

import msgspec

from cnrmirror.mirror.build import add_entries
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor, verified
from cnrmirror.model.documents import PackageDocument
from cnrmirror.model.errors import DamageError, DigestMismatch
from cnrmirror.model.progress import stage
from cnrmirror.model.resource import Resource
from cnrmirror.views.cnr_v1 import ListEntry
from cnrmirror.views.cnr_v1 import list_entry as row
from cnrmirror.views.site import ViewEntries, changes_of

Problem = Literal["missing", "size", "digest", "extra"]


class Finding(msgspec.Struct, frozen=True, order=True):
    """One file that is not as it must be."""

    path: str
    problem: Problem


class CheckReport(msgspec.Struct, frozen=True):
    """What a check saw. ``notes`` are oddities that came from upstream: no damage."""

    revision: int
    packages: int
    releases: int
    blobs: int
    files: int
    findings: list[Finding]
    notes: list[str]


def check(project: Project) -> CheckReport:
    """Read everything once and compare; changes nothing but finishing what was interrupted.

    Raises:
        DamageError: the head or the tree itself cannot be read.
    """
    with project.writing_if_possible():
        head = project.head()
        builder = project.builder
        findings: list[Finding] = []
        notes: list[str] = []
        expected: set[str] = set()
        rows: dict[str, ListEntry] = {}
        entries: ViewEntries = {}
        blobs: dict[str, Descriptor] = {}

        def compare(resources: list[Resource]) -> None:
            for resource in resources:
                expected.add(resource.path)
                try:
                    problem = builder.tree.differs(resource, builder.same_blob)
                except DamageError:
                    problem = "digest"  # its blob is reported by itself
                if problem:
                    findings.append(Finding(resource.path, problem))  # type: ignore[arg-type]

        refs = list(project.catalog.packages(project.tree()))
        with stage(project.progress, "Checking packages", len(refs)) as progress:
            for ref in refs:
                try:
                    document = project.catalog.document(ref)
                except DigestMismatch as error:
                    problem = "size" if "bytes" in str(error.details["expected"]) else "digest"
                    findings.append(Finding(_inside(project, error.details["where"]), problem))  # type: ignore[arg-type]
                    continue
                except DamageError:
                    path = project.store.node_path(ref.digest)
                    findings.append(Finding(_inside(project, path), "missing"))
                    continue
                package = builder.views.load(project.catalog, document)
                compare(builder.views.package(package))
                add_entries(entries, builder.views.entries([package] if package else []))
                blobs.update({blob.digest: blob for blob in document.blobs()})
                notes += _contradictions(document)
                found = row(document)
                if found:
                    rows[ref.name] = found
                progress.advance()
        names = [ref.name for ref in refs]
        compare(builder.views.lists(entries, changes_of({}, entries, names)))
        compare(builder.views.fixed())
        findings += [Finding(path, "extra") for path in builder.extra(expected)]
        findings += _check_blobs(project, blobs)
        findings += _check_nodes(project, blobs)
        return CheckReport(
            head.revision,
            len(rows),
            sum(len(r.releases) for r in rows.values()),
            len(blobs),
            len(expected),
            sorted(set(findings)),
            notes,
        )


def _inside(project: Project, path: str) -> str:
    return os.path.relpath(path, project.site)


def _contradictions(document: PackageDocument) -> list[str]:
    return [
        f"{document.package}@{r.release} ({r.media_type}): its manifest says {r.content.size} "
        f"bytes, its archive has {r.blob.size}"
        for r in document.releases
        if r.content.size != r.blob.size
    ] + [
        f"{document.package}@{r.release} ({r.media_type}): {', '.join(r.flags)}"
        for r in document.releases
        if r.flags
    ]


def _check_blobs(project: Project, blobs: dict[str, Descriptor]) -> list[Finding]:
    findings = []
    with stage(project.progress, "Checking blobs", len(blobs)) as progress:
        for blob in blobs.values():
            path = project.store.blob_path(blob.digest)
            problem = _blob_problem(path, blob)
            if problem:
                findings.append(Finding(_inside(project, path), problem))
            progress.advance()
    return findings


def _blob_problem(path: str, blob: Descriptor) -> Problem | None:
    try:
        if os.stat(path).st_size != blob.size:
            return "size"
        with open(path, "rb") as stream:
            for _ in verified(stream, blob, path):
                pass
    except FileNotFoundError:
        return "missing"
    except DigestMismatch:
        return "digest"
    return None


def _check_nodes(project: Project, known: Collection[str]) -> list[Finding]:
    """Every file of the catalog is named by its digest, also those that only old revisions need."""
    findings = []
    for what in ("nodes", "blobs", "targets"):
        for path, digest, status in project.store.walk(what):
            if not digest:
                findings.append(Finding(_inside(project, path), "extra"))
            elif what != "blobs" or digest not in known:
                problem = _blob_problem(path, Descriptor(digest, status.st_size))
                if problem:
                    findings.append(Finding(_inside(project, path), problem))
    return findings
