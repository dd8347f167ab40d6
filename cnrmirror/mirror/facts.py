"""Look again into archives whose facts an older program made, or that have none."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import msgspec

from cnrmirror.archive.facts import EXTRACTOR, facts_of
from cnrmirror.archive.inspect import inspect
from cnrmirror.archive.scan import Limits
from cnrmirror.catalog.facts import has_room_for_images
from cnrmirror.mirror.chunks import in_chunks
from cnrmirror.mirror.images import CHART
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import ArchiveFacts, PackageDocument
from cnrmirror.model.errors import DamageError, InputError, UsageError
from cnrmirror.model.progress import stage
from cnrmirror.objects.store import Store

_WORTH_PROCESSES = 200
_CHUNK = 100


class Extracted(msgspec.Struct, frozen=True):
    """What was done: the revision (None if nothing changed), and how many archives were read.

    ``unreadable``: the digests of those that are missing, or no charts that can be read.
    """

    revision: int | None
    archives: int
    unreadable: list[str]


def extract_anew(project: Project, now: str) -> Extracted:
    """Give every chart the facts that this program finds in its archive, as one revision.

    Args:
        now: the time of the revision, ISO 8601, UTC.

    Raises:
        UsageError: the mirror's format cannot keep them.
    """
    with project.signing(now):
        if not has_room_for_images(project.root().format):
            raise UsageError(
                f"{project.folder}: the format of this mirror has no place for the facts that this "
                "program finds; run 'cnrmirror upgrade' first"
            )
        changed: dict[str, PackageDocument | None] = {}
        blobs: dict[Descriptor, None] = {}
        for ref in project.catalog.packages(project.tree()):
            document = project.catalog.document(ref)
            if older := _older(project, document):
                changed[document.package] = document
                blobs |= dict.fromkeys(older)
        looked = dict(_look_into(project, list(blobs)))
        fresh = {digest: facts for digest, facts in looked.items() if facts}
        head = project.commit(changed, "facts of archives", now, fresh)
        unreadable = sorted(digest for digest, facts in looked.items() if facts is None)
        return Extracted(head.revision if head else None, len(looked), unreadable)


def _older(project: Project, document: PackageDocument) -> list[Descriptor]:
    """The archives of charts that this program would see more in."""
    known = project.catalog.facts(document)
    return [
        release.blob
        for release in document.releases
        if release.media_type == CHART
        and (release.blob.digest not in known or known[release.blob.digest].extractor < EXTRACTOR)
    ]


_Looked = tuple[str, ArchiveFacts | None]


def _look_into(project: Project, blobs: Sequence[Descriptor]) -> Iterator[_Looked]:
    limits = project.config.limits
    with stage(project.progress, "Reading archives", len(blobs)) as progress:
        one = functools.partial(_look, project.store, limits)
        some = functools.partial(_look_into_some, project.store, limits)
        yield from in_chunks(blobs, one, some, progress, _WORTH_PROCESSES, _CHUNK)


def _look_into_some(store: Store, limits: Limits, blobs: Sequence[Descriptor]) -> list[_Looked]:
    return [_look(store, limits, blob) for blob in blobs]


def _look(store: Store, limits: Limits, blob: Descriptor) -> _Looked:
    try:
        with store.open_blob(blob) as stream:
            info = inspect(stream, limits)
    except (DamageError, InputError):  # check says more of it
        return blob.digest, None
    # What is damaged tells nothing of what was signed.
    found = facts_of(info.telling, info.clues) if info.blob == blob else None
    return blob.digest, found
