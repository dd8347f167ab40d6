"""Remove what only old revisions need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

import msgspec

from cnrmirror.catalog.tree import Catalog
from cnrmirror.mirror.project import Project
from cnrmirror.model.documents import CatalogRoot, RetentionFloor
from cnrmirror.model.errors import NotTrusted
from cnrmirror.model.instant import Instant


class Garbage(msgspec.Struct, frozen=True):
    """Files that nothing needs any more: paths and their sizes in bytes."""

    files: list[tuple[str, int]]

    @property
    def size(self) -> int:
        return sum(size for _, size in self.files)


def collect(
    project: Project, revisions: int, grace_hours: float, now: str, dry_run: bool
) -> Garbage:
    """Remove what neither the last ``revisions`` nor those of the last ``grace_hours`` reach.

    What is younger than the grace period stays in any case. The timestamp says first from which
    revision on everything is kept, so that nobody takes a collected file for a lost one. A mirror
    that follows another keeps what is kept there, and has nothing to sign.

    Raises:
        NotTrusted: no key to sign that with.
    """
    limit = Instant.parse(now).plus(-timedelta(hours=grace_hours))
    with project.writing():
        keep: set[str] = set()
        oldest = project.root().revision
        before = project.metadata.timestamp().kept
        follows = bool(project.config.follow)
        for number, (at, root) in enumerate(project.catalog.history(project.head().catalog)):
            young = os.stat(project.store.root_path(at.digest)).st_mtime >= limit.at.timestamp()
            young = young or root.time >= str(limit)
            enough = root.revision < before.revision if follows else number >= max(1, revisions)
            if enough and not young:
                break
            keep.add(at.digest)
            keep.update(reachable(project.catalog, root, keep))
            oldest = root.revision
        garbage = [
            (path, status.st_size)
            for what in ("targets", "nodes", "blobs")
            for path, digest, status in project.store.walk(what)
            if digest not in keep and status.st_mtime < limit.at.timestamp()
        ]
        if follows:
            kept, old = before, project.metadata.below(before, limit.at.timestamp())
        else:
            catalog, snapshot, old = project.metadata.superseded(limit.at.timestamp())
            kept = RetentionFloor(catalog, snapshot, oldest, before.root)
        garbage += [(str(path), path.stat().st_size) for path in old]
        if not dry_run and garbage:
            if project.signer is None and not follows:
                raise NotTrusted("no keys are at hand to sign with what is kept")
            if kept != before and project.signer is not None:
                project.signer.keep_from(kept, now)
            for file, _ in garbage:
                os.unlink(file)
        return Garbage(garbage)


def reachable(catalog: Catalog, root: CatalogRoot, known: set[str]) -> Iterator[str]:
    """The digests of all nodes and blobs that a revision needs; ``known`` ones are not read."""
    for node in catalog.nodes(root.tree):
        yield node.digest
    for ref in catalog.packages(root.tree):
        if ref.digest not in known:
            yield ref.digest
            for release in catalog.document(ref).releases:
                yield release.blob.digest
