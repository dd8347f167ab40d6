"""Publish: bring a place from the edition that it stands at to the mirror's own.

The place's signed timestamp says what is there, so nothing has to be listed. The order is: what is
named by its digest, then archives, manifests, releases, channels, packages, lists, then the signed
metadata, and the timestamp last; removals come after that, leaves later than what referred to them.

One object of the place, ``.cnrmirror/state.json``, is taken hold of first (a conditional write). It
says who publishes, and between which revisions the views stand meanwhile, so that whoever comes
after a publisher that was killed knows which files may be of which revision.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Literal

import msgspec

from cnrmirror.catalog.delta import immutable_files, metadata_files
from cnrmirror.catalog.tree import EMPTY, CatalogReader, Nodes
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, Head, Node, PackageDocument
from cnrmirror.model.errors import DamageError, IncompleteError, Outdated
from cnrmirror.model.progress import stage
from cnrmirror.model.resource import Resource
from cnrmirror.model.signed import METADATA, TIMESTAMP
from cnrmirror.objects.base import Listed, Objects
from cnrmirror.publish.lease import STATE, Busy, State, There, moment
from cnrmirror.publish.plan import Operation, Plan, size_of
from cnrmirror.views.base import RANKS
from cnrmirror.views.cnr_paths import package_in, rank
from cnrmirror.views.cnr_v1 import ListEntry
from cnrmirror.views.cnr_v1 import list_entry as row

_PACKAGES_AT_ONCE = 100
# Between two of these, a publisher looks whether it still has its turn.
_BYTES_AT_ONCE = 256 << 20
# Names at the top of a place that are a mirror's; others are somebody else's.
_OURS = re.compile(
    r"(?:catalog|cnr|api|version)(?:/.*)?|index\.html|recover\.sh|404\.html|_headers|_redirects|\.nojekyll"
    r"|\.well-known/app-registry-uri\.json"
)
_RENEW_SECONDS = 60


class Form(msgspec.Struct, frozen=True):
    """What the views are at this place: rendered, and in the layout that it needs.

    ``fingerprint`` differs whenever the same catalog would give other files.
    """

    fingerprint: str
    package: Callable[[PackageDocument | None], list[Resource]]
    aggregates: Callable[[list[ListEntry], Iterable[ListEntry]], list[Resource]]
    fixed: Callable[[], list[Resource]]


class Problem(msgspec.Struct, frozen=True, order=True):
    """One object that is not as it must be."""

    key: str
    problem: Literal["missing", "size", "bytes", "extra"]


class Published(msgspec.Struct, frozen=True):
    """What a publish did; ``revision_from`` is None for a place that was empty."""

    place: str
    revision_from: int | None
    revision_to: int
    puts: int
    deletes: int
    bytes: int
    requests: int
    seconds: float
    notes: list[str]


class Publish:
    """One publish of one mirror to one place.

    Args:
        project: the mirror; its current edition is what is published.
        place: where to.
        form: the views that the place has.
        there: what was found there.
        nodes: reads nodes of revisions that only the place may have.
        grace_minutes: how long what was removed can still be read.
    """

    def __init__(
        self,
        project: Project,
        place: Objects,
        form: Form,
        there: There,
        nodes: Nodes,
        grace_minutes: float,
    ) -> None:
        self._project = project
        self._place = place
        self._form = form
        self._there = there
        self._nodes = CatalogReader(nodes)
        self._grace = timedelta(minutes=grace_minutes)
        self.edition = project.metadata.edition()
        self.root = project.catalog.root(self.edition.at)
        self._rows = self._read_rows()
        self._deletes: list[str] = []
        self._held: str | None = None
        self._held_at = self._began = 0.0
        self._busy: Busy
        self._there_already: dict[str, Listed] = {}

    # -- what has to be done --

    @property
    def states(self) -> list[Descriptor | None]:
        """The revisions between which the views at the place stand; None for "nothing"."""
        edition, busy = self._there.edition, self._there.state.busy
        states: list[Descriptor | None] = list(busy.states) if busy else []
        here = edition.at if edition else None
        if here not in states:
            states.append(here)
        if busy and busy.to not in states and self._root_of(busy.to) is not None:
            states.append(busy.to)
        return states

    @property
    def new_form(self) -> bool:
        """Whether the views there are of another form: then nothing is known of them."""
        edition, state = self._there.edition, self._there.state
        return edition is not None and state.form != self._form.fingerprint

    @property
    def _behind(self) -> bool:
        """Whether the timestamp has still to be written there."""
        there = self._there.edition
        return there is None or there.timestamp != self.edition.timestamp

    def nothing_to_do(self, now: str) -> bool:
        """Whether the place has everything already."""
        there = self._there
        return (
            not self._behind
            and there.state.busy is None
            and not self.new_form
            and not self._due(now)
        )

    def _due(self, now: str) -> list[str]:
        return [key for key, when in self._there.state.pending.items() if when <= now]

    def steps(self) -> Iterator[list[Resource]]:
        """Everything to be written, in lists whose order matters; within one it does not."""
        there = self._there.edition
        known = self._root_of(there.at) if there else None
        for batch in immutable_files(self._project.catalog, self.edition, known):
            if batch:
                yield batch
        yield from self._views([None] if self.new_form else self.states)
        files = metadata_files(self._project.metadata, self.edition, there)
        if files:
            yield files

    def _views(self, states: Sequence[Descriptor | None]) -> Iterator[list[Resource]]:
        trees = [self._tree_of(state) for state in states]
        changed: dict[str, list[PackageDocument | None]] = {}
        for tree in trees:
            for difference in self._nodes.diff(tree, self.root.tree):
                changed.setdefault(difference.name, [])
        old_rows: list[ListEntry] = []
        rows_of: list[dict[str, ListEntry]] = [dict(self._rows) for _ in trees]
        names = sorted(changed)
        for start in range(0, len(names), _PACKAGES_AT_ONCE):
            ranked: list[list[Resource]] = [[] for _ in range(RANKS)]
            for name in names[start : start + _PACKAGES_AT_ONCE]:
                olds = [self._nodes.get(tree, name) for tree in trees]
                for rows, old in zip(rows_of, olds, strict=True):
                    found = row(old) if old else None
                    rows.pop(name, None)
                    if found:
                        rows[name] = found
                        old_rows.append(found)
                new = self._nodes.get(self.root.tree, name)
                for resource in self._difference(
                    [self._form.package(old) for old in olds], self._form.package(new)
                ):
                    ranked[rank(resource.path)].append(resource)
            yield from filter(None, ranked)
        if names or None in states:
            touched = [*old_rows, *(self._rows[n] for n in names if n in self._rows)]
            lists = [
                self._form.aggregates(_sorted(rows), touched) if state is not None else []
                for state, rows in zip(states, rows_of, strict=True)
            ]
            yield self._difference(lists, self._form.aggregates(_sorted(self._rows), touched))
        if None in states:
            yield self._form.fixed()

    def _difference(
        self, olds: Sequence[Iterable[Resource]], new: Iterable[Resource]
    ) -> list[Resource]:
        """What has to be written, whichever of the old states the place is in."""
        before = [{r.path: r for r in old} for old in olds]
        after = {r.path: r for r in new}
        gone = {path for old in before for path in old if path not in after}
        self._deletes += sorted(gone, key=lambda path: (-rank(path), path))
        return [r for path, r in after.items() if any(old.get(path) != r for old in before)]

    def _tree_of(self, at: Descriptor | None) -> Node:
        root = self._root_of(at) if at else None
        return root.tree if root else EMPTY

    def _root_of(self, at: Descriptor) -> CatalogRoot | None:
        try:
            return self._nodes.root(at)
        except (DamageError, IncompleteError):
            return None

    def _read_rows(self) -> dict[str, ListEntry]:
        known = self._project.known_entries(Head(self.edition.at, self.edition.revision))
        if known is not None:
            return dict(known["cnr-v1"])
        catalog = self._project.catalog
        documents = (catalog.document(ref) for ref in catalog.packages(self.root.tree))
        return {found.name: found for found in map(row, documents) if found}

    def plan(self, now: str) -> Plan:
        """All of it, without doing any of it."""
        operations = [
            Operation("put", resource.path, size_of(resource))
            for batch in self.steps()
            for resource in batch
        ]
        there = self._there.edition
        if self._behind:
            operations.append(Operation("put", TIMESTAMP, len(self.edition.timestamp)))
        later: Literal["delete", "delete later"] = "delete later" if self._grace else "delete"
        operations += [Operation(later, key) for key in dict.fromkeys(self._deletes)]
        operations += [Operation("delete", key) for key in self._due(now)]
        self._deletes.clear()
        return Plan(
            self._place.name,
            there.revision if there else None,
            self.edition.revision,
            there.at.digest if there else "",
            self.edition.at.digest,
            self._form.fingerprint,
            operations,
        )

    # -- doing it --

    def run(self, publisher: str, now: str) -> Published:
        """Carry it out.

        Raises:
            Outdated: somebody else published meanwhile; what they published stands.
        """
        began = time.monotonic()
        there = self._there
        puts = moved = 0
        self._take_turn(publisher, now)
        if there.edition is None and there.state.busy is not None:
            # A first publish that was killed: what it sent is not sent again.
            self._there_already = {listed.key: listed for listed in self._place.listing()}
        total = None
        if self._project.progress.shown:
            total = sum(map(len, self.steps()))
            self._deletes.clear()
        label = f"Publishing to {self._place.name}"
        with stage(self._project.progress, label, total) as progress:
            for batch in self.steps():
                left = [r for r in batch if not self._has(r)]
                if left and left[0].path.startswith(f"{METADATA}/"):
                    self._renew(0)
                for portion in _portions(left):
                    self._place.put(portion, progress, anew=bool(self._there_already))
                    self._renew(_RENEW_SECONDS)
                puts += len(left)
                moved += sum(map(size_of, left))
        if self._behind:
            self._place.swap(TIMESTAMP, self.edition.timestamp, there.tag)
            puts += 1
        pending = self._pending(now)
        due = [key for key, when in pending.items() if when <= now]
        self._place.delete(due)
        rest = {key: when for key, when in pending.items() if when > now}
        self._hold(State(self._form.fingerprint, None, rest), self._held)
        return Published(
            self._place.name,
            there.edition.revision if there.edition else None,
            self.edition.revision,
            puts,
            len(due),
            moved,
            self._place.requests,
            round(time.monotonic() - began, 3),
            list(self._place.notes),
        )

    def audit(self) -> list[Problem]:
        """Everything at the place, listed and compared with what must be there."""
        listed = {item.key: item for item in self._place.listing()}
        found = []
        for resource in self._everything():
            item = listed.pop(resource.path, None)
            if item is None:
                found.append(Problem(resource.path, "missing"))
            elif not self._place.holds(item, resource):
                same = item.size == size_of(resource)
                found.append(Problem(resource.path, "bytes" if same else "size"))
        pending = self._there.state.pending
        found += [
            Problem(key, "extra") for key in listed if key not in pending and _OURS.fullmatch(key)
        ]
        return sorted(found)

    def repair(self, problems: Sequence[Problem], publisher: str, now: str) -> None:
        """Write what is missing or wrong, then remove what is too much."""
        there = self._there
        self._take_turn(publisher, now)
        wrong = {p.key for p in problems if p.problem != "extra"} - {TIMESTAMP}
        with stage(self._project.progress, f"Repairing {self._place.name}", len(wrong)) as bar:
            for batch in self._batches(r for r in self._everything() if r.path in wrong):
                for portion in _portions(batch):
                    self._place.put(portion, bar, anew=True)
                    self._renew(_RENEW_SECONDS)
        if self._behind:
            self._place.swap(TIMESTAMP, self.edition.timestamp, there.tag)
        extra = [p.key for p in problems if p.problem == "extra"]
        self._place.delete(sorted(extra, key=lambda key: (-rank(key), key)))
        self._hold(State(self._form.fingerprint, None, there.state.pending), self._held)

    def _everything(self) -> Iterator[Resource]:
        """All that the place must have, in the order in which it may be written."""
        for batch in immutable_files(self._project.catalog, self.edition, None):
            yield from batch
        for batch in self._views([None]):
            yield from batch
        yield from metadata_files(self._project.metadata, self.edition, None)
        yield Resource(TIMESTAMP, self.edition.timestamp, cache="no-cache")

    @staticmethod
    def _batches(resources: Iterable[Resource]) -> Iterator[list[Resource]]:
        """Lists of one rank each, so that the order holds."""
        batch: list[Resource] = []
        for resource in resources:
            if batch and (rank(batch[0].path) != rank(resource.path) or len(batch) >= 1000):
                yield batch
                batch = []
            batch.append(resource)
        yield batch

    def _pending(self, now: str) -> dict[str, str]:
        """The removals that are still to come; what is there again is none any more."""
        due = (moment(now) + self._grace).replace(tzinfo=None).isoformat()
        pending = dict(self._there.state.pending)
        for key in self._deletes:
            pending.setdefault(key, due)
        if not pending:
            return {}
        wanted: set[str] = set()
        for name in {name for key in pending if (name := package_in(key))}:
            document = self._nodes.get(self.root.tree, name)
            wanted.update(r.path for r in self._form.package(document))
        rows = _sorted(self._rows)
        wanted.update(r.path for r in self._form.aggregates(rows, rows))
        return {key: when for key, when in pending.items() if key not in wanted}

    def _has(self, resource: Resource) -> bool:
        listed = self._there_already.get(resource.path)
        return listed is not None and self._place.holds(listed, resource)

    def _take_turn(self, publisher: str, now: str) -> None:
        state = self._there.state
        self._busy = Busy(publisher, now, self.states, self.edition.at)
        self._began = _seconds()
        # Killed, views of two forms are there: whoever comes next must trust neither.
        form = "" if self.new_form else state.form
        self._hold(State(form, self._busy, state.pending), self._there.state_tag)

    def _renew(self, after: float) -> None:
        """Say that we are still here, if that was not said for so many seconds.

        Raises:
            Outdated: somebody else took over.
        """
        now = _seconds()
        if now - self._held_at < after:
            return
        since = timedelta(seconds=now - self._began)
        at = (moment(self._busy.time) + since).replace(tzinfo=None).isoformat()
        state = self._there.state
        form = "" if self.new_form else state.form
        busy = msgspec.structs.replace(self._busy, time=at)
        try:
            self._hold(State(form, busy, state.pending), self._held)
        except Outdated as error:
            raise Outdated(
                f"{self._place.name}: this publish was silent for so long that somebody else took "
                "its turn; run 'publish', then 'publish --audit --repair'"
            ) from error

    def _hold(self, state: State, tag: str | None) -> None:
        self._held = self._place.swap(STATE, msgspec.json.encode(state), tag)
        self._held_at = _seconds()


def _portions(resources: Sequence[Resource]) -> Iterator[list[Resource]]:
    """The same in lists of so few bytes that a turn can be renewed between them."""
    portion: list[Resource] = []
    size = 0
    for resource in resources:
        portion.append(resource)
        size += size_of(resource)
        if size >= _BYTES_AT_ONCE:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _seconds() -> float:
    """A clock that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _sorted(rows: dict[str, ListEntry]) -> list[ListEntry]:
    return [rows[name] for name in sorted(rows)]
