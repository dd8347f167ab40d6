"""From a reference to a verified archive on disk, out of mirrors that nobody has to believe."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cnrmirror.archive import inspect
from cnrmirror.catalog import CatalogReader
from cnrmirror.descriptor import Descriptor
from cnrmirror.documents import (
    MAX_NODE_BYTES,
    PackageDocument,
    PackageRef,
    Release,
    blob_path,
    decode,
    node_path,
)
from cnrmirror.errors import (
    CnrMirrorError,
    IncompleteError,
    InputError,
    InvalidDocument,
    InvalidName,
    NetworkError,
    NotFoundError,
    StaleError,
    Tampered,
    TooLarge,
    TrustError,
    UsageError,
)
from cnrmirror.extract import extract, free, place_file, staging
from cnrmirror.fetcher import in_parallel, read
from cnrmirror.interfaces import Fetcher
from cnrmirror.names import (
    PackageName,
    Reference,
    check_channel,
    check_media_type,
    check_release,
    select_release,
)
from cnrmirror.tarball import Limits
from cnrmirror.verify import Policy, Trust, Verified, checked

PARALLEL = 8
D = TypeVar("D", bound=msgspec.Struct)
T = TypeVar("T")


class RemoteNodes:
    """Documents of a mirror elsewhere, each bounded and checked before it is parsed."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def get(self, digest: str, size: int, kind: type[D] | Any) -> D:
        """The document of this digest. Raises Tampered, IncompleteError, NetworkError."""
        path = node_path(digest, kind)
        where = f"{self._fetcher.name}/{path}"
        if size > MAX_NODE_BYTES:
            raise Tampered(f"{where}: a document of {size} bytes")
        data = checked(Descriptor(digest, size), read(self._fetcher.fetch(path, size)), where)
        try:
            document: D = decode(data, kind, where)
            if isinstance(document, PackageDocument):
                _check_names(document)
        except (InvalidName, InvalidDocument, TooLarge) as error:
            raise Tampered(f"{where}: {error.message}") from error
        return document


def _check_names(document: PackageDocument) -> None:
    """Every name in a document, before it becomes part of a path. Raises InvalidName."""
    PackageName.parse(document.package)
    for release in document.releases:
        check_release(release.release)
        if check_media_type(release.media_type) != release.media_type:
            raise InvalidName(f"{release.media_type!r} is not a short media type")
    for channel in document.channels:
        check_channel(channel.name)


class Remote:
    """One verified revision of a mirror elsewhere.

    Args:
        fetcher: reads its files.
        verified: what ``Trust.verify`` found there.
    """

    def __init__(self, fetcher: Fetcher, verified: Verified) -> None:
        self.fetcher = fetcher
        self.verified = verified
        self.catalog = CatalogReader(RemoteNodes(fetcher))

    def document(self, package: str) -> PackageDocument:
        """The document of a package. Raises NotFoundError, Tampered, IncompleteError."""
        try:
            document = self.catalog.get(self.verified.root.tree, package)
        except InvalidDocument as error:
            raise Tampered(f"{self.fetcher.name}: {error.message}") from error
        if document is None:
            raise NotFoundError(f"{self.fetcher.name}: there is no package {package}")
        return document

    def refs(self) -> list[PackageRef]:
        """Every package, sorted by name. Raises Tampered, IncompleteError."""
        try:
            return sorted(self.catalog.packages(self.verified.root.tree))
        except InvalidDocument as error:
            raise Tampered(f"{self.fetcher.name}: {error.message}") from error

    def documents(self) -> Iterator[PackageDocument]:
        """Every package document, sorted by name, several fetched at a time."""
        try:
            yield from in_parallel(self.catalog.document, self.refs(), PARALLEL)
        except InvalidDocument as error:
            raise Tampered(f"{self.fetcher.name}: {error.message}") from error

    def blob(self, blob: Descriptor) -> Iterator[bytes]:
        """See ``blob_pieces``."""
        where = f"{self.fetcher.name}/{blob_path(blob.digest)}"
        return blob_pieces(self.fetcher, blob, where)


