"""Take a release away for good: from the history, too, so that no rollback brings it back.

A revision cannot be changed. So the release is removed, and every older revision goes with all that
only it needs: history begins with the revision that has the tombstone. Killed in between, the same
command goes on.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from cnrmirror.mirror import change
from cnrmirror.mirror.gc import collect
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import ConflictError, NotFoundError
from cnrmirror.model.instant import Instant


class Holding(msgspec.Struct, frozen=True):
    """Where a release is, as far as history is retained.

    ``blobs``: its archives and attachments; ``revisions``: the first and the last one that had it;
    ``current``: whether the current one has it.
    """

    blobs: list[Descriptor]
    revisions: tuple[int, int]
    current: bool


class Purged(msgspec.Struct, frozen=True):
    """What was erased: the blobs, and how many files and bytes with all older revisions."""

    package: str
    release: str
    revision: int
    blobs: list[Descriptor]
    revisions: tuple[int, int]
    files: int
    bytes: int


def holding(project: Project, removal: change.Removal) -> Holding:
    """Where a release is.

    Raises:
        NotFoundError: no retained revision has it.
        ConflictError: other releases that stay have the same bytes.
    """
    numbers: list[int] = []
    blobs: dict[str, Descriptor] = {}
    head = project.root()
    for _, root in project.catalog.history(project.head().catalog):
        document = project.catalog.get(root.tree, removal.package)
        found = removal.meant(document) if document else []
        if found:
            numbers.append(root.revision)
            blobs |= {blob.digest: blob for release in found for blob in release.blobs}
    if not numbers:
        raise NotFoundError(
            f"no retained revision has {removal.package}@{removal.release}; see 'cnrmirror log'"
        )
    shared = _refuse_shared(project, removal, set(blobs))
    kept = [blob for digest, blob in blobs.items() if digest not in shared]
    return Holding(sorted(kept), (min(numbers), max(numbers)), max(numbers) == head.revision)


def _refuse_shared(project: Project, removal: change.Removal, blobs: set[str]) -> set[str]:
    """The attachments that other releases have, too. Raises ConflictError for an archive."""
    attached: set[str] = set()
    for ref in project.catalog.packages(project.tree()):
        document = project.catalog.document(ref)
        going = removal.meant(document) if ref.name == removal.package else []
        for release in document.releases:
            if release in going:
                continue
            if release.blob.digest in blobs:
                raise ConflictError(
                    f"{ref.name}@{release.release} ({release.media_type}) has the same bytes: "
                    "purge that release first"
                )
            attached |= {blob.digest for blob in release.blobs} & blobs
    return attached


def purge(project: Project, removal: change.Removal, now: str) -> Purged:
    """Erase a release: its bytes, and every revision that had it.

    Raises:
        NotFoundError, ConflictError: as ``holding``.
        NotTrusted: a key is missing.
    """
    change.check_reason(removal.reason)
    found = holding(project, removal)
    if found.current:
        change.remove(project, removal, now)
    after = str(Instant.parse(now).plus(timedelta(microseconds=1)))
    garbage = collect(project, 1, 0, after, dry_run=False)
    return Purged(
        removal.package, removal.release, project.root().revision, found.blobs, found.revisions,
        len(garbage.files), garbage.size,
    )  # fmt: skip
