"""From a reference to a verified archive on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from cnrmirror.archive.extract import free, place_file, place_folder, staging, unpack
from cnrmirror.archive.scan import Limits
from cnrmirror.client.choose import absent, meant
from cnrmirror.client.remote import Remote
from cnrmirror.client.signatures import Check, Signer
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import PackageDocument, Release
from cnrmirror.model.errors import Tampered, UsageError
from cnrmirror.model.names import Reference


def resolve(document: PackageDocument, reference: Reference, media_type: str | None) -> Release:
    """The one release that is meant, resolved as the registry does.

    Raises:
        NotFoundError: nothing is meant by it.
        UsageError: there are several formats, and none was chosen.
        InvalidName: neither a release nor a semver range.
    """
    found = [r for r in meant(document, reference) if media_type in (None, r.media_type)]
    if reference.kind == "digest":
        found = found[:1]  # one tar, whatever releases name it: the highest
    if not found:
        what = f" as {media_type}" if media_type else ""
        raise absent(reference, document, what)
    if len(found) > 1:
        types = ", ".join(r.media_type for r in found)
        raise UsageError(f"{reference} has several media types: choose one with -t: {types}")
    return found[0]


class Pulled(msgspec.Struct, frozen=True):
    """What a pull brought: where it is, what it is, and who signed it, if that was asked."""

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
    signed_by: list[Signer] = []


class WouldPull(Pulled, frozen=True):
    """What a pull would bring."""

    dry_run: Literal[True] = True


def choose(
    remote: Remote,
    reference: Reference,
    media_type: str | None,
    folder: Path,
    tarball: bool,
    checks: Sequence[Check] = (),
) -> Pulled:
    """What ``pull`` would bring; nothing of the archive is fetched. Raises as it."""
    package = str(reference.package)
    release = resolve(remote.document(package), reference, media_type)
    name = f"{package.replace('/', '_')}_{release.release}"
    target = free(folder / (f"{name}.tar.gz" if tarball else name))
    # A release names the digest of its archive, so that what was signed is known without it.
    signers = [check(package, release, remote.blob) for check in checks]
    verified = remote.verified
    return Pulled(
        str(target), package, release.release, release.media_type, release.content.digest,
        release.blob, remote.reader.name, verified.root.revision, verified.at.digest,
        verified.fresh, signers,
    )  # fmt: skip


def pull(
    remote: Remote,
    reference: Reference,
    media_type: str | None,
    folder: Path,
    tarball: bool,
    limits: Limits,
    checks: Sequence[Check] = (),
) -> Pulled:
    """The archive of a release in ``folder``, or what is in it; nothing, or the whole.

    Args:
        checks: each has to find the release signed, before anything of it is fetched.

    Raises:
        BadSignature: a check does not find it signed.
        ConflictError: there is something of that name already.
        HostileArchive, TooLarge: the archive must not be unpacked.
        and what ``Remote`` and ``resolve`` raise.
    """
    chosen = choose(remote, reference, media_type, folder, tarball, checks)
    target = Path(chosen.path)
    with staging(folder) as work:
        made = work / "archive.tar.gz"
        with made.open("xb") as stream:
            for piece in remote.blob(chosen.blob):
                stream.write(piece)
        if tarball:
            place_file(made, target)
        else:
            # Only now are the bytes known to be the signed ones: nothing was parsed before.
            with made.open("rb") as archive:
                info = unpack(archive, work / "unpacked", limits)
            if info.diff_id != chosen.digest:
                what = f"{chosen.package}@{chosen.release}"
                raise Tampered(f"{what}: not the content that was signed")
            place_folder(work / "unpacked", target)
    return chosen