def blob_pieces(fetcher: Fetcher, blob: Descriptor, where: str) -> Iterator[bytes]:
    """A blob's bytes; the last piece comes only when all are known to be right.

    Raises:
        Tampered, IncompleteError, NetworkError
    """
    hasher = hashlib.sha256()
    size = 0
    last = b""
    for piece in fetcher.fetch(blob_path(blob.digest), blob.size):
        hasher.update(piece)
        size += len(piece)
        if last:
            yield last
        last = piece
    if size != blob.size or hasher.hexdigest() != blob.digest:
        raise Tampered(f"{where}: not the bytes that were signed")
    if last:
        yield last


def first_good(
    sources: Sequence[Callable[[], tuple[Fetcher, Trust]]],
    policy: Policy,
    now: datetime,
    use: Callable[[Remote], T],
    warn: Callable[[str], None],
) -> T:
    """What ``use`` gives for the first mirror that passes; a bad one is said and passed over.

    Raises:
        TrustError, StaleError, IncompleteError, NetworkError: the gravest, if none is good.
    """
    failures: list[CnrMirrorError] = []
    for connect in sources:
        try:
            fetcher, trust = connect()
            remote = Remote(fetcher, trust.verify(fetcher, policy, now))
            for note in remote.verified.notes:
                warn(f"{fetcher.name}: {note}")
            return use(remote)
        except (TrustError, StaleError, IncompleteError, NetworkError, InputError) as error:
            if isinstance(error, InputError) and len(sources) == 1:
                raise
            failures.append(error)
            if len(sources) > 1:
                warn(error.message)
    raise min(failures, key=lambda error: (isinstance(error, InputError), error.exit_code))


def resolve(document: PackageDocument, reference: Reference, media_type: str | None) -> Release:
    """The one release that is meant, resolved as the registry does.

    Raises:
        NotFoundError: nothing is meant by it.
        UsageError: there are several formats, and none was chosen.
        InvalidName: neither a release nor a semver range.
    """
    if reference.kind == "digest":
        found = [r for r in document.releases if r.content.digest == reference.value]
        wanted = [r for r in found if media_type in (None, r.media_type)]
        found = wanted[:1]  # one tar, whatever releases name it: the highest
    else:
        if reference.kind == "channel":
            current = [c.current for c in document.channels if c.name == reference.value]
            release = current[0] if current else None
        else:
            release = select_release(document.versions(), reference.value)
        found = document.of_release(release) if release else []
    if media_type is not None:
        found = [r for r in found if r.media_type == media_type]
    if not found:
        what = f" as {media_type}" if media_type else ""
        raise NotFoundError(f"there is no {reference}{what}; see 'list' and 'show'")
    if len(found) > 1:
        types = ", ".join(r.media_type for r in found)
        raise UsageError(f"{reference} comes in several formats: choose one with -t: {types}")
    return found[0]


class Pulled(msgspec.Struct, frozen=True):
    """What a pull brought: where it is, and what it is."""

    path: str
    package: str
    release: str
    media_type: str
    digest: str
    blob: Descriptor
    source: str
    revision: int
    catalog: str
    fresh: bool


def pull(
    remote: Remote,
    reference: Reference,
    media_type: str | None,
    folder: Path,
    tarball: bool,
    limits: Limits,
) -> Pulled:
    """The archive of a release in ``folder``, or what is in it; nothing, or the whole.

    Raises:
        ConflictError: there is something of that name already.
        HostileArchive, TooLarge: the archive must not be unpacked.
        and what ``Remote`` and ``resolve`` raise.
    """
    package = str(reference.package)
    release = resolve(remote.document(package), reference, media_type)
    name = f"{package.replace('/', '_')}_{release.release}"
    target = free(folder / (f"{name}.tar.gz" if tarball else name))
    with staging(folder) as work:
        made = work / "archive.tar.gz"
        with made.open("xb") as stream:
            for piece in remote.blob(release.blob):
                stream.write(piece)
        if tarball:
            place_file(made, target)
        else:
            # Only now are the bytes known to be the signed ones: nothing was parsed before.
            with made.open("rb") as archive:
                if inspect(archive, limits).diff_id != release.content.digest:
                    raise Tampered(f"{package}@{release.release}: not the content that was signed")
                archive.seek(0)
                extract(archive, work, target)
    verified = remote.verified
    return Pulled(
        str(target), package, release.release, release.media_type, release.content.digest,
        release.blob, remote.fetcher.name, verified.root.revision, verified.at.digest,
        verified.fresh,
    )  # fmt: skip
