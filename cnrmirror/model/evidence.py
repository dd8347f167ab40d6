"""What a check says besides its findings: which files it stands on, what it read, and what not."""

from __future__ import annotations

from typing import Literal

import msgspec

from cnrmirror.model.digest import Digest, Size

# catalog: nothing below the metadata. packages, lists, views, files: some of these. interrupted:
# read by a run before this one. history: older revisions. retention: what is not kept any more.
# metadata: superseded role files. freshness: whether it is the newest. signatures: by whom.
# pages: made by other templates, or another renderer.
Aspect = Literal[
    "catalog", "packages", "interrupted", "views", "lists", "metadata", "history", "retention",
    "files", "freshness", "signatures", "pages",
]  # fmt: skip


class SignedFile(msgspec.Struct, frozen=True):
    """One signed file: ``sha256`` of its bytes, ``signed_sha256`` of what is signed in it.

    The second is the digest of the canonical JSON of TUF of ``signed``: one content has one,
    whoever signed it and however the file is written. ``expires``: ISO 8601, UTC.
    """

    version: Size
    sha256: Digest
    signed_sha256: Digest
    expires: str


class Checked(msgspec.Struct, frozen=True):
    """How much was looked at: ``bytes`` are those of the blobs that were hashed.

    ``views`` are the answers of the registry's API that were compared, ``metadata`` the signed
    files that were read, ``revisions`` the older revisions.
    """

    packages: int = 0
    releases: int = 0
    blobs: int = 0
    bytes: int = 0
    views: int = 0
    metadata: int = 0
    revisions: int = 0


class Unchecked(msgspec.Struct, frozen=True, order=True):
    """What was not looked at: ``count`` of them, 0 where nobody knows how many there are.

    ``reason`` is for people.
    """

    what: Aspect
    reason: str
    count: int = 0
