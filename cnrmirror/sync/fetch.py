"""One archive from a source into a store: looked into while it is copied, checked, kept."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cnrmirror.archive.facts import facts_of, flags_of
from cnrmirror.archive.identify import Override, identify
from cnrmirror.archive.inspect import ArchiveInfo, ArchiveReader
from cnrmirror.archive.scan import Limits
from cnrmirror.mirror.repack import repack_for_helm
from cnrmirror.model.digest import Descriptor, checked
from cnrmirror.model.documents import ArchiveFacts, Attachment, all_attachments
from cnrmirror.model.errors import (
    CnrMirrorError,
    InputError,
    InvalidName,
    NetworkError,
    StorageError,
    Tampered,
    TooLarge,
)
from cnrmirror.model.flags import OTHER_NAME
from cnrmirror.objects.files import storage_errors, write_all
from cnrmirror.objects.store import Store
from cnrmirror.sources.base import Attaching, More, Offer, Source

_ATTEMPTS = 3


class Fetched(msgspec.Struct, frozen=True):
    """An archive that is in the store, with what is attached to it, and what it told."""

    blob: Descriptor
    diff_id: str
    flags: tuple[str, ...]
    facts: ArchiveFacts | None = None
    attachments: list[Attachment] = []
    notes: list[str] = []

    @property
    def blobs(self) -> list[Descriptor]:
        return [self.blob, *(attachment.blob for attachment in self.attachments)]

    def check(self, offer: Offer) -> None:
        """Raises Tampered if it is not what was offered."""
        what = f"{offer.upstream}@{offer.release}"
        if offer.digest and self.diff_id != offer.digest:
            raise Tampered(
                f"{what}: its archive has digest {self.diff_id}, its manifest says {offer.digest}"
            )
        if offer.blob_digest and self.blob.digest not in offer.blob_digests:
            announced = " or ".join(offer.blob_digests[:5])
            raise Tampered(
                f"{what}: its archive has sha256 {self.blob.digest}, {announced} was announced"
            )


class Fetcher:
    """Takes archives out of one source.

    Args:
        source: gives them.
        store: keeps them.
        limits: how large they may be.
    """

    def __init__(self, source: Source, store: Store, limits: Limits) -> None:
        self._source = source
        self._store = store
        self._limits = limits

    def fetch(self, offer: Offer) -> Fetched | CnrMirrorError:
        """One archive with what belongs to it, in the store; or why not.

        Raises:
            StorageError: the store's own disk, or service, refuses.
        """
        source = self._source
        try:
            fetched = self._patiently(offer)
            more = source.attached(offer) if isinstance(source, Attaching) else More()
            attached = self._attached(offer, more)
            attachments = all_attachments(attached, fetched.attachments)
            return msgspec.structs.replace(fetched, attachments=attachments, notes=more.notes)
        except StorageError:
            raise
        except CnrMirrorError as error:
            return error
        except Exception as error:  # a fault of ours in one adapter must not cost the whole run
            return CnrMirrorError(f"internal error: {type(error).__name__}: {error}")

    def _patiently(self, offer: Offer) -> Fetched:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._archive(offer)
            except NetworkError as error:
                # Broken off in the middle: the beginning was answered well, so it is worth a try.
                if attempt == _ATTEMPTS or not error.details.get("midway"):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _archive(self, offer: Offer) -> Fetched:
        """One archive: looked into while it is copied, kept only if it is what was offered.

        Raises:
            Tampered: another digest than was offered, or another package.
            HostileArchive, TooLarge, and what the source raises.
        """
        reader = ArchiveReader(self._limits)
        temporary = self._store.scratch_file(f"{threading.get_ident()}.fetch")
        try:
            with storage_errors(str(self._store.root)):
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                for piece in self._pieces(offer):
                    reader.feed(piece)
                    with storage_errors(str(self._store.root)):
                        write_all(descriptor, [piece])
            finally:
                os.close(descriptor)
            info = reader.close()
            flags = flags_of(info, offer.media_type)
            fetched = Fetched(info.blob, info.diff_id, ())
            fetched.check(offer)
            flags = sorted([*flags, *_named(offer, info)])
            with storage_errors(str(self._store.root)):
                self._store.adopt_blob(info.blob, temporary)
                more = repack_for_helm(self._store, offer.package, info, flags)
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
        facts = facts_of(info.telling, info.clues)
        return msgspec.structs.replace(fetched, flags=tuple(flags), facts=facts, attachments=more)

    def _attached(self, offer: Offer, more: More) -> list[Attachment]:
        """What belongs to a release, fetched into the store.

        Raises:
            Tampered: other bytes than were offered.
        """
        found = [*offer.attachments, *(a for a in more.attachments if a not in offer.attachments)]
        for attachment in found:
            if not self._store.has_blob(attachment.blob):
                asked = offer.of_attachment(attachment)
                where = f"{offer.upstream}@{offer.release}: attachment {attachment.digest}"
                if attachment.size > self._limits.packed:
                    raise TooLarge(f"{where}: larger than {self._limits.packed} bytes")
                given = more.data.get(attachment.digest)
                data = given if given is not None else b"".join(self._pieces(asked))
                data = checked(attachment.blob, data, where)
                with storage_errors(str(self._store.root)):
                    self._store.add_blob(attachment.blob, [data])
        return found

    def _pieces(self, offer: Offer) -> Iterator[bytes]:
        """The archive; what the operating system says of it is the source's fault, not ours."""
        try:
            yield from self._source.open(offer)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{offer.upstream}@{offer.release}: {reason}") from error


def _named(offer: Offer, info: ArchiveInfo) -> list[str]:
    """Flags of an archive that is to say what it is. Raises Tampered if it is another release."""
    if not offer.named:
        return []
    namespace = offer.upstream.partition("/")[0]
    try:
        found = identify(info.telling, Path(f"{offer.release}.tgz"), Override(namespace=namespace))
    except InvalidName:
        found = identify(info.telling, Path(f"{offer.release}.tgz"), Override(offer.upstream))
    if found.release != offer.release:
        raise Tampered(
            f"{offer.upstream}@{offer.release}: the archive calls itself "
            f"{found.package}@{found.release}"
        )
    return [OTHER_NAME] if found.package != offer.upstream else []
