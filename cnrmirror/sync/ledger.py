"""One run over several sources: what has changed so far, and who gave what."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from cnrmirror.mirror.project import Project
from cnrmirror.model.collector import without_cycles
from cnrmirror.model.documents import ArchiveFacts, Head, PackageDocument, Upstream
from cnrmirror.sources.base import Listing
from cnrmirror.sync.fetch import Fetched
from cnrmirror.sync.known import Known, owned_in, sums_of
from cnrmirror.sync.merge import Merged, Part, merged, parts, release_of
from cnrmirror.sync.plan import Key, Plan, Rules


class Ledger:
    """What a run has decided up to now; nothing of it is in the mirror before ``commit``.

    Args:
        project: the mirror.
        now: the time of the run.
    """

    def __init__(self, project: Project, now: str) -> None:
        self._project = project
        self._now = now
        self._changed: dict[str, PackageDocument] = {}
        self._channels: dict[str, set[str]] = {}
        self._upstreams: dict[str, Upstream] = {}
        self._facts: dict[str, ArchiveFacts] = {}
        self.tree = project.tree()
        self.taken: set[Key] = set()
        self._owned: dict[str, list[Key]] = {}
        with without_cycles():
            self._known = Known(project, self.tree)

    @without_cycles()
    def owned(self, source: str) -> list[Key]:
        """The releases that the mirror has from a source, as the run found them."""
        if source not in self._owned:
            self._owned[source] = list(self._known.owned(source))
        return self._owned[source]

    def owned_in(self, source: str, packages: Iterable[str]) -> list[Key]:
        """The same, of some packages; others are not looked at."""
        there = (self._known.get(package) for package in packages)
        return [key for outline in there if outline for key in owned_in(outline, source)]

    def count(self, source: str) -> int:
        """How many releases the mirror has from a source, as the run found them."""
        return self._known.count(source)

    def document(self, package: str) -> PackageDocument | None:
        """A package as it is at this point of the run."""
        return self._changed.get(package) or self._project.catalog.get(self.tree, package)

    def documents(self, packages: Iterable[str]) -> Mapping[str, PackageDocument]:
        """The outlines (``known.outlined``) of packages at this point of the run.

        Only those that changed in it are whole. They are made when they are asked for.
        """
        there = (p for p in packages if p in self._changed or p in self._known)
        return _Outlines(dict.fromkeys(there), self._changed, self._known)

    @without_cycles()
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
            if _says_nothing(part) and not self._has_more(package):
                continue
            taken = self._channels.setdefault(package, set())
            old, result = self._merged(package, part, taken)
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

    def _has_more(self, package: str) -> bool:
        """Whether more than releases may have to be put in order."""
        outline = self._known.get(package)
        kept = outline is not None and bool(outline.channels or outline.tombstones)
        return kept or package in self._changed

    def _merged(
        self, package: str, part: Part, taken: Collection[str]
    ) -> tuple[PackageDocument, Merged]:
        """A package, and what a part makes of it; read whole only if that is something else."""
        outline = self._changed.get(package) or self._known.get(package)
        if outline is not None and not part.drops and not part.arrived:
            result = merged(outline, part, taken, self._now)
            if result.document == outline:
                return outline, result
        old = self.document(package) or PackageDocument(package, [])
        return old, merged(old, part, taken, self._now)

    def signed(self, source: str) -> dict[str, int]:
        """How many releases of a source carry a signature at this point of the run, by its kind."""
        found = self._known.signed(source)
        before = (self._known.get(package) for package in self._changed)
        found.subtract(sums_of(filter(None, before)).signed.get(source, {}))
        found.update(sums_of(self._changed.values()).signed.get(source, {}))
        return dict(sorted((+found).items()))

    @property
    def changed(self) -> Collection[str]:
        """The packages that changed in this run up to now."""
        return self._changed.keys()

    def contested(self) -> set[str]:
        """The packages of which a source gave a release or a channel in this run up to now."""
        return {key[0] for key in self.taken} | {
            name for name in self._channels if self._channels[name]
        }

    def commit(self, message: str) -> Head | None:
        """Make the revision, if anything changed."""
        if not self._changed:
            return None
        return self._project.commit(self._changed, message, self._now, self._facts, self._upstreams)


class _Outlines(Mapping[str, PackageDocument]):
    """Some packages, each as the first of the mappings has it that has it."""

    def __init__(self, names: Mapping[str, None], *some: Mapping[str, PackageDocument]) -> None:
        self._names = names
        self._some = some

    def __getitem__(self, package: str) -> PackageDocument:
        if package in self._names:
            for each in self._some:
                if (found := each.get(package)) is not None:
                    return found
        raise KeyError(package)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _says_nothing(part: Part) -> bool:
    return not (part.drops or part.arrived or part.stones or part.channels or part.had)
