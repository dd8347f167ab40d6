"""Remove what only old revisions need."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from datetime import timedelta
from itertools import takewhile
from pathlib import Path

import msgspec

from cnrmirror.catalog.needed import needed
from cnrmirror.catalog.retire import Revision
from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
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
        retained = _retained(project, revisions, limit)
        floor, superseded = _floor(project, retained[-1][1].revision, limit.at.timestamp())
        keep = reachable(project.catalog, retained)
        files = [
            *unreached(_catalog_files(project), keep, limit.at.timestamp()),
            *((str(path), path.stat().st_size) for path in superseded),
        ]
        if files and not dry_run:
            _sign(project, floor, now)
            for path, _ in files:
                os.unlink(path)
    return Garbage(files)


def reachable(catalog: CatalogReader, revisions: Iterable[Revision]) -> set[str]:
    """The digests of all that these revisions need, the catalog roots among them."""
    found: set[str] = set()
    for at, root in revisions:
        found.add(at.digest)
        found.update(node.digest for node in catalog.nodes(root.tree))
        for ref in catalog.packages(root.tree):
            if ref.digest not in found:
                found.add(ref.digest)
                found.update(needed(catalog.document(ref)))
    return found


def unreached_paths(project: Project, revisions: Iterable[Revision]) -> list[str]:
    """The files of the catalog that none of these revisions needs, as paths below the site."""
    keep = reachable(project.catalog, revisions)
    return [
        os.path.relpath(path, project.site)
        for path, digest, _ in _catalog_files(project)
        if digest not in keep
    ]


def unreached(
    files: Iterable[tuple[str, str, os.stat_result]], keep: Container[str], before: float
) -> Iterator[tuple[str, int]]:
    """Path and size of every file (path, digest, stat) that is not to be kept.

    Args:
        before: seconds; what was written later stays.
    """
    for path, digest, status in files:
        if digest not in keep and status.st_mtime < before:
            yield path, status.st_size


def _retained(project: Project, number: int, limit: Instant) -> list[Revision]:
    """The revisions that stay, newest first: the current one, and those up to the first that goes.

    A mirror that follows another keeps what is kept there.
    """
    follows, there = bool(project.config.follow), project.metadata.timestamp().kept.revision

    def stays(numbered: tuple[int, Revision]) -> bool:
        position, (at, root) = numbered
        enough = root.revision < there if follows else position >= number
        return position == 0 or not enough or _is_young(project, at, root, limit)

    history = enumerate(project.catalog.history(project.head().catalog))
    return [revision for _, revision in takewhile(stays, history)]


def _is_young(project: Project, at: Descriptor, root: CatalogRoot, limit: Instant) -> bool:
    """Whether a revision is of the grace period, by what it says or by its file's time."""
    written = os.stat(project.store.root_path(at.digest)).st_mtime
    return written >= limit.at.timestamp() or root.time >= str(limit)


def _floor(project: Project, oldest: int, before: float) -> tuple[RetentionFloor, list[Path]]:
    """From where on the signed files stay, and those that go."""
    metadata = project.metadata
    floor = metadata.timestamp().kept
    if project.config.follow:
        return floor, metadata.below(floor, before)
    catalog, snapshot, superseded = metadata.superseded(before)
    return RetentionFloor(catalog, snapshot, oldest, floor.root), superseded


def _catalog_files(project: Project) -> Iterator[tuple[str, str, os.stat_result]]:
    """Every file of the catalog but the metadata; what names others comes first."""
    for what in ("targets", "nodes", "blobs"):
        yield from project.store.walk(what)


def _sign(project: Project, floor: RetentionFloor, now: str) -> None:
    """Say what is kept. Raises NotTrusted."""
    if project.config.follow:
        return
    if project.signer is None:
        raise NotTrusted("no online keys were found to sign what is kept: see 'keys list'")
    if floor != project.metadata.timestamp().kept:
        project.signer.keep_from(floor, now)
