"""What both ways of import share: a bundle, or any other site, checked before it is taken in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import BinaryIO

import msgspec

from cnrmirror.airgap.have import source_name
from cnrmirror.bundle.overlay import Overlay
from cnrmirror.bundle.read import BundleReader, check_volumes
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import CHUNK
from cnrmirror.model.errors import DamageError, Equivocation, IncompleteError, Rollback
from cnrmirror.model.progress import stage
from cnrmirror.model.signed import MAX_BYTES, METADATA, FileInfo, signed_head_of
from cnrmirror.objects.base import Reader, read
from cnrmirror.sync.report import SyncReport
from cnrmirror.trust.verify import Look, Policy, Trust, Verified


class Imported(msgspec.Struct, frozen=True):
    """What was taken in; ``revision`` is the sender's."""

    place: str
    revision: int
    catalog: str
    packages: int
    blobs: int
    bytes: int
    fresh: bool
    notes: list[str]
    sync: SyncReport | None = None


def check_bundle(project: Project, reader: Reader) -> None:
    """Every volume of a bundle, before anything is taken in; nothing for any other site.

    Raises:
        DamageError: a volume is missing or damaged; the message says how to make it again.
    """
    bundle = BundleReader.of(reader)
    if bundle is None:
        return
    volumes = bundle.contents.volumes
    steps = sum(-(-volume.size // CHUNK) for volume in volumes)
    with stage(project.progress, "Checking volumes", steps) as progress:
        findings = check_volumes(bundle.found, progress)
    if not findings:
        return
    names = [volume.name for volume in volumes]
    numbers = ", ".join(str(names.index(f.path) + 1) for f in findings)
    raise DamageError(
        "; ".join(f"{f.path}: {f.reason or f.problem}" for f in findings)
        + ". Nothing was imported. To have just these made again, give the sender this "
        f"bundle.json: 'cnrmirror export FOLDER --again bundle.json --volume N' (N: {numbers})"
    )


def overlay(project: Project, reader: Reader) -> Reader:
    """A bundle together with what the receiver has; any other site as it is."""
    bundle = BundleReader.of(reader)
    if bundle is None:
        return reader
    cached = project.layout.upstream_cache(source_name(bundle.contents.registry))

    def theirs(path: str) -> BinaryIO:
        return open(cached / path.removeprefix("catalog/"), "rb")

    return Overlay(bundle, [project.open_file, theirs])


@contextmanager
def looking(trust: Trust, reader: Reader, policy: Policy, now: datetime) -> Iterator[Look]:
    """A look at what has arrived, not remembered before it is accepted.

    Args:
        trust: what is trusted and remembered of the sender.
        reader: reads what has arrived.
        policy: how fresh it must be.
        now: the clock, UTC.

    Raises:
        TrustError, StaleError, IncompleteError: it must not be taken in.
    """
    try:
        with trust.look(reader, policy, now) as found:
            _check_one_history(reader, found.verified)
            yield found
    except Rollback as error:
        raise Rollback(
            f"{error.message}: it is older than what was imported before, and nothing was changed; "
            "import a newer one"
        ) from error


def _check_one_history(reader: Reader, verified: Verified) -> None:
    """Raises Equivocation if two timestamps of one version name two catalogs."""
    if verified.offered == verified.head.timestamp:
        return

    def get(name: str, info: FileInfo) -> bytes:
        return read(reader.fetch(f"{METADATA}/{name}", MAX_BYTES))

    offered = signed_head_of(verified.offered, get, f"{reader.name}/{METADATA}")
    if offered.at != verified.at:
        raise Equivocation(
            f"{reader.name}: its timestamp {offered.version} names catalog {offered.at.digest}, "
            f"the one that was imported before {verified.at.digest}: there are two histories"
        )


def continues(reader: Reader, here: str, error: IncompleteError) -> IncompleteError:
    """What a receiver can do about a bundle that continues from something that it has not.

    Args:
        reader: the bundle; any other site's error is left as it is.
        here: what the receiver has.
        error: what is missing.
    """
    bundle = BundleReader.of(reader)
    if bundle is None or bundle.contents.since_revision < 0:
        return error
    return IncompleteError(
        f"{bundle.name}: it continues from revision {bundle.contents.since_revision}, and here "
        f"is {here}; nothing was imported: give the sender what 'cnrmirror have' writes "
        f"({error.message})"
    )
