"""What is at a place that a mirror is published to, and whose turn it is to write there."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import BusyError, DamageError, InvalidDocument
from cnrmirror.model.instant import Instant
from cnrmirror.model.signed import (
    MAX_BYTES,
    METADATA,
    TIMESTAMP,
    FileInfo,
    SignedHead,
    signed_head_of,
)
from cnrmirror.objects.base import Objects

STATE = ".cnrmirror/state.json"
_STATE_BYTES = 64 << 20
_STALE = timedelta(minutes=15)
_POLL_SECONDS = 0.5


class Busy(msgspec.Struct, frozen=True):
    """A publish that is under way, or was killed: the views stand between these revisions."""

    publisher: str
    time: str
    states: list[Descriptor | None]
    to: Descriptor


class State(msgspec.Struct, frozen=True):
    """What a place remembers besides the catalog; ``pending``: removals, and when they are due."""

    form: str = ""
    busy: Busy | None = None
    pending: dict[str, str] = {}


class There(msgspec.Struct, frozen=True):
    """What was found at the place."""

    edition: SignedHead | None
    tag: str | None
    state: State
    state_tag: str | None


def look(project: Project, place: Objects) -> There:
    """What is at the place: two reads, and more only if it stands at what we do not know.

    Raises:
        DamageError, InvalidDocument: something there is not what cnrmirror writes.
    """
    found = place.read(TIMESTAMP, MAX_BYTES)
    kept = place.read(STATE, _STATE_BYTES)
    try:
        state = msgspec.json.decode(kept[0], type=State) if kept else State()
    except msgspec.DecodeError as error:
        raise InvalidDocument(f"{place.name}/{STATE}: not of this program: {error}") from error
    if found is None:
        return There(None, None, state, kept[1] if kept else None)

    def read(name: str, info: FileInfo) -> bytes:
        path = project.metadata.path / name
        if path.exists():
            data = path.read_bytes()
            if Descriptor.of(data).digest == info.hashes.get("sha256"):
                return data
        there = place.read(f"{METADATA}/{name}", MAX_BYTES)
        if there is None:
            raise DamageError(f"{place.name}/{METADATA}/{name}: missing; see --audit --repair")
        return there[0]

    edition = signed_head_of(found[0], read, f"{place.name}/{METADATA}")
    return There(edition, found[1], state, kept[1] if kept else None)


def wait_for_turn(project: Project, place: Objects, publisher: str, now: str, wait: float) -> There:
    """What is at the place, once nobody else is publishing there.

    Raises:
        BusyError: somebody is, and was not done after ``wait`` seconds.
    """
    deadline = time.monotonic() + wait
    while True:
        there = look(project, place)
        busy = there.state.busy
        if busy is None or busy.publisher == publisher:
            return there
        age = moment(now) - moment(busy.time)
        if age > _STALE:
            return there
        if time.monotonic() >= deadline:
            raise BusyError(
                f"{place.name}: somebody else publishes there since {busy.time}; try again later "
                f"(if that publish was killed, it counts as over {_STALE} after it began)"
            )
        time.sleep(_POLL_SECONDS)


def relation(project: Project, edition: SignedHead) -> Literal["ours", "behind", "other"]:
    """How the edition at a place stands to our own history: in it, or not."""
    ours = project.metadata.edition()
    if edition.at == ours.at:
        return "ours"
    for at, root in project.catalog.history(ours.at):
        if at == edition.at or root.parent == edition.at:
            return "behind"
        if root.revision <= edition.revision:
            break
    return "other"


def moment(text: str) -> datetime:
    """A time as the registry writes it, as a moment in UTC."""
    return Instant.parse(text).at
