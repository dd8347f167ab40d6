"""The Python API: a mirror of one's own, and one elsewhere.

Every method does what the command of its name does, and raises what that would end with: a
``CnrMirrorError``, whose ``exit_code`` is that of docs/exit-codes.md. What they return is frozen.
"""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from cnrmirror.archive.identify import Override
from cnrmirror.archive.scan import Limits
from cnrmirror.audit.report import Audit, Order
from cnrmirror.audit.run import audit
from cnrmirror.bundle.places import reader_for
from cnrmirror.client import pull as pulling
from cnrmirror.client import remote as remotes
from cnrmirror.mirror import change
from cnrmirror.mirror.check import CheckReport, check
from cnrmirror.mirror.config import find_project
from cnrmirror.mirror.create import KeyPlan, create, read_root
from cnrmirror.mirror.home import online_folders
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import Report, push
from cnrmirror.mirror.releases import What
from cnrmirror.mirror.rootplan import Vault
from cnrmirror.mirror.rotate import own_repository
from cnrmirror.model.documents import Head, PackageDocument
from cnrmirror.model.errors import UsageError
from cnrmirror.model.instant import Instant
from cnrmirror.model.names import PackageName, Reference
from cnrmirror.objects.base import Reader
from cnrmirror.objects.files import locked
from cnrmirror.publish.engine import Published
from cnrmirror.publish.open import find_destinations
from cnrmirror.publish.plan import Plan
from cnrmirror.publish.session import Session
from cnrmirror.publish.shared import opened
from cnrmirror.sync.open import open_sources
from cnrmirror.sync.report import SyncReport
from cnrmirror.sync.run import sync
from cnrmirror.trust.verify import Policy, Trust

Path_ = str | os.PathLike[str]


def _clock() -> Instant:
    return Instant(datetime.now(UTC))


class Mirror:
    """A mirror of one's own: a folder with a mirror.yaml.

    Signs with the keys of this person, as the command line does. Several objects, threads and
    processes may work on one mirror: who changes it waits for the others.

    Example:
        >>> mirror = Mirror.open("my-mirror")
        >>> mirror.push("nginx-1.2.0.tgz", namespace="charts").revision
        1
    """

    def __init__(self, project: Project, clock: Callable[[], Instant] = _clock) -> None:
        """Use ``open`` or ``create``."""
        self._project = project
        self._clock = clock
        self._repository = own_repository(project, clock, warnings.warn)
        project.signer = self._repository

    @classmethod
    def open(cls, folder: Path_) -> Mirror:
        """The mirror of a folder, or of the nearest above. Raises UsageError: there is none."""
        return cls(opened(Project(find_project(Path(folder)))))

    @classmethod
    def create(cls, folder: Path_, offline_keys: Path_ | None = None) -> Mirror:
        """Make a new, empty mirror and its keys.

        Args:
            folder: where; it may not exist yet.
            offline_keys: a folder for the root and targets keys, which should be on a medium of
                its own. They have no passphrase: use the command line for that.

        Raises:
            InvalidDocument: the folder holds a mirror already.
        """
        vault = Vault(Path(offline_keys) if offline_keys is not None else None)
        plan = KeyPlan(online_folders(), (vault,))
        create(Path(folder), str(uuid.uuid4()), plan, str(_clock()), _clock)
        return cls.open(folder)

    # -- what is there --

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._project.folder

    @property
    def id(self) -> str:
        """Tells this registry from every other."""
        return self._project.config.id

    @property
    def revision(self) -> int:
        """The number of the current revision."""
        return self._project.head().revision

    @property
    def root(self) -> Path:
        """The file that readers pin."""
        return self._project.trusted_root

    def packages(self) -> list[str]:
        """The names of all packages, sorted: ``namespace/name``."""
        refs = self._project.catalog.packages(self._project.tree())
        return sorted(ref.name for ref in refs)

    def package(self, name: str) -> PackageDocument:
        """All that is known of a package. Raises NotFoundError, InvalidName."""
        return self._project.document(str(PackageName.parse(name)))

    def read(self, reference: str, media_type: str | None = None) -> bytes:
        """The archive of a release (``ns/name``, ``ns/name@1.2.0``, ``ns/name:stable``).

        Raises:
            NotFoundError: nothing is meant by it.
            UsageError: there are several formats, and none was chosen.
            DamageError: the archive is missing or damaged.
        """
        wanted = Reference.parse(reference)
        document = self.package(str(wanted.package))
        release = pulling.resolve(document, wanted, media_type)
        with self._project.open_blob(release.blob) as stream:
            return release.blob.check(stream.read(), reference)

    def check(self) -> CheckReport:
        """Compare every digest and view with the catalog; what is wrong is in ``findings``.

        Raises UsageError if the mirror is in an object store: ``cnrmirror check`` looks there.
        """
        if self._project.partial:
            raise UsageError("this mirror is in an object store: use 'cnrmirror check'")
        return check(self._project)

    # -- what changes it: each is one signed revision --

    def push(
        self, *paths: Path_, package: str | None = None, namespace: str | None = None,
        release: str | None = None, media_type: str | None = None, channels: Iterable[str] = (),
        accept: bool = False,
    ) -> Report:  # fmt: skip
        """Put packages into the mirror: archives, folders of one package, or of many.

        Args:
            package: ``namespace/name``, where an archive does not tell.
            namespace: for packages that tell their name.
            channels: to be pointed at what is pushed.
            accept: replace a release that is there with other content.

        Raises:
            InputError: no package, or one that nobody should take; nothing was pushed.
            ReleaseConflict: a release is there with other content.
        """
        wish = Override(package, namespace, release, media_type)
        what = What(list(channels), accept=accept)
        return push(self._project, [Path(path) for path in paths], wish, self._now(), what)

    def set_channel(self, package: str, channel: str, release: str) -> int:
        """Point a channel at a release; the revision. Raises NotFoundError, InvalidName."""
        return self._made(change.set_channel(self._project, package, channel, release, self._now()))

    def remove(self, package: str, release: str, reason: str = "removed") -> int:
        """Remove a release; the revision. Channels that point at it move. Raises NotFoundError."""
        removal = change.Removal(package, release, None, reason)
        return self._made(change.remove(self._project, removal, self._now()))

    def rollback(self, revision: int) -> int:
        """Make a new revision with the content of an old one. Raises NotFoundError."""
        return self._made(change.rollback(self._project, str(revision), self._now()))

    def sync(self, *sources: str) -> SyncReport:
        """Bring in what the sources of mirror.yaml have: those named, or all.

        What could not be had is in the report; ``exit_code`` says whether all is well.
        """
        opened = open_sources(self._project, sources, os.environ, reader_for)
        return sync(self._project, opened, self._now())

    def refresh(self) -> None:
        """Sign again, so that readers know that the mirror is alive; do so daily."""
        with self._project.writing():
            self._repository.refresh(self._now())

    # -- elsewhere --

    def publish(self, target: str) -> Published:
        """Bring a place up to this mirror: a target of mirror.yaml, an address, or a folder.

        Raises:
            ConflictError: somebody else published there what cannot be joined.
            AccessDenied, NetworkError: the place refuses, or cannot be reached.
        """
        with self._session(target) as session:
            with locked(session.memory.lock, self._project.config.lock_wait_seconds):
                return session.publish(self._now())

    def plan(self, target: str) -> Plan:
        """What a publish would do now; nothing is written."""
        with self._session(target) as session:
            return session.plan(self._now())

    def _session(self, target: str) -> Session:
        return Session.open(self._project, find_destinations(self._project, [target])[0])

    def _now(self) -> str:
        return str(self._clock())

    def _made(self, head: Head | None) -> int:
        return head.revision if head else self.revision


