"""The entries of the views on this machine: one file for each view and shard of the namespaces.

A change reads and writes the shards of its namespaces, and of the rest what its lists need. Files
are named by their digests and never change: the file that says where the views stand
(``built.json``) names those that are in force.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from cnrmirror.model import typed
from cnrmirror.objects.files import write_new
from cnrmirror.views.base import Entries
from cnrmirror.views.site import ViewEntries

ShardNames = dict[str, dict[str, str]]
"""The digests of the files: by view, then by shard."""


class RowsLost(Exception):
    """A file of entries is not there, or damaged: all are to be made again."""


def shard_of(package: str) -> str:
    """The shard of a package. All packages of a namespace are in one: lists are by namespace."""
    namespace = package.partition("/")[0]
    return hashlib.sha256(namespace.encode()).hexdigest()[:2]


class Rows(Mapping[str, Any]):
    """The entries of one view by package; a shard is read when it is asked for.

    Args:
        shards: those that have any entries.
        read: gives the entries of one. What it raises is passed on.
    """

    def __init__(self, shards: Iterable[str], read: Callable[[str], dict[str, Any]]) -> None:
        self._there = frozenset(shards)
        self._read = read
        self._shards: dict[str, dict[str, Any]] = {}
        self._all: dict[str, Any] | None = None

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> Rows:
        """Entries that are in memory."""
        shards: dict[str, dict[str, Any]] = {}
        for package, entry in entries.items():
            shards.setdefault(shard_of(package), {})[package] = entry
        return cls(shards, shards.__getitem__)

    @property
    def shards(self) -> frozenset[str]:
        """Those that have any entries."""
        return self._there

    def shard(self, name: str) -> dict[str, Any]:
        """The entries of one."""
        if name not in self._shards:
            self._shards[name] = self._read(name) if name in self._there else {}
        return self._shards[name]

    def within(self, namespaces: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """The entries of some namespaces; only their shards are read."""
        wanted = set(namespaces)
        for name in sorted({shard_of(namespace) for namespace in wanted}):
            for package, entry in self.shard(name).items():
                if package.partition("/")[0] in wanted:
                    yield package, entry

    def updated(self, fresh: Mapping[str, Any], names: Iterable[str]) -> Rows:
        """The entries after a change of these packages; ``fresh`` has what they are now."""
        changed: dict[str, dict[str, Any]] = {}
        for package in names:
            shard = shard_of(package)
            changed.setdefault(shard, dict(self.shard(shard))).pop(package, None)
        for package, entry in fresh.items():
            changed[shard_of(package)][package] = entry
        gone = {name for name, entries in changed.items() if not entries}

        def read(name: str) -> dict[str, Any]:
            return changed[name] if name in changed else self.shard(name)

        return Rows((self._there | changed.keys()) - gone, read)

    def whole(self) -> dict[str, Any]:
        """All of them."""
        if self._all is None:
            self._all = {}
            for name in sorted(self._there):
                self._all.update(self.shard(name))
        return self._all

    def __getitem__(self, package: str) -> Any:
        return self.shard(shard_of(package))[package] if self._all is None else self._all[package]

    def __iter__(self) -> Iterator[str]:
        return iter(self.whole())

    def __len__(self) -> int:
        return len(self.whole())

    def items(self) -> Any:
        """See ``dict``."""
        return self.whole().items()

    def values(self) -> Any:
        """See ``dict``."""
        return self.whole().values()


ViewRows = dict[str, Rows]


class RowFiles:
    """The files of entries in ``folder``; ``scratch`` is for files in the making."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._folder = folder
        self._scratch = scratch

    def open(self, names: ShardNames, types: Mapping[str, Any]) -> ViewRows:
        """The entries of every view, of which nothing is read yet.

        Args:
            names: the files.
            types: the type of an entry of each view.

        Raises:
            RowsLost: not now, but when a shard is asked for that is not whole.
        """

        def rows(view: str, digests: dict[str, str]) -> Rows:
            return Rows(digests, lambda shard: self._read(view, shard, digests[shard], types[view]))

        return {view: rows(view, names.get(view, {})) for view in types}

    def _path(self, view: str, shard: str, digest: str) -> Path:
        return self._folder / view / f"{shard}-{digest}.json"

    def _read(self, view: str, shard: str, digest: str, kind: Any) -> dict[str, Any]:
        try:
            data = self._path(view, shard, digest).read_bytes()
            if hashlib.sha256(data).hexdigest() == digest:
                found: dict[str, Any] = typed.decode(data, dict[str, kind])
                return found
        except (OSError, msgspec.DecodeError) as error:
            raise RowsLost from error
        raise RowsLost

    def write(
        self, entries: Mapping[str, Rows], before: ShardNames, names: Iterable[str] | None
    ) -> ShardNames:
        """Write what changed; the caller syncs the disk.

        Args:
            before: the files of which only the shards of the packages ``names`` have changed.
            names: None if nothing is known.

        Returns:
            The files of all entries.
        """
        touched = None if names is None else {shard_of(package) for package in names}
        return {
            view: {
                shard: before[view][shard]
                if touched is not None and shard not in touched
                else self._write(view, shard, rows.shard(shard))
                for shard in sorted(rows.shards)
            }
            for view, rows in entries.items()
        }

    def _write(self, view: str, shard: str, entries: dict[str, Any]) -> str:
        data = msgspec.json.encode(dict(sorted(entries.items())))
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
            self._path(view, *each) for view, digests in names.items() for each in digests.items()
        }
        for path in self._folder.glob("*/*"):
            if path not in kept:
                path.unlink(missing_ok=True)


def rows_of(entries: ViewEntries) -> ViewRows:
    """Entries that are in memory, by shard."""
    return {view: Rows.of(each) for view, each in entries.items()}


def updated_rows(before: ViewRows, fresh: ViewEntries, names: Iterable[str]) -> ViewRows:
    """The entries after a change of these packages; ``fresh`` has what they are now."""
    changed = list(names)
    views = dict.fromkeys([*before, *fresh])
    nothing: Entries = {}
    return {
        view: before.get(view, Rows.of({})).updated(fresh.get(view, nothing), changed)
        for view in views
    }
