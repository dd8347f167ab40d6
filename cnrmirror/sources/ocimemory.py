"""Which tags of an OCI registry are no release, so that the next look need not ask again."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cnrmirror.model import typed
from cnrmirror.sources.ocimanifests import LeftOut

_MAX_BYTES = 64 << 20
LeftByTag = dict[str, LeftOut]


class Memory:
    """By repository and tag, in a file that may be deleted at any time.

    Args:
        folder: where it is; None for nowhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / "left-out.json" if folder is not None else None
        self._found: dict[str, LeftByTag] = {}

    def read(self) -> dict[str, LeftByTag]:
        """What the last look found; nothing, if the file is not what it must be."""
        if self._path is None:
            return self._found
        try:
            with self._path.open("rb") as stream:
                data = stream.read(_MAX_BYTES)
            return typed.decode(data, dict[str, LeftByTag])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}

    def write(self, found: dict[str, LeftByTag]) -> None:
        """Remember what this look found."""
        self._found = found
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._path.with_suffix(".new")
            temporary.write_bytes(msgspec.json.encode(found))
            temporary.replace(self._path)
