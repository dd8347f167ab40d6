"""Archives from a source into the store: looked into, checked, and each fetched once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import msgspec

from cnrmirror.archive.facts import facts_of, flags_of
from cnrmirror.archive.identify import Override, identify
from cnrmirror.archive.inspect import ArchiveInfo, ArchiveReader
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.repack import repack_for_helm
from cnrmirror.model import typed
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
from cnrmirror.model.progress import stage
from cnrmirror.objects.files import storage_errors, write_all
from cnrmirror.objects.parallel import in_parallel
from cnrmirror.sources.base import Attaching, Hole, More, Offer, Source
from cnrmirror.sync.plan import Key

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


class _Line(msgspec.Struct, frozen=True):
    key: Key
    digest: str
    place: str
    fetched: Fetched


class Journal:
    """What a run has fetched so far, so that the next one, if it is killed, goes on from there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._before = {(line.key, line.digest, line.place): line.fetched for line in self._lines()}

    def _lines(self) -> Iterator[_Line]:
        try:
            with self._path.open("rb") as stream:
                for text in stream:
                    try:
                        yield typed.decode(text, _Line)
                    except msgspec.DecodeError:
                        continue  # cut off when a run was killed
        except FileNotFoundError:
            return

    def find(self, offer: Offer) -> Fetched | None:
        """What was fetched of an offer, if it is still the same offer."""
        return self._before.get((offer.key, offer.digest or offer.blob_digest, offer.place))

    def add(self, offer: Offer, fetched: Fetched) -> None:
        """Note that an archive is in the store."""
        line = _Line(offer.key, offer.digest or offer.blob_digest, offer.place, fetched)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self._path.open("ab") as stream:
            stream.write(b"\n" + msgspec.json.encode(line) + b"\n")

    def remove(self) -> None:
        """The run is over."""
        self._path.unlink(missing_ok=True)


class Brought(msgspec.Struct, frozen=True):
    """What came of archives that were to be fetched; ``error``: the source was given up."""

    fetched: dict[Key, Fetched] = {}
    holes: list[Hole] = []
    notes: list[str] = []
    error: CnrMirrorError | None = None


def bring(project: Project, source: Source, offers: Sequence[Offer], executor: Executor) -> Brought:
    """Archives in the store, as many fetched at a time as the executor takes.

    An error of one is a hole, and no harm to the others.

    Raises:
        StorageError: the mirror's own disk refuses.
    """
    journal = Journal(project.layout.source_journal(source.name))
    fetched: dict[Key, Fetched] = {}
    holes: list[Hole] = []
    notes: list[str] = []
    error: CnrMirrorError | None = None
    with stage(project.progress, f"Fetching from {source.name}", len(offers)) as progress:
        results = in_parallel(partial(_result, project, source, journal), offers, executor)
        for offer, result in zip(offers, results, strict=True):
            if isinstance(result, Fetched):
                fetched[offer.key] = result
                notes += _oddities(offer, result)
                progress.advance(1, result.blob.size)
                continue
            holes.append(Hole.of_release(offer.package, offer.release, result.message))
            if result.details.get("gave_up"):
                error = result
            progress.advance()
    return Brought(fetched, holes, notes, error)


def _result(
    project: Project, source: Source, journal: Journal, offer: Offer
) -> Fetched | CnrMirrorError:
    """One archive, from the store if a run that was killed has fetched it; or why not."""
    known = journal.find(offer)
    if known is not None and all(map(project.store.has_blob, known.blobs)):
        return known
    try:
        fetched = _fetch_patiently(project, source, offer)
        more = source.attached(offer) if isinstance(source, Attaching) else More()
        attached = _attached(project, source, offer, more)
        attachments = all_attachments(attached, fetched.attachments)
        fetched = msgspec.structs.replace(fetched, attachments=attachments, notes=more.notes)
    except StorageError:
        raise
    except CnrMirrorError as error:
        return error
    except Exception as error:  # a fault of ours in one adapter must not cost the whole run
        return CnrMirrorError(f"internal error: {type(error).__name__}: {error}")
    with storage_errors(str(project.folder)):
        journal.add(offer, fetched)
    return fetched


def _oddities(offer: Offer, result: Fetched) -> list[str]:
    what = f"{offer.package}@{offer.release}"
    notes = [f"{what}: {note}" for note in result.notes]
    if offer.size in (0, result.blob.size):
        return notes
    return [
        *notes,
        f"{what}: its manifest says {offer.size} bytes, its archive has {result.blob.size}",
    ]


def _fetch_patiently(project: Project, source: Source, offer: Offer) -> Fetched:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _fetch(project, source, offer)
        except NetworkError as error:
            # Broken off in the middle: the beginning was answered well, so it is worth a try.
            if attempt == _ATTEMPTS or not error.details.get("midway"):
                raise
    raise AssertionError("the last attempt returns or raises")


def _fetch(project: Project, source: Source, offer: Offer) -> Fetched:
    """One archive: looked into while it is copied, kept only if it is what was offered.

    Raises:
        Tampered: another digest than was offered, or another package.
        HostileArchive, TooLarge, and what the source raises.
    """
    reader = ArchiveReader(project.config.limits)
    temporary = project.store.scratch_file(f"{threading.get_ident()}.fetch")
    try:
        with storage_errors(str(project.folder)):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            for piece in _pieces(source, offer):
                reader.feed(piece)
                with storage_errors(str(project.folder)):
                    write_all(descriptor, [piece])
        finally:
            os.close(descriptor)
        info = reader.close()
        _check(offer, info)
        flags = [*flags_of(info, offer.media_type), *_named(offer, info)]
        with storage_errors(str(project.folder)):
            project.store.adopt_blob(info.blob, temporary)
            more = repack_for_helm(project.store, offer.package, info, flags)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    facts = facts_of(info.telling, info.clues)
    return Fetched(info.blob, info.diff_id, tuple(sorted(flags)), facts, more)


def _attached(project: Project, source: Source, offer: Offer, more: More) -> list[Attachment]:
    """What belongs to a release, fetched into the store.

    Raises:
        Tampered: other bytes than were offered.
    """
    found = [*offer.attachments, *(a for a in more.attachments if a not in offer.attachments)]
    for attachment in found:
        if not project.store.has_blob(attachment.blob):
            asked = offer.of_attachment(attachment)
            where = f"{offer.upstream}@{offer.release}: attachment {attachment.digest}"
            if attachment.size > project.config.limits.packed:
                raise TooLarge(f"{where}: larger than {project.config.limits.packed} bytes")
            given = more.data.get(attachment.digest)
            data = given if given is not None else b"".join(_pieces(source, asked))
            data = checked(attachment.blob, data, where)
            with storage_errors(str(project.folder)):
                project.store.add_blob(attachment.blob, [data])
    return found


def _pieces(source: Source, offer: Offer) -> Iterator[bytes]:
    """The archive; what the operating system says of reading it is the source's fault, not ours."""
    try:
        yield from source.open(offer)
    except OSError as error:
        raise InputError(f"{offer.upstream}@{offer.release}: {error.strerror or error}") from error


def _check(offer: Offer, info: ArchiveInfo) -> None:
    what = f"{offer.upstream}@{offer.release}"
    if offer.digest and info.diff_id != offer.digest:
        raise Tampered(
            f"{what}: its archive has digest {info.diff_id}, its manifest says {offer.digest}"
        )
    if offer.blob_digest and info.blob.digest not in offer.blob_digests:
        announced = " or ".join(offer.blob_digests[:5])
        raise Tampered(
            f"{what}: its archive has sha256 {info.blob.digest}, {announced} was announced"
        )


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
