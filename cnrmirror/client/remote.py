"""One verified revision of a mirror elsewhere, which nobody has to believe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from datetime import datetime
from typing import TypeVar

import msgspec

from cnrmirror.catalog.nodes import RemoteNodes
from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import ArchiveFacts, PackageDocument, PackageRef, blob_path
from cnrmirror.model.errors import (
    AccessDenied,
    CnrMirrorError,
    IncompleteError,
    InputError,
    InvalidDocument,
    NetworkError,
    NotFoundError,
    StaleError,
    Tampered,
    TrustError,
)
from cnrmirror.model.near import did_you_mean
from cnrmirror.objects.base import Reader, blob_pieces
from cnrmirror.objects.parallel import in_parallel
from cnrmirror.trust.verify import Policy, Trust, Verified

PARALLEL = 8
D = TypeVar("D", bound=msgspec.Struct)
T = TypeVar("T")


class Remote:
    """One verified revision of a mirror elsewhere.

    Args:
        reader: reads its files.
        verified: what ``Trust.verify`` found there.
    """

    def __init__(self, reader: Reader, verified: Verified) -> None:
        self.reader = reader
        self.verified = verified
        self.catalog = CatalogReader(RemoteNodes(reader))

    def document(self, package: str) -> PackageDocument:
        """The document of a package. Raises NotFoundError, Tampered, IncompleteError."""
        try:
            document = self.catalog.get(self.verified.root.tree, package)
        except InvalidDocument as error:
            raise Tampered(f"{self.reader.name}: {error.message}") from error
        if document is None:
            hint = did_you_mean(package, (ref.name for ref in self.refs()))
            raise NotFoundError(f"{self.reader.name}: there is no package {package}{hint}")
        return document

    def refs(self) -> list[PackageRef]:
        """Every package, sorted by name. Raises Tampered, IncompleteError."""
        try:
            return sorted(self.catalog.packages(self.verified.root.tree))
        except InvalidDocument as error:
            raise Tampered(f"{self.reader.name}: {error.message}") from error

    def documents(self, executor: Executor) -> Iterator[PackageDocument]:
        """Every package document, sorted by name. The executor fetches them."""
        try:
            yield from in_parallel(self.catalog.document, self.refs(), executor)
        except InvalidDocument as error:
            raise Tampered(f"{self.reader.name}: {error.message}") from error

    def facts(self, document: PackageDocument) -> dict[str, ArchiveFacts]:
        """The facts of a package, by the digest of the archive. Raises as ``document`` does."""
        try:
            return self.catalog.facts(document)
        except InvalidDocument as error:
            raise Tampered(f"{self.reader.name}: {error.message}") from error

    def blob(self, blob: Descriptor) -> Iterator[bytes]:
        """See ``blob_pieces``."""
        where = f"{self.reader.name}/{blob_path(blob.digest)}"
        return blob_pieces(self.reader, blob, where)


def first_good(
    sources: Sequence[Callable[[], tuple[Reader, Trust]]],
    policy: Policy,
    now: datetime,
    use: Callable[[Remote], T],
    warn: Callable[[str], None],
) -> T:
    """What ``use`` gives for the first mirror that passes; a bad one is said and passed over.

    Raises:
        TrustError, StaleError, IncompleteError, NetworkError, AccessDenied: the gravest, if none
            is good.
    """
    failures: list[CnrMirrorError] = []
    for connect in sources:
        try:
            reader, trust = connect()
            remote = Remote(reader, trust.verify(reader, policy, now))
            for note in remote.verified.notes:
                warn(f"{reader.name}: {note}")
            return use(remote)
        except (
            TrustError, StaleError, IncompleteError, NetworkError, AccessDenied, InputError,
        ) as error:  # fmt: skip
            if isinstance(error, InputError) and len(sources) == 1:
                raise
            failures.append(error)
            if len(sources) > 1:
                warn(error.message)
    raise min(failures, key=lambda error: (isinstance(error, InputError), error.exit_code))
