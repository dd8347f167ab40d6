"""What a mirror's own files say of it to whoever remembers what was accepted."""

from __future__ import annotations

from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import DamageError
from cnrmirror.model.signed import SignedHead
from cnrmirror.trust.memory import HighWater, high_water_of

_LONG_AGO = "1970-01-01T00:00:00"


def own_mark(project: Project, head: SignedHead) -> HighWater:
    """What the mirror's own files say that was accepted; one that is missing is brought anew."""

    def own(name: str) -> bytes:
        try:
            return project.metadata.read(name)
        except DamageError:
            return b""

    try:
        time = project.catalog.root(head.at).time
    except DamageError:
        time = _LONG_AGO
    root, targets = own(f"{head.kept.root}.root.json"), own(f"{head.targets.version}.targets.json")
    return high_water_of(head, time, root, targets)
