"""Packages looked at by another process: what it finds good is noted, the rest is looked at again.

A chunk and its answer are JSON; whoever does it knows of the mirror only what the chunk says. It
needs no credentials but those, in its environment, of a place that not everybody may read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from cnrmirror.audit.journal import Noted
from cnrmirror.audit.look import Look, key_of
from cnrmirror.audit.place import site_at
from cnrmirror.audit.views import is_form, is_note
from cnrmirror.bundle.places import reader_for
from cnrmirror.crew.crew import Crew, Job, Words, answer, answer_of, helped
from cnrmirror.model import typed
from cnrmirror.model.documents import PackageRef
from cnrmirror.model.errors import InvalidDocument, StorageError
from cnrmirror.objects.base import Reader
from cnrmirror.objects.parallel import in_parallel, threads
from cnrmirror.objects.scheme import Settings, scheme_of
from cnrmirror.views.site import Site, ViewSettings

_SIZE, _PARALLEL = 50, 4
_NOTHING = msgspec.Raw(b"null")


class Scouts(NamedTuple):
    """Processes that look at packages of a mirror, and what they are to read it from.

    Args:
        source: as ``reader_for`` takes it; with ``access`` a bucket, or a folder of objects.
        access: what of that is not in its address.
    """

    crew: Crew
    source: str
    access: Settings | None = None


class Seen(msgspec.Struct, frozen=True):
    """What came of a chunk: notes of its packages that are good.

    ``failed``: why the worker itself could not look; then there are no notes.
    """

    good: list[Noted] = []
    failed: Words = ""


class Chunk(msgspec.Struct, frozen=True):
    """Packages to look at.

    Args:
        source: see ``Scouts``.
        settings: those of the catalog root.
        with_views: compare the views, too.
        templates, pages: see ``Order``.
        refs: the packages.
        access: see ``Scouts``; of the kind that the source's address has.
    """

    source: str
    settings: dict[str, Any]
    with_views: bool
    templates: dict[str, str]
    pages: bool
    refs: list[PackageRef]
    access: msgspec.Raw = _NOTHING

    def access_of_source(self) -> Settings | None:
        """See ``Scouts``. Raises msgspec.ValidationError if it is of another kind."""
        if self.access == _NOTHING:
            return None
        found: Settings = typed.decode(self.access, type(scheme_of(self.source).plain))
        return found

    def reader(self) -> Reader:
        """Reads the mirror. Raises InputError."""
        access = self.access_of_source()
        if access is None:
            return reader_for(self.source)
        return scheme_of(self.source).reader(self.source, access)


def chunks(
    scouts: Scouts, settings: dict[str, Any], with_views: bool, templates: Mapping[str, str],
    pages: bool, refs: Sequence[PackageRef],
) -> list[Chunk]:  # fmt: skip
    """The packages in parts; for the rest see ``Chunk``."""
    access = msgspec.Raw(msgspec.json.encode(scouts.access))
    told = scouts.source, settings, with_views, dict(templates), pages
    return [Chunk(*told, list(refs[i : i + _SIZE]), access) for i in range(0, len(refs), _SIZE)]


def scouted(
    scouts: Scouts, parts: Sequence[Chunk], tell: Callable[[str], object]
) -> Iterator[tuple[Chunk, Seen]]:
    """What came of each chunk, in the order in which they are done; see ``helped``."""
    job: Job[Chunk, Seen] = Job(scout, msgspec.json.encode, _seen, _leave)
    return helped(scouts.crew, job, parts, "packages", lambda chunk: len(chunk.refs), tell)


def _seen(chunk: Chunk, data: bytes) -> Seen:
    """What an answer says. Whoever gave it may lie: it must be one to this chunk.

    Raises:
        InvalidDocument: it is none.
        StorageError: the worker could not look.
    """
    seen = answer_of(data, Seen, len(chunk.refs))
    if seen.failed:
        raise StorageError(seen.failed)
    keys = {key_of(ref, chunk.with_views) for ref in chunk.refs}
    for noted in seen.good:
        known = all(map(is_form, (*noted.forms, *noted.lacking))) and all(map(is_note, noted.notes))
        if noted.key not in keys or not known:
            raise InvalidDocument("notes of what it was not asked for")
    return seen


def _leave(data: bytes) -> bytes:
    """A chunk that no worker could look at: what is not found good is read by whoever asked."""
    return msgspec.json.encode(Seen())


def scout(data: bytes) -> bytes:
    """Look at a chunk: JSON in, JSON out (``Seen``); never an error."""

    def look() -> Seen:
        chunk = typed.decode(data, Chunk)
        with contextlib.closing(chunk.reader()) as reader:
            return Seen(list(_good(chunk, reader)))

    return answer(look, lambda why: Seen(failed=why))


def _good(chunk: Chunk, reader: Reader) -> Iterator[Noted]:
    site = Site(ViewSettings(precompress=False), "")
    if chunk.with_views:
        site, _ = site_at(reader, chunk.settings, chunk.templates, chunk.pages)
    look = Look(reader, site, chunk.with_views)
    with threads(_PARALLEL) as executor:
        for ref, (package, part) in zip(
            chunk.refs, in_parallel(look.at, chunk.refs, executor), strict=True
        ):
            if package is not None and not part.all_findings:
                yield part.views.noted(look.key(ref))
