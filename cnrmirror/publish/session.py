"""One publish from beginning to end: wait for a turn, join what others did, carry out.

Whoever looks, and is overtaken before the lease is taken or while it is held, looks again: what
came meanwhile is joined, and no user is told of a race that can be run again.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import TracebackType
from typing import TypeVar

import msgspec

from cnrmirror.catalog.nodes import LayeredNodes, RemoteNodes
from cnrmirror.client.remote import Remote
from cnrmirror.mirror.places import open_place
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot
from cnrmirror.model.errors import BusyError, CnrMirrorError, ConflictError, NotTrusted, UsageError
from cnrmirror.model.finding import Finding
from cnrmirror.model.progress import Total
from cnrmirror.model.signed import MAX_BYTES, TIMESTAMP
from cnrmirror.objects.base import Objects
from cnrmirror.publish.audit import audit, repair
from cnrmirror.publish.couriers import Couriers
from cnrmirror.publish.diff import Form
from cnrmirror.publish.engine import Published, carry_out
from cnrmirror.publish.lease import HeldLease, LeaseLost, is_dead, leave_word
from cnrmirror.publish.look import Overtaken, Relation, Seen, look_when_free, own_history, relation
from cnrmirror.publish.merge import merge
from cnrmirror.publish.open import DestinationMemory, form_of
from cnrmirror.publish.plan import Plan, check_plan
from cnrmirror.publish.roles import newer_roles, take_over
from cnrmirror.publish.work import State, Work
from cnrmirror.trust.verify import Policy, Trust

_ATTEMPTS = 20
_PAUSE_SECONDS = 0.2
# Every front page of a mirror has it, with and without the pages; what only tells of one has not.
_LINK_OF_OURS = b'href="cnr/api/v1/packages"'
T = TypeVar("T")


class Session:
    """A mirror, a destination, and what they know of each other.

    Args:
        target: what mirror.yaml says of the destination.
        memory: what was learned of it before.
        destination: the destination itself.
        merge: join with what somebody else published there; else that is a conflict.
    """

    def __init__(
        self, project: Project, target: PublishTo, memory: DestinationMemory,
        destination: Objects, merge: bool = True,
    ) -> None:  # fmt: skip
        self._project = project
        self._target = target
        self._merge = merge
        self.memory = memory
        self.destination = destination
        self._disturbed: list[State] = []  # a run that lost its lease may have left their views
        self.overtaken = False  # whether the last publish found somebody ahead, and left it so
        self.couriers: Couriers | None = None  # who else sends archives

    @classmethod
    def open(cls, project: Project, target: PublishTo, merge: bool = True) -> Session:
        """A session with a destination of mirror.yaml. Raises AccessDenied, InputError."""
        memory = DestinationMemory(project, target)
        destination = open_place(target, project.store)
        destination.recall(memory.learned)
        return cls(project, target, memory, destination, merge)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.memory.save(self.destination.learned())
        self.destination.close()

    # -- what can be asked for --

    def plan(self, now: str) -> Plan:
        """What a publish would do now. Raises ConflictError if it would have to merge."""
        seen = look_when_free(self._project, self.destination, now, 0)
        work = self._work(seen)
        if work.nothing_to_do(now):
            return work.outline(now)
        if newer_roles(self._project, self.destination, seen):
            raise ConflictError(
                f"{self.destination.name}: keys were rotated there; 'publish' takes them over"
            )
        match self.relation(seen):
            case "diverged":
                raise ConflictError(
                    f"{self.destination.name}: somebody else published revision "
                    f"{seen.head.revision if seen.head else 0} there; 'publish' merges both"
                )
            case "ahead" if not self._must_join(seen, now):
                return work.outline(now)
        return work.plan(now)

    def publish(self, now: str, saved: Plan | None = None, catch_up: bool = False) -> Published:
        """Carry it out; with a saved plan, only that.

        Args:
            now: ISO 8601, UTC.
            saved: the plan.
            catch_up: where the destination is ahead, take up what is there, and sign it as ours.

        Raises:
            ConflictError: what is there cannot be joined, or is not what the plan was made for.
            NotTrusted: keys were rotated there that this mirror does not have.
            BusyError: somebody else publishes there.
        """

        def attempt() -> Published:
            return self._publish(now, saved, catch_up)

        return self._again(attempt, now)

    def audit(self, now: str, repair: bool) -> list[Finding]:
        """What is wrong at the destination; put right, if asked for."""

        def attempt() -> list[Finding]:
            return self._repair(now)

        if repair:
            return self._again(attempt, now)
        seen = look_when_free(self._project, self.destination, now, 0)
        self._refuse_more(seen)
        return audit(self._work(seen), now)

    # -- one attempt --

    def _again(self, attempt: Callable[[], T], now: str) -> T:
        try:
            return self._tried(attempt)
        except Exception as error:
            self._leave_word(now, error)
            raise

    def _leave_word(self, now: str, error: Exception) -> None:
        """Views that a run wrote after it had lost its lease are to be found by whoever is next."""
        deadline = time.monotonic() + self._project.config.lock_wait_seconds
        try:
            while self._disturbed:
                to = self._project.head().catalog
                if leave_word(self.destination, self._disturbed, to, now):
                    return
                if time.monotonic() > deadline:
                    error.add_note("some views there may be old: run 'publish --audit --repair'")
                    return
                time.sleep(random.uniform(0, _PAUSE_SECONDS))
        except CnrMirrorError as second:
            error.add_note(f"some views there may be old: {second.message}")

    def _tried(self, attempt: Callable[[], T]) -> T:
        for number in range(_ATTEMPTS):
            try:
                return attempt()
            except LeaseLost:
                if number + 1 < _ATTEMPTS:
                    time.sleep(random.uniform(0, _PAUSE_SECONDS))
        raise BusyError(
            f"{self.destination.name}: others published there {_ATTEMPTS} times while this run "
            "tried to: try again later"
        )

    def _publish(
        self, now: str, saved: Plan | None, catch_up: bool = False, sweep: bool = True
    ) -> Published:
        seen = look_when_free(
            self._project, self.destination, now, self._project.config.lock_wait_seconds
        )
        self.overtaken = False
        work = self._work(seen)
        if saved is not None:
            check_plan(saved, work.outline(now))
        if work.nothing_to_do(now):
            good_until = str(self._project.metadata.freshness().first.at)
            return msgspec.structs.replace(self._nothing(seen), good_until=good_until)
        joined = self._join(seen, now, saved, catch_up)
        if joined == "ahead":
            assert seen.head is not None
            self.overtaken = True
            number = seen.head.revision
            note = f"ahead of this mirror: revision {number}; --catch-up brings this mirror up"
            return self._nothing(seen, note)
        if seen.head is None and seen.state_tag is None:
            self._refuse_another_site()
        self._fence(seen, now)
        work = self._work(seen)
        total = Total(saved.puts, saved.bytes) if saved else None
        with self._lease(work, now) as lease:
            done = carry_out(work, lease, now, total, self.couriers)
        self._disturbed.clear()
        if sweep and work.sweep_is_due(now):
            # Of views in another form nothing is known: what is left of them is looked for.
            done = self._with_sweep(done, now)
        return done

    def _with_sweep(self, done: Published, now: str) -> Published:
        """The same publish, and what only a former form had removed; if not now, then next time."""
        try:
            found = self._put_right(now)
        except (LeaseLost, BusyError):
            if self._disturbed:
                raise
            return done
        removed = sum(finding.problem == "extra" for finding in found)
        return msgspec.structs.replace(done, deletes=done.deletes + removed)

    def _join(self, seen: Seen, now: str, saved: Plan | None, catch_up: bool) -> Relation:
        """Bring in what the mirror lacks; how the destination is related to it then."""
        newer = newer_roles(self._project, self.destination, seen)
        if newer:
            take_over(self._project, self.destination, newer, seen, now)
        found = self.relation(seen)
        if found == "ahead" and not (newer or catch_up or self._must_join(seen, now)):
            return "ahead"
        if found in ("equal", "behind"):
            return found
        assert seen.head is not None
        if saved is not None:
            raise ConflictError(
                f"{self.destination.name} is not as it was when the plan was made: make a new plan"
            )
        if not self._merge:
            raise ConflictError(
                f"{self.destination.name}: somebody else published revision {seen.head.revision} "
                "there, which this mirror does not have; without --no-merge, both are merged"
            )
        nodes = LayeredNodes(self._project.store, RemoteNodes(self.destination))
        merge(self._project, self._remote(seen), nodes, seen.head, now)
        return "behind"

    def _must_join(self, seen: Seen, now: str) -> bool:
        """Whether a destination that is ahead still lacks something that only a new head brings.

        That is a newer root or targets, the end of a run that did not come to it, or one signature
        for what two mirrors signed, each by itself.
        """
        if seen.head is None:
            return False
        ours = self._project.metadata.signed_head()
        newer = (
            ours.kept.root > seen.head.kept.root or ours.targets.version > seen.head.targets.version
        )
        unfinished = seen.state.lease is not None or bool(self._disturbed)
        # Of two signatures for one revision with the same versions, one mirror gives way.
        apart = seen.head.at == ours.at and not seen.head.follows(ours)
        first = (ours.version, ours.timestamp) > (seen.head.version, seen.head.timestamp)
        return newer or (unfinished and self._merge) or (apart and first and self._can_sign(now))

    def _can_sign(self, now: str) -> bool:
        try:
            with self._project.signing(now):
                return True
        except (NotTrusted, UsageError):
            return False

    def _fence(self, seen: Seen, now: str) -> None:
        """Sign the timestamp again if a run that may still wake up wants to replace that one.

        Its compare-and-swap then fails, and nothing that it named is needed any more.
        """
        lease = seen.state.lease
        ours = self._project.metadata.signed_head()
        if lease is None or not lease.run or is_dead(lease):
            return
        if seen.head is None or seen.head.timestamp != ours.timestamp:
            return
        # Who has no keys brings the views to an end, and has nothing that a sleeper could undo.
        with contextlib.suppress(NotTrusted, UsageError), self._project.signing(now):
            assert self._project.signer is not None
            self._project.signer.keep_from(ours.kept, now)

    @contextlib.contextmanager
    def _lease(self, work: Work, now: str) -> Iterator[HeldLease]:
        """The lease, for what was seen; a run that loses it remembers what it has disturbed."""
        seen = work.seen
        held = HeldLease(
            self.destination, seen.state, seen.state_tag, work.states, work.head.at, now
        )
        try:
            with held as lease:
                found = self.destination.read(TIMESTAMP, MAX_BYTES)
                if (found[1] if found else None) != seen.tag:
                    raise LeaseLost(f"{self.destination.name}: somebody else published there")
                yield lease
        except LeaseLost:
            if held.taken:
                self._disturbed += [*work.states, work.head.at]
            raise

    def _repair(self, now: str) -> list[Finding]:
        seen = look_when_free(
            self._project, self.destination, now, self._project.config.lock_wait_seconds
        )
        self._refuse_more(seen)
        if not self._work(seen).nothing_to_do(now) and self.relation(seen) != "ahead":
            # What the timestamp names must be ours before anything is overwritten or removed.
            self._publish(now, None, sweep=False)
        return self._put_right(now)

    def _put_right(self, now: str) -> list[Finding]:
        """What is not as the mirror's own revision, at which the destination stands, has it.

        Raises LeaseLost if it does not stand there any more: then views must not be compared.
        """
        seen = look_when_free(self._project, self.destination, now, 0)
        if self.relation(seen) != "equal":
            raise LeaseLost(f"{self.destination.name}: somebody else published there")
        work = self._work(seen)
        problems = audit(work, now)
        if problems or work.sweep_is_due(now):
            with self._lease(work, now) as lease:
                repair(work, lease, problems, now)
        return problems

    # -- what is there --

    def _refuse_more(self, seen: Seen) -> None:
        """Raises ConflictError if something was published there that the mirror does not have."""
        if self.relation(seen) in ("diverged", "ahead") or newer_roles(
            self._project, self.destination, seen
        ):
            name = self.destination.name
            raise Overtaken(f"{name}: somebody else published there; run 'publish' first")

    def _refuse_another_site(self) -> None:
        """A destination that is new to us may be somebody's: its front page is left alone."""
        found = self.destination.read("index.html", 4 << 20)
        if found is not None and _LINK_OF_OURS not in found[0]:
            raise ConflictError(
                f"{self.destination.name}: there is another site already (index.html): publish "
                "below a prefix or folder of its own, or remove that file first"
            )

    def relation(self, seen: Seen) -> Relation:
        """How what was seen is related to the mirror. Raises TrustError: it is not to be taken."""
        ours = self._project.metadata.signed_head()

        def our_history() -> Iterator[tuple[Descriptor, CatalogRoot]]:
            return own_history(self._project, ours.at)

        def their_history() -> Iterator[tuple[Descriptor, CatalogRoot]]:
            remote = self._remote(seen)
            return remote.catalog.history(remote.verified.at)

        def was_ours(at: Descriptor) -> bool:
            return at.digest in self._project.lineage.of(ours.at.digest)

        return relation(ours, seen.head, our_history, their_history, was_ours)

    def _remote(self, seen: Seen) -> Remote:
        """The destination, verified as any client does, from the newest root that both have."""
        repository = self._project.metadata
        version = repository.signed_head().kept.root
        if seen.head is not None:
            version = min(version, seen.head.kept.root)
        layout = self._project.layout
        trust = Trust(
            repository.read(f"{version}.root.json"),
            layout.trust_cache / "destinations" / self.memory.name,
            layout.destination_trust_memory / self.memory.name,
        )  # fmt: skip
        verified = trust.verify(self.destination, Policy(any_age=True), datetime.now(UTC))
        return Remote(self.destination, verified)

    @cached_property
    def _form(self) -> Form:
        return form_of(self._project, self._target)

    def _work(self, seen: Seen) -> Work:
        nodes = LayeredNodes(self._project.store, RemoteNodes(self.destination))
        return Work(
            self._project, self.destination, self._form, seen, nodes,
            timedelta(minutes=self._target.grace_minutes), self._disturbed,
        )  # fmt: skip

    def _nothing(self, seen: Seen, *notes: str) -> Published:
        revision = seen.head.revision if seen.head else 0
        return Published(
            self.destination.name, revision, revision, 0, 0, 0, self.destination.requests, 0.0,
            [*self.destination.notes, *notes],
        )  # fmt: skip
