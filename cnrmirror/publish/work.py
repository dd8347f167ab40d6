"""One publish before it is carried out: from what was seen at a destination to a revision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Literal

import msgspec

from cnrmirror.catalog.delta import immutable_files, metadata_files, revisions_from
from cnrmirror.catalog.tree import EMPTY, CatalogReader, Nodes
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.retire import between
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, Head
from cnrmirror.model.errors import DamageError, IncompleteError
from cnrmirror.model.resource import Resource
from cnrmirror.model.signed import TIMESTAMP
from cnrmirror.objects.base import Objects
from cnrmirror.publish.diff import Form, ViewDiff
from cnrmirror.publish.lease import moment
from cnrmirror.publish.limits import too_much
from cnrmirror.publish.look import Seen
from cnrmirror.publish.plan import Operation, Plan, size_of
from cnrmirror.views.site import ViewGroups

State = Descriptor | None
_MOST_RETIRED = 300


class Work:
    """What has to be done.

    Args:
        project: the mirror; what it stands at now is what is published.
        destination: where to.
        form: the views that the destination has.
        seen: what was found there.
        nodes: reads nodes of revisions that only the destination may have.
        grace: how long what was removed can still be read.
        disturbed: more revisions of which the views may be, known from a run that lost its lease.
    """

    def __init__(
        self, project: Project, destination: Objects, form: Form, seen: Seen, nodes: Nodes,
        grace: timedelta, disturbed: Sequence[State] = (),
    ) -> None:  # fmt: skip
        self.project = project
        self.destination = destination
        self.form = form
        self.seen = seen
        self.head = project.metadata.signed_head()
        self.root = project.catalog.root(self.head.at)
        self._layered = nodes
        self._nodes = CatalogReader(nodes)
        self._grace = grace
        self._disturbed = list(disturbed)

    @cached_property
    def states(self) -> list[State]:
        """The revisions between which the views stand; None for "nothing"."""
        head, lease = self.seen.head, self.seen.state.lease
        states = [*(lease.states if lease else []), *self._disturbed]
        states.append(head.at if head else None)
        # Views of a revision are written after its root: where there is none, there are none.
        if lease and self._root_of(lease.to) is not None:
            states.append(lease.to)
        return [state for n, state in enumerate(states) if state not in states[:n]]

    @property
    def new_form(self) -> bool:
        """Whether the views there are of another form: then nothing is known of them."""
        return self.seen.head is not None and self.seen.state.form != self.form.fingerprint

    @property
    def behind(self) -> bool:
        """Whether the timestamp has still to be written there."""
        return self.seen.head is None or self.seen.head.timestamp != self.head.timestamp

    def nothing_to_do(self, now: str) -> bool:
        """Whether the destination has everything already."""
        unfinished = self.seen.state.lease is not None or bool(self._disturbed)
        waits = self.sweep_is_due(now) or bool(self.due(now))
        return not (self.behind or unfinished or self.new_form or waits)

    def due(self, now: str) -> list[str]:
        """The removals whose time of grace is over."""
        return [key for key, when in self.seen.state.pending.items() if when <= now]

    def sweep(self, now: str) -> str:
        """When what only a former form had may go; "" if there was none."""
        noted = self.seen.state.sweep
        # A first publish that was killed may have been of another form.
        if self.new_form or (self.seen.head is None and self.seen.state.lease is not None):
            return self._in_grace(now)
        # Where nothing is to be kept any more, neither is this.
        return noted and min(noted, self._in_grace(now))

    def sweep_is_due(self, now: str) -> bool:
        """Whether there may be such files, and they may go."""
        return "" < self.sweep(now) <= now

    def _in_grace(self, now: str) -> str:
        return (moment(now) + self._grace).replace(tzinfo=None).isoformat()

    # -- what is written --

    def immutable(self) -> Iterator[list[Resource]]:
        """Blobs, nodes and catalog roots that the destination may lack."""
        known = self._root_of(self.seen.head.at) if self.seen.head else None
        partial = self.project.partial
        sent = partial.sent if partial and partial.place is self.destination else ()
        for files in self._files(known):
            if left := [file for file in files if file.path not in sent]:
                yield left

    def _files(self, known: CatalogRoot | None) -> Iterator[list[Resource]]:
        return immutable_files(self.project.store, self._nodes, self.head, known)

    def views(self) -> ViewDiff:
        """What of the views may not be as it must be."""
        states = [None] if self.new_form else self.states
        return self._diff([self._state_of(state) for state in states])

    def metadata(self) -> list[Resource]:
        """The signed files that the destination may lack, but for the timestamp."""
        return metadata_files(self.project.metadata, self.head, self.seen.head)

    def everything(self) -> Iterator[Resource]:
        """All that the destination must have, in the order in which it may be written."""
        for files in self._files(None):
            yield from files
        for batch in self._diff([None]).batches():
            yield from batch.puts
        yield from metadata_files(self.project.metadata, self.head, None)
        yield self.timestamp()

    def timestamp(self) -> Resource:
        """The timestamp, which is written last."""
        return Resource(TIMESTAMP, self.head.timestamp, cache="no-cache")

    def pending(self, deletes: Sequence[str], now: str) -> dict[str, str]:
        """The removals that are still to come; what is there again is none any more."""
        due = self._in_grace(now)
        pending = dict(self.seen.state.pending)
        for key in deletes:
            pending.setdefault(key, due)
        if not pending:
            return {}
        wanted: set[str] = set()
        site = self.form.site
        for name in {name for key in pending if (name := site.package_in(key))}:
            document = self._nodes.get(self.root.tree, name)
            package = site.load(self._nodes, document, None) if document else None
            wanted.update(r.path for r in self.form.package(package))
        wanted.update(r.path for r in self.form.all_lists(self.groups, self.root))
        return {key: when for key, when in pending.items() if key not in wanted}

    def retired(self) -> list[str]:
        """What only revisions needed that are retained no more, as far as that is cheap to tell.

        Their documents are read there: of more than some hundred revisions, ``--audit --repair``
        finds the files sooner.
        """
        there = self.seen.head
        if there is None or not 0 < self.head.kept.revision - there.kept.revision <= _MOST_RETIRED:
            return []
        try:
            chain = revisions_from(self._nodes, self.head.at, there.kept.revision)[::-1]
            if all(at != there.at for at, _ in chain):
                return []  # somebody else's history
            return between(self._layered, chain, there.kept, self.head.kept).paths
        except (DamageError, IncompleteError):
            return []

    def _diff(self, states: Sequence[CatalogRoot | None]) -> ViewDiff:
        store = self.project.store
        return ViewDiff(self._nodes, store, self.form, states, self.root, self.groups)

    def _state_of(self, state: State) -> CatalogRoot | None:
        """The root of a state; of one that cannot be read, a root of nothing."""
        if state is None:
            return None
        return self._root_of(state) or msgspec.structs.replace(self.root, tree=EMPTY, revision=0)

    def _root_of(self, at: Descriptor) -> CatalogRoot | None:
        try:
            return self._nodes.root(at)
        except (DamageError, IncompleteError):
            return None

    @cached_property
    def groups(self) -> ViewGroups:
        """The entries of every view, of the revision that is published."""
        known = self.project.known_groups(Head(self.head.at, self.head.revision))
        if known is not None:
            return known
        return self.form.site.read_entries(self.project.catalog, self.root.tree)

    # -- as a plan --

    def plan(self, now: str) -> Plan:
        """All of it, without doing any of it."""
        operations: list[Operation] = []
        deletes: list[str] = []
        for files in self.immutable():
            operations += map(_put, files)
        for batch in self.views().batches():
            operations += map(_put, batch.puts)
            deletes += batch.deletes
        operations += map(_put, self.metadata())
        if self.behind:
            operations.append(Operation("put", TIMESTAMP, len(self.head.timestamp)))
        later: Literal["delete", "delete later"] = "delete later" if self._grace else "delete"
        operations += [Operation(later, key) for key in dict.fromkeys(deletes)]
        operations += [Operation("delete", key) for key in (*self.due(now), *self.retired())]
        refused = list(too_much(self.form.host, self.everything()))
        outline = self.outline(now)
        return msgspec.structs.replace(outline, operations=operations, too_much=refused)

    def outline(self, now: str) -> Plan:
        """The plan without its operations, which follow from the rest: nothing is rendered."""
        head = self.seen.head
        basis = [
            self.states, self.head.timestamp, head.timestamp if head else b"", self._grace.seconds,
            sorted(self.due(now)), self.sweep_is_due(now),
        ]  # fmt: skip
        return Plan(
            self.destination.name,
            head.revision if head else None,
            self.head.revision,
            head.at.digest if head else "",
            self.head.at.digest,
            self.form.fingerprint,
            [],
            Descriptor.of(msgspec.json.encode(basis)).digest,
            self.form.left_out,
            new_form=self.new_form,
        )


def _put(resource: Resource) -> Operation:
    return Operation("put", resource.path, size_of(resource))
