"""The unit of work of a check on several processes: a part of the packages, or of the archives.

A part and its answer are JSON, and all that must be known is in the part. Whoever does it says only
what is good: the rest is looked at again by whoever checks, so a finding says what that one saw.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from cnrmirror.catalog.tree import Catalog
from cnrmirror.crew.crew import Crew, Job, Words, answer, answer_of, helped
from cnrmirror.mirror.build import Builder
from cnrmirror.mirror.layout import Layout
from cnrmirror.mirror.project import Project
from cnrmirror.model import typed
from cnrmirror.model.digest import Descriptor, Digest, verified
from cnrmirror.model.documents import PackageRef
from cnrmirror.model.errors import DamageError, DigestMismatch, InvalidDocument, StorageError
from cnrmirror.model.finding import OTHER_BYTES, OTHER_SIZE, Finding, Problem
from cnrmirror.model.progress import NoProgress, stage
from cnrmirror.model.resource import Resource
from cnrmirror.objects.store import Store
from cnrmirror.views.site import Site, ViewSettings

Trouble = tuple[Problem, str]
"""A finding's problem and reason."""
NO_FILE: Trouble = ("wrong", "not a file")
# What SiteTree.differs says, as a finding says it.
_DIFFERS: dict[str, Trouble] = {
    "missing": ("missing", ""),
    "size": ("wrong", OTHER_SIZE),
    "digest": ("wrong", OTHER_BYTES),
}
# The largest parts; of less than four for each worker, the last one would keep the others waiting.
_PACKAGES, _ARCHIVES, _BYTES = 50, 500, 256 << 20
_EACH = 4


# -- how one thing is looked at --


def compared(builder: Builder, resources: Iterable[Resource]) -> Iterator[Finding]:
    """The files of the site that are not what they must be."""
    for resource in resources:
        try:
            how = builder.tree.differs(resource, builder.same_blob)
        except DamageError:
            how = "digest"  # its blob is reported by itself
        if how:
            yield Finding(resource.path, *_DIFFERS[how])


def trouble_with(path: str, expected: Descriptor) -> Trouble | None:
    """Why a file of the catalog is not what it must be; None if it is."""
    try:
        with open(path, "rb") as stream:
            for _ in verified(stream, expected, path):
                pass
    except FileNotFoundError:
        return "missing", ""
    except IsADirectoryError:
        return NO_FILE
    except DigestMismatch as error:
        return trouble_of(error)
    return None


def trouble_of(error: DigestMismatch) -> Trouble:
    """What is said of a file of other bytes."""
    return "wrong", OTHER_SIZE if error.of_size else OTHER_BYTES


# -- a part --


class Part(msgspec.Struct, frozen=True):
    """What is to be looked at.

    Args:
        folder: the mirror's, with its site, as the file system has it.
        views, url, templates: what its views are made from.
        packages: whose documents and views are compared.
        archives: that are read.
    """

    folder: bytes
    views: ViewSettings
    url: str
    templates: dict[str, str]
    packages: list[PackageRef] = []
    archives: list[Descriptor] = []


class Good(msgspec.Struct, frozen=True):
    """What came of a part: the digests of what is good.

    ``failed``: why the worker itself could not look; then there are none.
    """

    digests: list[Digest] = []
    failed: Words = ""


def look(data: bytes) -> bytes:
    """Look at a part: JSON in, JSON out (``Good``); never an error."""
    return answer(lambda: Good(list(_good(typed.decode(data, Part)))), lambda why: Good(failed=why))


def _good(part: Part) -> Iterator[str]:
    layout = Layout(Path(os.fsdecode(part.folder)))
    store = Store(layout.catalog, layout.making)
    catalog = Catalog(store)
    views = Site(part.views, part.url, templates=part.templates)
    builder = Builder(layout, store, catalog, views, NoProgress())
    for ref in part.packages:
        if _is_good(ref, builder, catalog, store):
            yield ref.digest
    for blob in part.archives:
        if trouble_with(store.blob_path(blob.digest), blob) is None:
            yield blob.digest


def _is_good(ref: PackageRef, builder: Builder, catalog: Catalog, store: Store) -> bool:
    try:
        package = builder.views.load(catalog, catalog.document(ref), store)
    except (DamageError, IsADirectoryError):
        return False
    return not any(compared(builder, builder.views.package(package)))


# -- whoever checks --


def good_packages(
    project: Project, crew: Crew, refs: Sequence[PackageRef], tell: Callable[[str], object]
) -> set[str]:
    """The digests of the packages whose documents and views workers found good.

    Args:
        tell: is told what no worker looked at, and why.
    """
    size = max(1, min(_PACKAGES, len(refs) // (_EACH * crew.size)))
    empty = _empty(project)
    parts = (
        msgspec.structs.replace(empty, packages=list(refs[i : i + size]))
        for i in range(0, len(refs), size)
    )
    return _found(project, crew, parts, "packages", len(refs), tell)


def good_archives(
    project: Project, crew: Crew, blobs: Sequence[Descriptor], tell: Callable[[str], object]
) -> set[str]:
    """The same of archives."""
    empty = _empty(project)
    limit = min(_BYTES, sum(blob.size for blob in blobs) // (_EACH * crew.size))
    most = max(1, min(_ARCHIVES, len(blobs) // (_EACH * crew.size)))
    parts = (msgspec.structs.replace(empty, archives=some) for some in _cut(blobs, most, limit))
    return _found(project, crew, parts, "blobs", len(blobs), tell)


def _cut(blobs: Iterable[Descriptor], most: int, limit: int) -> Iterator[list[Descriptor]]:
    """Parts of at most so many archives, and of not many more bytes."""
    found: list[Descriptor] = []
    size = 0
    for blob in blobs:
        if found and (len(found) >= most or size + blob.size > limit):
            yield found
            found, size = [], 0
        found.append(blob)
        size += blob.size
    if found:
        yield found


def _empty(project: Project) -> Part:
    config = project.config
    folder = os.fsencode(project.folder.resolve())
    return Part(folder, config.views, config.url, dict(project.templates))


def _found(
    project: Project, crew: Crew, parts: Iterable[Part], what: str, total: int,
    tell: Callable[[str], object],
) -> set[str]:  # fmt: skip
    found: set[str] = set()
    job: Job[Part, Good] = Job(look, msgspec.json.encode, _answered, _leave)
    with stage(project.progress, f"Checking {what} ({crew.size} workers)", total) as steps:
        for part, good in helped(crew, job, parts, what, _size, tell):
            found.update(good.digests)
            steps.advance(_size(part))
    return found


def _size(part: Part) -> int:
    return len(part.packages) + len(part.archives)


def _answered(part: Part, data: bytes) -> Good:
    """What an answer says. Whoever gave it may lie: it must be one to this part.

    Raises:
        InvalidDocument: it is none.
        StorageError: the worker could not look.
    """
    good = answer_of(data, Good, _size(part))
    if good.failed:
        raise StorageError(good.failed)
    asked = {ref.digest for ref in part.packages} | {blob.digest for blob in part.archives}
    if not asked.issuperset(good.digests):
        raise InvalidDocument("something is good that it was not asked for")
    return good


def _leave(data: bytes) -> bytes:
    """A part that no worker could look at: it is left to whoever checks."""
    return msgspec.json.encode(Good())
