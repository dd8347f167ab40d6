"""One run over several sources: what has changed so far, and who gave what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from cnrmirror.mirror.project import Project
from cnrmirror.model.documents import ArchiveFacts, Head, PackageDocument, Upstream
from cnrmirror.sources.base import Listing
from cnrmirror.sync.fetch import Fetched
from cnrmirror.sync.merge import merged, parts, release_of
from cnrmirror.sync.plan import Key, Plan, Rules


class Ledger:
    """What a run has decided up to now; nothing of it is in the mirror before ``commit``.

    Args:
        project: the mirror.
        names: the sources that are asked.
        now: the time of the run.
    """

    def __init__(self, project: Project, names: Sequence[str], now: str) -> None:
        self._project = project
        self._now = now
        self._changed: dict[str, PackageDocument] = {}
        self._channels: dict[str, set[str]] = {}
        self._upstreams: dict[str, Upstream] = {}
        self._facts: dict[str, ArchiveFacts] = {}
        self._tree = project.tree()
        self.taken: set[Key] = set()
        self.owned: dict[str, list[Key]] = {name: [] for name in names}
        self._signed: dict[str, Counter[tuple[str, str]]] = {}
        for document in project.catalog.documents(project.catalog.packages(self._tree)):
            if signed := _signed(document):
                self._signed[document.package] = signed
            for release in document.releases:
                if release.origin in self.owned:
                    key = (document.package, release.release, release.media_type)
                    self.owned[release.origin].append(key)

    def document(self, package: str) -> PackageDocument | None:
        """A package as it is at this point of the run."""
        return self._changed.get(package) or self._project.catalog.get(self._tree, package)

    def documents(self, packages: Iterable[str]) -> dict[str, PackageDocument]:
        found = {package: self.document(package) for package in packages}
        return {package: document for package, document in found.items() if document}

    def apply(
        self,
        plan: Plan,
        listing: Listing,
        rules: Rules,
        fetched: Mapping[Key, Fetched],
        had: Mapping[str, Sequence[str]],
    ) -> dict[str, list[str]]:
        """Take in one source's part; the channels of each package that are its own now."""
        arrived = [
            (key[0], release_of(plan.source, plan.wanted[key], result, self._now))
            for key, result in fetched.items()
        ]
        owned: dict[str, list[str]] = {}
        for package, part in parts(plan, listing, rules, arrived, had).items():
            old = self.document(package) or PackageDocument(package, [])
            taken = self._channels.setdefault(package, set())
            result = merged(old, part, taken, self._now)
            taken.update(result.given)
            if result.owned:
                owned[package] = result.owned
            new = result.document
            if new != old and (new.releases or new.tombstones or old.releases):
                self._changed[package] = new
        self._facts.update((f.blob.digest, f.facts) for f in fetched.values() if f.facts)
        if listing.upstream is not None:
            self._upstreams[plan.source] = listing.upstream
        return owned

    def signed(self, source: str) -> dict[str, int]:
        """How many releases of a source carry a signature at this point of the run, by its kind."""
        changed = {name: _signed(document) for name, document in self._changed.items()}
        found: Counter[str] = Counter()
        for counts in {**self._signed, **changed}.values():
            found.update({kind: n for (origin, kind), n in counts.items() if origin == source})
        return dict(sorted(found.items()))

    def commit(self, message: str) -> Head | None:
        """Make the revision, if anything changed."""
        if not self._changed:
            return None
        return self._project.commit(self._changed, message, self._now, self._facts, self._upstreams)


def _signed(document: PackageDocument) -> Counter[tuple[str, str]]:
    """How many releases carry a signature, by their source and its kind."""
    return Counter((r.origin, kind) for r in document.releases for kind in r.signatures)
