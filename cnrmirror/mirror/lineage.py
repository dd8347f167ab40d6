"""The revisions from which the current one came, in this mirror, whatever retention took away.

History alone does not tell: of two revisions that were merged, one is no parent, and old ones are
not retained. One file in ``.state/memory``, a digest of a catalog root on each line, oldest first:
65 bytes a revision. With it, an old publish of one's own is known from somebody else's; without it,
the two are merged.
"""

from __future__ import annotations

import os
from pathlib import Path

from cnrmirror.model.digest import HEX64

_LINE = 65


class Lineage:
    """The revisions of one mirror.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, new: str, before: str) -> None:
        """Note that a revision is current now.

        A mirror that was put back to an older state forgets what came after that.

        Args:
            new: the digest of its catalog root.
            before: that of the one that was current; "" for the first.
        """
        self._append(before, [new])

    def join(self, head: str, others: list[str]) -> None:
        """Note that ``head``, the current revision, has all that these have, whoever made them."""
        self._append(head, [*others, head])

    def of(self, head: str) -> set[str]:
        """Those from which ``head``, the current revision, came; none if nobody remembers."""
        return set(self._read()) if self._last() == head else set()

    def _append(self, last: str, digests: list[str]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if last and self._last() != last:
            known = self._read()
            known = known[: known.index(last)] if last in known else []
            digests = [*known, last, *digests]
            self._path.unlink(missing_ok=True)
        with self._path.open("a") as file:
            file.writelines(f"{digest}\n" for digest in digests)

    def _last(self) -> str:
        try:
            with self._path.open("rb") as file:
                file.seek(-min(_LINE, os.fstat(file.fileno()).st_size), os.SEEK_END)
                return file.read().decode("ascii", "replace").strip()
        except FileNotFoundError:
            return ""

    def _read(self) -> list[str]:
        try:
            lines = self._path.read_text("ascii", "replace").splitlines()
        except FileNotFoundError:
            return []
        return [line for line in lines if HEX64.fullmatch(line)]
