"""Which revisions were ever current here, though retention has taken them away since.

One file in ``.state/memory``: a digest of a catalog root on each line, oldest first; 65 bytes a
revision. It tells an old publish of one's own from somebody else's. Without it, the two are merged.
"""

from __future__ import annotations

from pathlib import Path

from cnrmirror.model.digest import Descriptor


class Lineage:
    """The revisions of one mirror.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, at: Descriptor) -> None:
        """Note that a revision is current now."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(f"{at.digest}\n".encode())

    def has(self, at: Descriptor) -> bool:
        """Whether a revision was ever current here; False if nobody remembers."""
        try:
            with self._path.open("rb") as file:
                return any(line.strip() == at.digest.encode() for line in file)
        except FileNotFoundError:
            return False
