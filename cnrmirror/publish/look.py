"""What stands at a destination, and how that is related to the mirror's own history."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Literal

import msgspec

from cnrmirror.mirror.project import Project
from cnrmirror.model.destination import DestinationState
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot
from cnrmirror.model.errors import BusyError, ConflictError, DamageError
from cnrmirror.model.signed import (
    MAX_BYTES,
    METADATA,
    TIMESTAMP,
    FileInfo,
    SignedHead,
    signed_head_of,
)
from cnrmirror.objects.base import Objects
from cnrmirror.publish.lease import STALE, is_over, moment, read_state

_POLL_SECONDS = 0.5
Relation = Literal["equal", "behind", "ahead", "diverged"]
History = Callable[[], Iterator[tuple[Descriptor, CatalogRoot]]]


class Overtaken(ConflictError):
    """Somebody published what this mirror does not have."""


class Seen(msgspec.Struct, frozen=True):
    """A destination at one moment: its signed head and its state, each with its tag.

    ``head`` is None for a destination that has no timestamp yet.
    """

    head: SignedHead | None
    tag: str | None
    state: DestinationState
    state_tag: str | None


def look(project: Project, destination: Objects) -> Seen:
    """What is there: two reads, and more only if it stands at what the mirror does not have.

    The state is read before the timestamp: whoever then swaps that very state knows that nobody
    with a lease has written since.

    Raises:
        DamageError, InvalidDocument: something there is not what cnrmirror writes.
        NewerFormat: a newer cnrmirror publishes there.
    """
    state, state_tag = read_state(destination)
    found = destination.read(TIMESTAMP, MAX_BYTES)
    if found is None:
        return Seen(None, None, state, state_tag)

    def read(name: str, info: FileInfo) -> bytes:
        path = project.metadata.path / name
        if path.exists():
            data = path.read_bytes()
            if Descriptor.of(data).digest == info.hashes.get("sha256"):
                return data
        there = destination.read(f"{METADATA}/{name}", MAX_BYTES)
        if there is None:
            raise DamageError(
                f"{destination.name}/{METADATA}/{name}: missing; see --audit --repair"
            )
        return there[0]

    head = signed_head_of(found[0], read, f"{destination.name}/{METADATA}")
    return Seen(head, found[1], state, state_tag)


def look_when_free(project: Project, destination: Objects, now: str, wait: float) -> Seen:
    """What is there once nobody else has the lease.

    Raises:
        BusyError: somebody has it, and was not done after ``wait`` seconds.
    """
    began = time.monotonic()
    while True:
        seen = look(project, destination)
        lease = seen.state.lease
        waited = time.monotonic() - began
        if lease is None or is_over(lease, moment(now) + timedelta(seconds=waited)):
            return seen
        if waited >= wait:
            raise BusyError(
                f"{destination.name}: somebody else publishes there, by a lease of {lease.time}; "
                f"try again later (a lease that is not renewed for {STALE} has ended)"
            )
        time.sleep(min(_POLL_SECONDS, max(0.0, wait - waited)))


def own_history(project: Project, at: Descriptor) -> Iterator[tuple[Descriptor, CatalogRoot]]:
    """A mirror's revisions from one on, newest first.

    Where the mirror is in a store, they end where others have tidied up since.
    """
    with contextlib.suppress(*[DamageError] if project.partial else []):
        yield from project.catalog.history(at)


def relation(
    ours: SignedHead, theirs: SignedHead | None, our_history: History, their_history: History,
    was_ours: Callable[[Descriptor], bool] = lambda at: False,
) -> Relation:  # fmt: skip
    """How a destination is related to the mirror.

    Args:
        ours: what the mirror stands at.
        theirs: what the destination stands at.
        our_history: the mirror's revisions, newest first.
        their_history: the destination's, verified; asked for only if ours does not tell.
        was_ours: whether our current revision came from another one, though our history does not
            tell: it was merged, or retention has cut the history above it.

    Returns:
        ``equal``; ``behind``: the mirror has all that is there, and its files may follow those;
        ``ahead``: the destination has all that the mirror has; ``diverged``: neither.
    """
    if theirs is None:
        return "behind"
    if theirs.timestamp == ours.timestamp:
        return "equal"
    if theirs.at == ours.at:
        return "behind" if ours.follows(theirs) else "ahead"
    if _has(our_history(), theirs) or was_ours(theirs.at):
        return "behind" if ours.follows(theirs) else "diverged"
    return "ahead" if _has(their_history(), ours) else "diverged"


def _has(history: Iterator[tuple[Descriptor, CatalogRoot]], head: SignedHead) -> bool | None:
    """Whether a history has a revision; None if it ends before it would tell."""
    for at, root in history:
        if at == head.at or root.parent == head.at:
            return True
        if root.revision <= head.revision:
            return False
    return None