class Remote:
    """A mirror elsewhere, verified from the pinned root: one revision of it.

    Example:
        >>> with Remote.open("https://mirror.example.com", root="root.json") as remote:
        ...     remote.pull("charts/nginx:stable", "charts/")
    """

    def __init__(self, reader: Reader, pinned: bytes, state: Path | None) -> None:
        """Use ``open``."""
        self._forgotten = tempfile.TemporaryDirectory(prefix="cnrmirror-")
        state = state or Path(self._forgotten.name)
        self._reader = reader
        self._trust = Trust(pinned, state / "cache", state / "marks")
        self._policy = Policy()
        try:
            verified = self._trust.verify(reader, self._policy, datetime.now(UTC))
        except BaseException:
            self.close()
            raise
        self._remote = remotes.Remote(reader, verified)

    @classmethod
    def open(cls, place: str, root: Path_, state: Path_ | None = None) -> Remote:
        """Verify what is at a place.

        Args:
            place: an address, ``s3://…``, ``gs://…``, ``az://…``, a folder, a bundle.
            root: a root file of the registry that is trusted.
            state: a folder in which is remembered what was seen, so that nothing older is taken
                later; without it, nothing is.

        Raises:
            TrustError: it is not what the keys of the root signed, or older than what was seen.
            StaleError: it is signed well, but expired.
            IncompleteError, NetworkError, AccessDenied: it cannot be had.
        """
        pinned = read_root(Path(root))[0]
        return cls(reader_for(place), pinned, Path(state) if state is not None else None)

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Give connections back."""
        self._reader.close()
        self._forgotten.cleanup()

    @property
    def id(self) -> str:
        """Tells this registry from every other."""
        return self._remote.verified.root.registry

    @property
    def revision(self) -> int:
        """The number of the revision that was verified."""
        return self._remote.verified.root.revision

    def packages(self) -> list[str]:
        """The names of all packages, sorted. Raises Tampered, IncompleteError, NetworkError."""
        return [ref.name for ref in self._remote.refs()]

    def package(self, name: str) -> PackageDocument:
        """All that is known of a package. Raises NotFoundError, and as ``packages`` does."""
        return self._remote.document(str(PackageName.parse(name)))

    def read(self, reference: str, media_type: str | None = None) -> bytes:
        """The archive of a release; its bytes are those that were signed.

        Raises:
            NotFoundError, UsageError: as ``Mirror.read``.
            Tampered, IncompleteError, NetworkError: it cannot be had as it was signed.
        """
        wanted = Reference.parse(reference)
        release = pulling.resolve(self.package(str(wanted.package)), wanted, media_type)
        return b"".join(self._remote.blob(release.blob))

    def pull(
        self, reference: str, folder: Path_ = ".", media_type: str | None = None,
        tarball: bool = False,
    ) -> pulling.Pulled:  # fmt: skip
        """Put a release into a folder: unpacked, or as its archive; all of it or nothing.

        Raises:
            ConflictError: something of that name is there already.
            HostileArchive, TooLarge: it must not be unpacked.
            and as ``read``.
        """
        wanted = Reference.parse(reference)
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        return pulling.pull(self._remote, wanted, media_type, place, tarball, Limits())

    def check(self, strict: bool = False, sample: int | None = None) -> Audit:
        """Audit all of it, or a random sample of packages; what is wrong is in ``findings``."""
        order = Order(self._policy, datetime.now(UTC), sample, strict)
        return audit(self._reader, self._trust, order)


__all__: Sequence[str] = ["Mirror", "Remote"]
