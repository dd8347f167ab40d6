"""Packages looked at by another process: what it finds good is noted, the rest is looked at again.

A chunk and its answer are JSON; whoever does it knows of the mirror only what the chunk says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from typing import Any, NamedTuple

import msgspec

from cnrmirror.audit.journal import Noted
from cnrmirror.audit.look import Look
from cnrmirror.audit.place import site_at
from cnrmirror.bundle.places import reader_for
from cnrmirror.model import typed
from cnrmirror.model.documents import PackageRef
from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.objects.base import Reader
from cnrmirror.objects.parallel import in_parallel, threads
from cnrmirror.views.site import Site, ViewSettings

_SIZE, _PARALLEL = 50, 4


class Scouts(NamedTuple):
    """Processes that look at packages of a mirror, and what they are to read it from."""

    executor: Executor
    source: str


class Chunk(msgspec.Struct, frozen=True):
    """Packages to look at.

    Args:
        source: the mirror, as ``reader_for`` takes it.
        settings: those of the catalog root.
        with_views: compare the views, too.
        templates, pages: see ``Order``.
        refs: the packages.
    """

    source: str
    settings: dict[str, Any]
    with_views: bool
    templates: dict[str, str]
    pages: bool
    refs: list[PackageRef]


def chunks(
    source: str, settings: dict[str, Any], with_views: bool, templates: Mapping[str, str],
    pages: bool, refs: Sequence[PackageRef],
) -> list[Chunk]:  # fmt: skip
    """The packages in parts; for the rest see ``Chunk``."""
    return [
        Chunk(source, settings, with_views, dict(templates), pages, list(refs[i : i + _SIZE]))
        for i in range(0, len(refs), _SIZE)
    ]


def scouted(executor: Executor, parts: Sequence[Chunk]) -> Iterator[tuple[Chunk, list[Noted]]]:
    """The notes of each chunk, in their order; no more of them once a process was killed."""
    found = in_parallel(scout, map(msgspec.json.encode, parts), executor)
    with contextlib.suppress(BrokenExecutor):
        for chunk, notes in zip(parts, found, strict=True):
            yield chunk, typed.decode(notes, list[Noted])


def scout(data: bytes) -> bytes:
    """Look at a chunk: the notes of its packages that are good; none if anything is wrong."""
    found: list[Noted] = []
    with contextlib.suppress(CnrMirrorError):  # whoever asked will see it, too
        chunk = typed.decode(data, Chunk)
        with contextlib.closing(reader_for(chunk.source)) as reader:
            found = list(_good(chunk, reader))
    return msgspec.json.encode(found)


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
