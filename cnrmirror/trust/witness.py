"""What was signed in a folder last, kept apart from it: so that an older copy is known as such.

Readers refuse what is older than what they have seen. A backup that was put back would sign just
that, and its owner would learn of it from them.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from cnrmirror.model import typed


class Seen(msgspec.Struct, frozen=True):
    """The versions that were signed last, and the number of the revision."""

    registry: str = ""
    timestamp: int = 0
    snapshot: int = 0
    catalog: int = 0
    revision: int = 0


class Witness:
    """Remembers what was signed in one folder.

    Args:
        path: the file; it need not exist.
        registry: the registry that is signed; what was signed of another one is nothing.
    """

    def __init__(self, path: Path, registry: str) -> None:
        self._path = path
        self._registry = registry

    def seen(self) -> Seen:
        """What was signed last; nothing, if nobody remembers."""
        try:
            found = typed.decode(self._path.read_bytes(), Seen)
        except (OSError, msgspec.DecodeError):
            return Seen()
        return found if found.registry == self._registry else Seen()

    def later_than(self, timestamp: int) -> str:
        """What to say if a later timestamp than the one in force was signed here; else ""."""
        seen = self.seen()
        if timestamp >= seen.timestamp:
            return ""
        return (
            f"this mirror is at timestamp {timestamp}, but timestamp {seen.timestamp} "
            f"(revision {seen.revision}) was signed here: an older copy was restored. What is "
            "signed now is above that. If a destination has what is missing, 'cnrmirror publish "
            "--catch-up DESTINATION' brings it back"
        )

    def note(self, seen: Seen) -> None:
        """Remember what is signed now; a machine that cannot is none the worse for signing."""
        data = msgspec.json.encode(msgspec.structs.replace(seen, registry=self._registry))
        temporary = self._path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            os.replace(temporary, self._path)
