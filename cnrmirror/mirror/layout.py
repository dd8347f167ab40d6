"""Every path below a mirror project, once.

``.state/memory`` holds what must not be forgotten and cannot be made again from the public files;
``.state/scratch`` may be deleted at any time (docs/format.md).
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import msgspec


class Layout(msgspec.Struct, frozen=True):
    """The paths of the project in ``folder``.

    ``elsewhere``: whether its site is in an object store, and only a part of it here (mirror.yaml:
    ``store``).
    """

    folder: Path
    elsewhere: bool = False

    # -- public --

    @property
    def configuration(self) -> Path:
        return self.folder / "mirror.yaml"

    @property
    def site(self) -> Path:
        return self.scratch / "store" if self.elsewhere else self.folder / "site"

    @property
    def catalog(self) -> Path:
        return self.site / "catalog"

    @property
    def metadata(self) -> Path:
        return self.catalog / "metadata"

    @property
    def timestamp(self) -> Path:
        """The one mutable pointer."""
        return self.metadata / "timestamp.json"

    @property
    def root(self) -> Path:
        """The root that is trusted, where what was signed is taken from elsewhere."""
        return self.folder / "root.json"

    @property
    def hosts(self) -> Path:
        """Generated server configurations."""
        return self.folder / "hosts"

    # -- private --

    @property
    def state(self) -> Path:
        return self.folder / ".state"

    @property
    def memory(self) -> Path:
        """What must not be forgotten: small, and backed up with the keys."""
        return self.state / "memory"

    @property
    def scratch(self) -> Path:
        """The lock, caches, and work in the making: deletable at any time."""
        return self.state / "scratch"

    @property
    def trust_memory(self) -> Path:
        """High-water marks of the mirrors that sources and imports read."""
        return self.memory / "trust"

    @property
    def destination_trust_memory(self) -> Path:
        """High-water marks of the destinations."""
        return self.memory / "destinations" / "trust"

    @property
    def store_trust_memory(self) -> Path:
        """High-water marks of the mirror itself, where it is in an object store."""
        return self.memory / "store"

    @property
    def retiring(self) -> Path:
        """What is about to be removed, because no retained revision needs it."""
        return self.memory / "retiring.json"

    @property
    def lineage(self) -> Path:
        """Which revisions were ever current here."""
        return self.memory / "revisions"

    def source_memory(self, source: str) -> Path:
        """What the last sync of a source left: its report, its filter, its channels."""
        return self.memory / "sources" / f"{_file_name(source)}.json"

    @property
    def imports_memory(self) -> Path:
        """What was imported whole, one file a registry."""
        return self.memory / "imports"

    def import_memory(self, registry: str) -> Path:
        return self.imports_memory / f"{_file_name(registry)}.json"

    def destination_memory(self, destination: str) -> Path:
        """What was learned of a destination: what its endpoint can do."""
        return self.memory / "destinations" / f"{destination}.json"

    @property
    def lock(self) -> Path:
        return self.scratch / "lock"

    @property
    def turn_lock(self) -> Path:
        """Held from the moment a change begins until it is in the object store."""
        return self.scratch / "turn.lock"

    def destination_lock(self, destination: str) -> Path:
        return self.scratch / f"destination-{destination}.lock"

    @property
    def making(self) -> Path:
        """Files in the making, on the same file system as the site."""
        return self.scratch / "making"

    @property
    def built(self) -> Path:
        """At which revision the views stand."""
        return self.scratch / "built.json"

    @property
    def rows(self) -> Path:
        """What the lists of the views need to know of every package."""
        return self.scratch / "rows"

    @property
    def ledger(self) -> Path:
        """What a sync must know of every package, by shard of the tree."""
        return self.scratch / "ledger"

    @property
    def trust_cache(self) -> Path:
        return self.scratch / "trust"

    def upstream_cache(self, source: str) -> Path:
        """Answers and nodes of a source, kept between two runs."""
        return self.scratch / "upstream" / _file_name(source)

    def source_journal(self, source: str) -> Path:
        """What a run has fetched so far."""
        return self.scratch / "journals" / f"{_file_name(source)}.jsonl"


def _file_name(name: str) -> str:
    """A file name for a name that somebody else may have chosen."""
    safe = re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", name)
    return name if safe else hashlib.sha256(name.encode()).hexdigest()
