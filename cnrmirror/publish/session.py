"""One publish from beginning to end: wait for a turn, join with what others did, carry out."""

from __future__ import annotations

from datetime import UTC, datetime
from types import TracebackType

from cnrmirror.catalog.nodes import LayeredNodes, RemoteNodes
from cnrmirror.client.remote import Remote
from cnrmirror.mirror.config import PublishTo
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import ConflictError
from cnrmirror.objects.base import Objects, Reader
from cnrmirror.objects.s3 import BucketObjects
from cnrmirror.publish.engine import Problem, Publish, Published
from cnrmirror.publish.lease import There, relation, wait_for_turn
from cnrmirror.publish.merge import merge
from cnrmirror.publish.open import Memory, form_of, open_destination, reader_of
from cnrmirror.publish.plan import Plan, check_plan
from cnrmirror.trust.verify import Policy, Trust


class Session:
    """A mirror, a place, and what they know of each other.

    Args:
        place: the target, opened to be written.
        fetcher: reads it as any client does.
        merge: join with what somebody else published there; else that is a conflict.
    """

    def __init__(
        self,
        project: Project,
        target: PublishTo,
        memory: Memory,
        place: Objects,
        fetcher: Reader,
        merge: bool = True,
    ) -> None:
        self._project = project
        self._target = target
        self._merge = merge
        self.memory = memory
        self.place = place
        self._fetcher = fetcher

    @classmethod
    def open(cls, project: Project, target: PublishTo, merge: bool = True) -> Session:
        """A session with a target of mirror.yaml. Raises AccessDenied, InputError."""
        memory = Memory(project, target)
        place = open_destination(project, target)
        known = memory.known
        if isinstance(place, BucketObjects) and known.endpoint == place.endpoint:
            place.conditions = known.conditions
        return cls(project, target, memory, place, reader_of(target), merge)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if isinstance(self.place, BucketObjects):
            # Only a good answer is kept: an endpoint may learn.
            self.memory.known.conditions = self.place.conditions or None
            self.memory.known.endpoint = self.place.endpoint
            self.memory.save()
        self.place.close()
        self._fetcher.close()

    def plan(self, now: str) -> Plan:
        """What a publish would do now. Raises ConflictError if it would have to merge."""
        there = self._turn(now, wait=0)
        found = self._compare(there)
        if found == "other":
            raise ConflictError(
                f"{self.place.name}: somebody else published revision "
                f"{there.edition.revision if there.edition else 0} there; 'publish' joins both"
            )
        return self._publish(there).plan(now)

    def publish(self, now: str, saved: Plan | None = None) -> Published:
        """Carry it out; with a saved plan, only that.

        Raises:
            ConflictError: what is there cannot be joined, or is not what the plan was made for.
            BusyError: somebody else publishes there.
        """
        there = self._turn(now, self._project.config.lock_wait_seconds)
        found = self._compare(there)
        if saved is not None and found != "ours":
            raise ConflictError(
                f"{self.place.name} is not as it was when the plan was made: make a new plan"
            )
        if found == "ahead":
            assert there.edition is not None
            note = f"it is ahead of this mirror: revision {there.edition.revision}"
            return self._nothing(there, note)
        if found == "other":
            self._join(there, now)
        if there.edition is None and there.state_tag is None:
            self._refuse_another_site()
        work = self._publish(there)
        if saved is not None:
            check_plan(saved, work.plan(now))
        if work.nothing_to_do(now):
            return self._nothing(there)
        done = work.run(self.memory.known.publisher, now)
        if work.new_form:
            # Of views in another form nothing is known: what is left of them is looked for.
            self.audit(now, repair=True)
        return done

    def audit(self, now: str, repair: bool) -> list[Problem]:
        """What is wrong at the place; put right, if asked for."""
        there = self._turn(now, self._project.config.lock_wait_seconds if repair else 0)
        if self._compare(there) in ("other", "ahead"):
            raise ConflictError(
                f"{self.place.name}: somebody else published there; run 'publish' first"
            )
        work = self._publish(there)
        problems = work.audit()
        if repair and (problems or there.state.busy):
            work.repair(problems, self.memory.known.publisher, now)
        return problems

    def _refuse_another_site(self) -> None:
        """A place that is new to us may be somebody's: its front page is not written over."""
        found = self.place.read("index.html", 4 << 20)
        if found is not None and b"cnr/api/v1/packages" not in found[0]:
            raise ConflictError(
                f"{self.place.name}: there is another site already (index.html): publish below a "
                "prefix or folder of its own, or remove that file first"
            )

    def _turn(self, now: str, wait: float) -> There:
        return wait_for_turn(self._project, self.place, self.memory.known.publisher, now, wait)

    def _compare(self, there: There) -> str:
        """``ours``, ``ahead`` (it has all of ours, and more), or ``other``."""
        edition = there.edition
        if edition is None:
            return "ours"
        found = relation(self._project, edition)
        ours = self._project.metadata.edition()
        if found != "other":
            newer = ours.follows(edition) or edition.timestamp == ours.timestamp
            if found == "ours" and not newer:
                return "ahead"  # somebody else signed the same revision again
            return "ours" if newer else "other"
        remote = self._remote()
        for at, root in remote.catalog.history(remote.verified.at):
            if at == ours.at:
                return "ahead"
            if root.revision <= ours.revision:
                break
        return "other"

    def _remote(self) -> Remote:
        """The place, verified as any client does, from our own newest root."""
        repository = self._project.metadata
        version = repository.timestamp().kept.root
        layout = self._project.layout
        trust = Trust(
            repository.read(f"{version}.root.json"), layout.trust_cache / "destinations",
            layout.destination_trust_memory / self.memory.known.publisher,
        )  # fmt: skip
        return Remote(self._fetcher, trust.verify(self._fetcher, Policy(), datetime.now(UTC)))

    def _join(self, there: There, now: str) -> None:
        if not self._merge:
            assert there.edition is not None
            raise ConflictError(
                f"{self.place.name}: somebody else published revision {there.edition.revision} "
                "there, which this mirror does not have; without --no-merge, both are joined"
            )
        assert there.edition is not None
        nodes = LayeredNodes(self._project.store, RemoteNodes(self._fetcher))
        merge(self._project, self._remote(), nodes, there.edition, now)

    def _publish(self, there: There) -> Publish:
        form = form_of(self._project, self._target)
        nodes = LayeredNodes(self._project.store, RemoteNodes(self._fetcher))
        return Publish(self._project, self.place, form, there, nodes, self._target.grace_minutes)

    def _nothing(self, there: There, *notes: str) -> Published:
        revision = there.edition.revision if there.edition else 0
        notes = (*self.place.notes, *notes)
        return Published(
            self.place.name, revision, revision, 0, 0, 0, self.place.requests, 0.0, list(notes)
        )
