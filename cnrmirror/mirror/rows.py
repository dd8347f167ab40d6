"""The entries of the views on this machine: rows and summaries of groups, in files by shard.

A change reads and writes the shards of the groups that it touches, and of the rest the summaries.
Files are named by their digests and never change: the file that says where the views stand
(``built.json``) names those that are in force.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cnrmirror.model import typed
from cnrmirror.objects.files import write_new
from cnrmirror.views.groups import Edited, Groups, Rows
from cnrmirror.views.site import ViewGroups

T = TypeVar("T")
_FEW, _MANY = 500, 8000
"""Packages up to which all groups of a view are in one file, and in sixteen."""


# Raise it when a view's rows or summaries, or how they stand in groups, become others while the
# site's files stay the same: all are then made again.
_FORM = 1


class ShardFiles(msgspec.Struct, frozen=True, array_like=True):
    """The files of a shard, by digest: the rows of its groups, and their summaries."""

    rows: str
    summaries: str


class ShardNames(msgspec.Struct, frozen=True):
    """The files that are in force: by view, then by shard.

    ``form``: how the entries stand in them. ``digits``: how many digits a shard's name has.
    """

    form: int
    digits: int
    views: dict[str, dict[str, ShardFiles]]


NO_FILES = ShardNames(_FORM, 0, {})


class RowsLost(Exception):
    """A file of entries is not there, or damaged: all are to be made again."""


def digits_for(packages: int) -> int:
    """How many digits the shards of a mirror of this size have: a file is to be neither tiny nor
    large.
    """
    return (packages > _FEW) + (packages > _MANY)


def shard_of(group: str, digits: int) -> str:
    """The shard of a group."""
    return hashlib.sha256(group.encode()).hexdigest()[:digits]


class KeptGroups:
    """The entries of one view in files (``Groups``): each is read when it is asked for.

    Args:
        digits: of the names of shards.
        shards: those that have any groups.
        row: the type of a row.
        read: gives the groups of a shard, or (True) their summaries.

    Raises:
        RowsLost: all methods do.
    """

    def __init__(
        self, digits: int, shards: Collection[str], row: Any,
        read: Callable[[str, bool], dict[str, Any]],
    ) -> None:  # fmt: skip
        self._digits, self._there, self._kind, self._read = digits, sorted(shards), row, read
        self._shards: dict[str, dict[str, msgspec.Raw]] = {}
        self._groups: dict[str, Rows] = {}
        self._summaries: dict[str, Any] | None = None

    def group(self, name: str) -> Rows:
        """See ``Groups``."""
        if name not in self._groups:
            shard = shard_of(name, self._digits)
            if shard not in self._shards:
                self._shards[shard] = self._read(shard, False) if shard in self._there else {}
            raw = self._shards[shard].get(name, msgspec.Raw(b"{}"))
            self._groups[name] = _decoded(raw, dict[str, self._kind])  # type: ignore[name-defined]
        return self._groups[name]

    def summaries(self) -> Mapping[str, Any]:
        """See ``Groups``."""
        if self._summaries is None:
            # Others see nothing before it is whole: several threads may ask.
            found: dict[str, Any] = {}
            for shard in self._there:
                found.update(self._read(shard, True))
            self._summaries = found
        return self._summaries


def _decoded(data: bytes | msgspec.Raw, kind: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = typed.decode(data, kind)
        return found
    except msgspec.DecodeError as error:
        raise RowsLost from error


class SureGroups:
    """Entries that are made again when they turn out to be lost (``Groups``).

    Args:
        view: which.
        kept: those that may be lost.
        again: makes those of all views anew.
    """

    def __init__(self, view: str, kept: Groups, again: Callable[[], ViewGroups]) -> None:
        self._view, self._groups, self._again = view, kept, again

    def group(self, name: str) -> Rows:
        """See ``Groups``."""
        return self._surely(lambda groups: groups.group(name))

    def summaries(self) -> Mapping[str, Any]:
        """See ``Groups``."""
        return self._surely(lambda groups: groups.summaries())

    def _surely(self, ask: Callable[[Groups], T]) -> T:
        try:
            return ask(self._groups)
        except RowsLost:
            self._groups = self._again()[self._view]
            return ask(self._groups)


class RowFiles:
    """The files of entries in ``folder``; ``scratch`` is for files in the making."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._folder = folder
        self._scratch = scratch

    def open(self, names: ShardNames, types: Mapping[str, tuple[Any, Any]]) -> ViewGroups:
        """The entries of every view, of which nothing is read yet.

        Args:
            names: the files.
            types: the types of the rows and of the summaries of each view.

        Raises:
            RowsLost: they are of another form; also later, when something is asked for that is
                not whole.
        """
        if names.form != _FORM:
            raise RowsLost
        return {view: self._opened(view, names, *each) for view, each in types.items()}

    def _opened(self, view: str, names: ShardNames, row: Any, summary: Any) -> KeptGroups:
        files = names.views.get(view, {})
        kinds = {False: dict[str, msgspec.Raw], True: dict[str, summary]}

        def read(shard: str, in_short: bool) -> dict[str, Any]:
            digest = files[shard].summaries if in_short else files[shard].rows
            return self._read(self._path(view, shard, digest), digest, kinds[in_short])

        return KeptGroups(names.digits, files, row, read)

    def _path(self, view: str, shard: str, digest: str) -> Path:
        return self._folder / view / f"{shard or 'all'}-{digest}.json"

    def _read(self, path: Path, digest: str, kind: Any) -> dict[str, Any]:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RowsLost from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise RowsLost
        return _decoded(data, kind)

    def write(self, groups: ViewGroups, before: ShardNames, packages: int) -> ShardNames:
        """Write what changed; the caller syncs the disk.

        Args:
            groups: all entries. Where they are a change of others, those are in ``before``.
            packages: how many there are.

        Returns:
            The files of all entries.
        """
        digits = digits_for(packages)
        known = before.views if before.digits == digits else {}
        return ShardNames(
            _FORM,
            digits,
            {
                view: dict(sorted(self._written(view, each, known.get(view), digits)))
                for view, each in groups.items()
            },
        )

    def _written(
        self, view: str, groups: Groups, before: Mapping[str, ShardFiles] | None, digits: int
    ) -> Iterator[tuple[str, ShardFiles]]:
        """The shards of a view, with their files."""
        summaries = groups.summaries()
        wanted: dict[str, list[str]] = {}
        kept: Mapping[str, ShardFiles] = {}
        if before is not None and isinstance(groups, Edited):
            kept = before
            wanted = {shard_of(name, digits): [] for name in groups.touched}
        for name in summaries:
            shard = shard_of(name, digits)
            if shard in wanted or shard not in kept:
                wanted.setdefault(shard, []).append(name)
        yield from ((shard, files) for shard, files in kept.items() if shard not in wanted)
        for shard, names in wanted.items():
            if names:
                rows = {name: groups.group(name) for name in sorted(names)}
                few = {name: summaries[name] for name in rows}
                yield shard, ShardFiles(*(self._write(view, shard, each) for each in (rows, few)))

    def _write(self, view: str, shard: str, entries: Mapping[str, Any]) -> str:
        data = msgspec.json.encode(entries)
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(view, shard, digest)
        temporary = self._scratch / f"{view}-{path.name}"
        temporary.unlink(missing_ok=True)
        write_new(str(temporary), [data])
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(path)
        return digest

    def keep_only(self, names: ShardNames) -> None:
        """Remove the files of earlier states."""
        kept = {
            self._path(view, shard, digest)
            for view, shards in names.views.items()
            for shard, files in shards.items()
            for digest in (files.rows, files.summaries)
        }
        for path in self._folder.glob("*/*"):
            if path not in kept and not path.is_dir():  # some disks have folders of their own
                path.unlink(missing_ok=True)
