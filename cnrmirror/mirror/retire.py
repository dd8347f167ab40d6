"""Retention, applied while revisions are made: old ones go, in batches.

The floor is signed first, with the revision that is made, and the views follow; then files go. A
list of them lets the next command end what a killed one began.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cnrmirror.catalog.delta import revisions_from
from cnrmirror.catalog.metadata import MetadataFolder
from cnrmirror.catalog.retire import Revision, retired_files
from cnrmirror.catalog.tree import Catalog, Nodes
from cnrmirror.mirror.layout import Layout
from cnrmirror.model import typed
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, RetentionFloor
from cnrmirror.model.instant import Instant
from cnrmirror.model.signed import METADATA
from cnrmirror.objects.files import replace_durably

_LEAST_BATCH = 50
_MOST_AT_ONCE = 1000


class Retirement(msgspec.Struct, frozen=True):
    """Files that go once the timestamp says ``floor``: paths below the site."""

    floor: RetentionFloor
    paths: list[str]


def is_due(head: CatalogRoot, floor: RetentionFloor, window: int) -> bool:
    """Whether it is time to look what may go: once in half a window, or in an eighth of a long one.

    Args:
        head: the revision that is made.
        floor: what is retained up to now.
        window: how many revisions stay in any case.
    """
    held = head.revision - floor.revision
    batch = max(_LEAST_BATCH, window // 2, held // 8)
    return held > window and head.revision % batch == 0


def retirement(
    catalog: Catalog, metadata: MetadataFolder, at: Descriptor, window: int, limit: Instant
) -> Retirement | None:
    """What may go once ``at`` is the current revision; None if nothing may.

    Args:
        catalog: has every revision from the floor on.
        metadata: the signed files.
        at: the catalog root that becomes current.
        window: how many revisions stay in any case.
        limit: what is not older than this stays.
    """
    before = metadata.timestamp().kept
    chain = revisions_from(catalog, at, before.revision)[::-1]
    number = _going(chain, window, limit)
    if not number:
        return None
    lowest = metadata.superseded_before(limit)
    floor = RetentionFloor(lowest["catalog"], lowest["snapshot"], chain[number][1].revision)
    return between(catalog.store, chain, before, floor)


def between(
    nodes: Nodes, chain: Sequence[Revision], before: RetentionFloor, floor: RetentionFloor
) -> Retirement:
    """What goes when the floor moves.

    Args:
        nodes: reads every revision of the chain.
        chain: the revisions from the old floor to the head, oldest first.
        before: the old floor.
        floor: the new one.
    """
    roles = (("catalog", before.catalog, floor.catalog),
             ("snapshot", before.snapshot, floor.snapshot))  # fmt: skip
    superseded = [
        f"{METADATA}/{version}.{role}.json"
        for role, first, last in roles
        for version in range(first, last)
    ]
    number = sum(root.revision < floor.revision for _, root in chain)
    garbage = retired_files(nodes, chain[:number], chain[number:]) if number else []
    return Retirement(floor, [*superseded, *garbage])


def _going(chain: list[Revision], window: int, limit: Instant) -> int:
    """How many of the oldest revisions may go: those out of the window that are old enough."""
    most = min(len(chain) - window, _MOST_AT_ONCE)
    number = 0
    while number < most and chain[number][1].time < str(limit):
        number += 1
    return number


def note(retirement: Retirement, layout: Layout) -> None:
    """Write down what is to go, before the floor is signed."""
    layout.memory.mkdir(parents=True, exist_ok=True)
    replace_durably(layout.retiring, msgspec.json.encode(retirement), layout.making)


def carry_out(layout: Layout, metadata: MetadataFolder) -> None:
    """Remove what was noted, if its floor is signed by now; else it stays."""
    try:
        noted = typed.decode(layout.retiring.read_bytes(), Retirement)
    except FileNotFoundError:
        return
    except msgspec.DecodeError:
        noted = Retirement(RetentionFloor(), [])
    if noted.floor.revision <= metadata.timestamp().kept.revision:
        for path in noted.paths:
            _remove(layout.site / path)
    layout.retiring.unlink()


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
