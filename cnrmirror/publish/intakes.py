"""Who sends archives to a place before a revision there needs them.

One object, ``.cnrmirror/intakes.json``, has the runs that do and when each said so last. While one
is under way, an archive that nothing refers to may be wanted soon, and is no waste.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.errors import InputError, InvalidDocument, Outdated
from cnrmirror.model.instant import Instant
from cnrmirror.objects.base import STATE_FOLDER, Objects

INTAKES = f"{STATE_FOLDER}/intakes.json"
# A run that was killed is not waited for any longer.
LONGEST = timedelta(days=1)
_MAX_BYTES = 1 << 20
_ATTEMPTS = 20


def say(place: Objects, run: str, now: Instant | None) -> None:
    """Say that a run sends archives; None: that it does so no more.

    Args:
        run: tells it from every other.
        now: the time, UTC.
    """
    for attempt in range(_ATTEMPTS):
        known, tag = _read(place)
        if now is None and run not in known:
            return
        left = {name: at for name, at in known.items() if name != run and _lives(at, now)}
        if now is not None:
            left[run] = str(now)
        try:
            place.swap(INTAKES, msgspec.json.encode(left), tag)
            return
        except Outdated:
            if attempt + 1 == _ATTEMPTS:
                raise


def under_way(place: Objects, now: Instant) -> bool:
    """Whether archives may come, or be there, that no revision needs yet."""
    return any(_lives(at, now) for at in _read(place)[0].values())


def _lives(at: str, now: Instant | None) -> bool:
    # Who is a day ahead has a wrong clock, or none: nobody waits for that.
    return now is None or abs(Instant.parse(at).age(now)) < LONGEST


def _read(place: Objects) -> tuple[dict[str, str], str | None]:
    found = place.read(INTAKES, _MAX_BYTES)
    if found is None:
        return {}, None
    try:
        known = typed.decode(found[0], dict[str, str])
        for at in known.values():
            Instant.parse(at)
        return known, found[1]
    except (msgspec.DecodeError, InputError) as error:
        raise InvalidDocument(f"{place.name}/{INTAKES}: not of this program: {error}") from error
