"""A mirror in an object store (mirror.yaml: ``store``), and this machine's part of it.

A command begins with what stands in the store, and ends when its revision stands there: published
by the same engine as to any other place, under its lease. Several machines may work so; whoever was
overtaken joins both.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import msgspec

from cnrmirror.mirror.mark import own_mark
from cnrmirror.mirror.places import placed
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.settings import StoreAt
from cnrmirror.model.errors import (
    BusyError,
    CnrMirrorError,
    ConflictError,
    DamageError,
    IncompleteError,
    InputError,
    NotFoundError,
    NotTrusted,
    UsageError,
)
from cnrmirror.model.instant import Instant
from cnrmirror.model.signed import MAX_BYTES, METADATA, FileInfo, SignedHead, signed_head_of
from cnrmirror.objects.files import locked, read_regular, replace_durably, storage_errors
from cnrmirror.publish import intakes
from cnrmirror.publish.engine import Published
from cnrmirror.publish.look import Relation, look
from cnrmirror.publish.open import DestinationMemory
from cnrmirror.publish.private import PrivateMemory
from cnrmirror.publish.session import Session
from cnrmirror.trust.succession import succession
from cnrmirror.trust.verify import Policy, Trust, parse_pinned

_FOLLOW_SECONDS = 5


def opened(project: Project, tell: Callable[[str], object] = lambda text: None) -> Project:
    """The same mirror; if it has a store, what others did there is known, and changes go there.

    Raises:
        NotFoundError: there is no mirror in the store.
        TrustError, NetworkError, AccessDenied: it cannot be read, or must not be believed.
    """
    if project.partial is not None:
        Shared(project, tell).catch_up()
    return project


class Shared:
    """The store of a mirror, which others may change, too.

    Args:
        project: the mirror; from now on its changes begin and end in the store.
        tell: is told what a person should know.
    """

    def __init__(self, project: Project, tell: Callable[[str], object] = lambda text: None) -> None:
        assert project.partial is not None and project.config.store is not None
        self.project = project
        self.place = project.partial.place
        self._store = project.partial
        self.target = placed(project.folder, project.config.store)
        self._memory = DestinationMemory(project, self.target)
        self.place.recall(self._memory.learned)
        self.session = Session(project, self.target, self._memory, self.place)
        self._private = self._private_memory(project.config.store)
        self._tell = tell
        self._run = uuid.uuid4().hex
        self._store.before_sending = self._say_intake
        self._lock = threading.RLock()
        self._depth = 0
        project.turn = self.turn

    def _private_memory(self, at: StoreAt) -> PrivateMemory | None:
        if not at.memory:
            return None
        folder = self.project.folder
        target = placed(folder, msgspec.structs.replace(at, to=at.memory))
        if f"{target.to}/".startswith(f"{self.target.to.rstrip('/')}/"):
            raise UsageError(f"store.memory: {at.memory} is within the mirror, which is public")
        return PrivateMemory(self.project.layout, target, self._store)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Around a change: what others did comes here before, and what was done goes there after.

        Raises:
            ConflictError: somebody changed the same meanwhile; nothing of this change is left.
            NetworkError: it is made, and not in the store yet: the next command brings it there.
        """
        with self.alone():
            if self._depth > 1:
                yield
                return
            self.finish()
            yield
            self.share()

    @contextlib.contextmanager
    def alone(self, wait: float | None = None) -> Iterator[None]:
        """No other turn in this folder; and what begins within it is no turn of its own.

        Args:
            wait: how many seconds another process may go on; None: as mirror.yaml says.

        Raises:
            BusyError: another process has its turn all the while.
        """
        with contextlib.ExitStack() as held:
            held.enter_context(self._lock)
            if not self._depth:
                held.enter_context(self._no_other_process(wait))
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def _no_other_process(self, wait: float | None) -> contextlib.AbstractContextManager[None]:
        layout = self.project.layout
        with storage_errors(str(layout.scratch)):
            layout.scratch.mkdir(parents=True, exist_ok=True)
        wait = self.project.config.lock_wait_seconds if wait is None else wait
        return locked(layout.turn_lock, wait)

    def catch_up(self) -> Relation:
        """Have what stands in the store, if it has all that is here; how both are related then.

        While another command has its turn in this folder, what is here stays as it is.

        Raises:
            NotFoundError: there is no mirror.
            DamageError: there was one, and it is gone.
        """
        if self._private is not None:
            self._private.bring()
        found = self._relation()
        if found != "ahead":
            return found
        is_here = self.project.signed_head_or_none() is not None
        try:
            with self.alone(wait=0 if is_here else None):
                # A command in this folder may have changed it meanwhile.
                found = self._relation()
                if found == "ahead":
                    self._take()
                    found = "equal"
        except BusyError:
            if not is_here:
                raise
        return found

    def finish(self) -> None:
        """The same; what a command of this machine did not bring to its end is brought there."""
        with self.alone():
            if self.catch_up() == "equal":
                return
            try:
                self.share()
            except CnrMirrorError as error:
                error.add_note("that was an earlier command's; this one has not begun")
                raise

    def _relation(self) -> Relation:
        """How what stands in the store is related to what is here."""
        seen = look(self.project, self.place)
        ours = self.project.signed_head_or_none()
        if seen.head is None:
            self._refuse_empty(ours is None)
        if ours is None:
            return "ahead"
        found = self.session.relation(seen)
        # Retention may have cut what both have in common: then only what is remembered tells.
        return "ahead" if found == "diverged" and self._stood(ours) else found

    def _stood(self, ours: SignedHead) -> bool:
        """Whether what is here is what stood in the store last: then nothing of it is our own."""
        mark = self.trust().mark()
        return mark is not None and (mark.timestamp, mark.digest) == (ours.version, ours.at.digest)

    def _refuse_empty(self, new: bool) -> None:
        """Raises DamageError if there was a mirror, NotFoundError if there never was."""
        known = self.trust().mark() if self.project.layout.root.exists() else None
        if known is not None:
            raise DamageError(
                f"{self.place.name}: nothing is there any more, and it was at revision "
                f"{known.revision}: is the right place mounted, and named in mirror.yaml? Else "
                f"put a copy back; without {self.project.layout.store_trust_memory}, nobody "
                "remembers that it was there"
            )
        if new:
            raise NotFoundError(
                f"{self.place.name}: there is no mirror yet; see 'cnrmirror init --help'"
            )

    def _say_intake(self) -> None:
        intakes.say(self.place, self._run, _now())

    def follow(self, tell: Callable[[str], object]) -> None:
        """Keep up with the store while this process lives; ``tell`` is told what is in the way."""

        def look_again() -> None:
            while True:
                time.sleep(_FOLLOW_SECONDS)
                try:
                    self.catch_up()
                except CnrMirrorError as error:
                    tell(error.message)
                except Exception as error:  # whatever it was, the next look may be well
                    tell(f"{type(error).__name__}: {error}")

        threading.Thread(target=look_again, daemon=True, name="follow").start()

    def share(self) -> Published:
        """Bring the mirror's revision into the store, joined with what others did there."""
        with self.alone():
            done = self._publish()
            if self.session.overtaken:
                self._take()
            if self._store.sent:
                intakes.say(self.place, self._run, None)
            with self.project.alone():
                self._store.settle()
            self._memory.save(self.place.learned())
            self.trust().remember(own_mark(self.project, self.project.metadata.signed_head()))
            if self._private is not None:
                self._private.send()
            return done

    def _publish(self) -> Published:
        try:
            return self.session.publish(str(_now()))
        except (ConflictError, NotTrusted, DamageError, IncompleteError) as error:
            self._give_up(error)
            raise
        except CnrMirrorError as error:
            error.add_note("it is made, and not in the store yet: the next command sends it")
            raise

    def _give_up(self, error: CnrMirrorError) -> None:
        """Forget a revision that cannot be joined with what stands in the store.

        Or that needs what is nowhere any more: somebody tidied up meanwhile.
        """
        if look(self.project, self.place).head is None:
            return
        try:
            self._take()
        except CnrMirrorError as second:
            error.add_note(f"and what is there now cannot be had: {second.message}")
        else:
            error.add_note("nothing of it is left here: do it again on what is there now")

    def trust(self) -> Trust:
        """What is trusted of the mirror in the store, and remembered. InputError, NotTrusted."""
        path = self.project.layout.root
        if not path.exists():
            raise InputError(f"{path}: missing: the root file of the mirror in {self.place.name}")
        layout = self.project.layout
        pinned = read_regular(path, MAX_BYTES)
        parse_pinned(pinned, str(path))
        return Trust(pinned, layout.trust_cache / "store", layout.store_trust_memory)

    def _take(self) -> None:
        """Have the signed files that stand in the store, verified from the root that is trusted."""
        project, layout = self.project, self.project.layout
        before = project.signed_head_or_none()
        trust = self.trust()
        if trust.mark() is None:
            self._tell(
                f"nothing is remembered of {self.place.name} here: whatever its keys signed is "
                f"believed; keep {layout.memory} between runs, or name a private place for it "
                "(store.memory)"
            )
        head = trust.verify(self.place, Policy(any_age=True), datetime.now(UTC)).head
        where = f"{self.place.name}/{METADATA}"
        files: dict[str, bytes] = {}

        def read(name: str, info: FileInfo | None = None) -> bytes:
            found = self._find(name)
            if found is None:
                raise DamageError(f"{where}/{name}: missing; see 'cnrmirror check'")
            files[name] = found
            return found

        signed_head_of(head.timestamp, read, where)
        newer = succession(trust.pinned, head.targets.version - 1, self._find, self.place.name)
        files |= {f"{version}.targets.json": data for version, data in newer.targets.items()}
        files |= {f"{version}.root.json": data for version, data in newer.roots.items()}
        pinned = parse_pinned(trust.pinned, str(layout.root))
        files[f"{pinned.version}.root.json"] = trust.pinned
        with project.alone():
            layout.metadata.mkdir(parents=True, exist_ok=True)
            for name, data in files.items():
                replace_durably(layout.metadata / name, data, layout.making)
            replace_durably(layout.timestamp, head.timestamp, layout.making)
            # Others are read in the store; one that was signed here in vain must not be.
            for path in layout.metadata.iterdir():
                if path != layout.timestamp and path.name not in files:
                    path.unlink()
            was = before.at.digest if before else ""
            if was != head.at.digest:
                project.lineage.add(head.at.digest, was)

    def _find(self, name: str) -> bytes | None:
        found = self.place.read(f"{METADATA}/{name}", MAX_BYTES)
        return found[0] if found else None


def _now() -> Instant:
    return Instant.of(datetime.now(UTC))
