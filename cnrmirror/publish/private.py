"""``.state/memory`` of a mirror in an object store, kept under a private prefix between machines.

What machines that come and go would forget: what they accepted, what the last sync left. Its files
are brought before a command, and what a command changed is sent after it; the last one wins.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from cnrmirror.mirror.layout import Layout
from cnrmirror.mirror.places import open_place
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.model import typed
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import Tampered
from cnrmirror.model.progress import NoProgress
from cnrmirror.model.resource import Resource
from cnrmirror.objects.base import check_path
from cnrmirror.objects.files import replace_durably
from cnrmirror.objects.store import Store

_MAX_BYTES = 64 << 20
_MOST_FILES = 10_000


class _Kept(msgspec.Struct, frozen=True):
    """A file as it was brought or sent, and the place's tag for it, if that is known."""

    digest: str
    tag: str


class PrivateMemory:
    """The memory of one project, and the place where it is kept.

    Args:
        layout: has the memory.
        target: the private place.
        store: the project's.
    """

    def __init__(self, layout: Layout, target: PublishTo, store: Store) -> None:
        self._folder = layout.memory
        self._making = layout.making
        self._known_file = layout.scratch / "memory.json"
        self._place = open_place(target, store)

    def bring(self) -> None:
        """Have what others left there; what was changed here since the last time stays.

        Raises:
            Tampered: there is something that no machine left there.
        """
        self._making.mkdir(parents=True, exist_ok=True)
        known = self._known()
        for number, listed in enumerate(self._place.listing()):
            if number >= _MOST_FILES:
                raise Tampered(f"{self._place.name}: more than {_MOST_FILES} files")
            path = self._folder / check_path(listed.key)
            ours, before = _digest(path), known.get(listed.key, _Kept("", ""))
            if ours is not None and (ours != before.digest or listed.tag == before.tag):
                continue
            there = self._place.read(listed.key, _MAX_BYTES)
            if there is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                replace_durably(path, there[0], self._making)
                known[listed.key] = _Kept(Descriptor.of(there[0]).digest, listed.tag)
        self._note(known)

    def send(self) -> None:
        """Leave there what was changed here."""
        known = self._known()
        now: dict[str, _Kept] = {}
        changed: list[Resource] = []
        for path in sorted(self._folder.rglob("*")):
            # Others may be writing: what is in the making is nothing yet.
            data = None if path.name.endswith(".new") else _bytes(path)
            if data is None:
                continue
            key = path.relative_to(self._folder).as_posix()
            digest = Descriptor.of(data).digest
            now[key] = known.get(key, _Kept("", ""))
            if digest != now[key].digest:
                changed.append(Resource(key, data, cache="no-cache"))
                now[key] = _Kept(digest, "")
        self._place.put(changed, NoProgress())
        self._place.delete([key for key in known if key not in now])
        self._note(now)

    def _known(self) -> dict[str, _Kept]:
        """What is there as far as this machine knows, by key."""
        try:
            return typed.decode(self._known_file.read_bytes(), dict[str, _Kept])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}

    def _note(self, known: dict[str, _Kept]) -> None:
        replace_durably(self._known_file, msgspec.json.encode(known), self._making)


def _digest(path: Path) -> str | None:
    data = _bytes(path)
    return None if data is None else Descriptor.of(data).digest


def _bytes(path: Path) -> bytes | None:
    """What a file has; None if there is none (any more)."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return None
