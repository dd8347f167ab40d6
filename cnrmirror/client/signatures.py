"""What the signatures that a release carries say, asked with keys that somebody has.

A mirror's own keys vouch for what the mirror holds. Who made a package may have signed it, too: a
check looks at one kind of such signatures, and needs no archive, for a release names its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Attachment, PackageDocument, Release
from cnrmirror.model.errors import BadSignature

Blob = Callable[[Descriptor], Iterable[bytes]]
"""The bytes of an archive or attachment, no more than it has by its descriptor."""


class Signer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whose signature of a release is good.

    ``key`` is its fingerprint, ``names`` the user ids that the keyring gives it; ``time``: when it
    was signed, ISO 8601, UTC without an offset, by the signer's own word; "" if that is not known.
    """

    kind: str
    key: str
    names: list[str] = []
    time: str = ""

    def __str__(self) -> str:
        who = f"{', '.join(self.names)} ({self.key})" if self.names else self.key
        return f"{who}, {self.time}" if self.time else who


class Check(Protocol):
    """Looks at one ``kind`` of the signatures that ``Release.signatures`` tells apart."""

    kind: str

    def __call__(self, package: str, release: Release, blob: Blob) -> Signer:
        """Whose signature it is. Raises BadSignature, and what ``blob`` raises."""


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a check says of a release: who signed it, or the reason why that is not known."""

    release: str
    media_type: str
    kind: str
    signer: Signer | None = None
    reason: str = ""

    def __str__(self) -> str:
        said = f"good, by {self.signer}" if self.signer else f"bad: {self.reason}"
        return f"{self.kind}: {self.release} ({self.media_type}): {said}"


def verdicts(document: PackageDocument, checks: Sequence[Check], blob: Blob) -> list[Verdict]:
    """What the checks say of the releases that carry what they look at. Raises as ``blob``."""
    return [
        _verdict(document.package, release, check, blob)
        for release in document.releases
        for check in checks
        if check.kind in release.signatures
    ]


def _verdict(package: str, release: Release, check: Check, blob: Blob) -> Verdict:
    try:
        signer = check(package, release, blob)
    except BadSignature as error:
        return Verdict(*release.key, check.kind, reason=error.message)
    return Verdict(*release.key, check.kind, signer)


def attached(attachment: Attachment, max_bytes: int, where: str, blob: Blob) -> bytes:
    """The bytes of an attachment. Raises BadSignature if they are too many, and as ``blob``."""
    if attachment.size > max_bytes:
        what = f"{attachment.size} bytes of {attachment.media_type}"
        raise BadSignature(f"{where}: {what}; more than {max_bytes} are not read")
    return b"".join(blob(attachment.blob))
