"""Every error that cnrmirror raises on purpose, ordered by who has to act.

::

    CnrMirrorError             1   something failed
    ├── UsageError             2   the command line does not say what is needed
    ├── InputError             3   a file, name or document given by somebody is bad
    │   ├── InvalidName            … a package, release, channel or media type
    │   ├── HostileArchive         … an archive that no careful program should unpack
    │   ├── InvalidDocument        … JSON or YAML that is not what it must be
    │   └── TooLarge               … more bytes than the limit allows
    ├── ConflictError          4   a decision is needed: nothing was overwritten
    │   ├── ReleaseConflict        … a release is there already with another digest
    │   └── Outdated               … somebody else wrote it since it was read
    ├── NotFoundError          5   no such package, release, channel or revision
    ├── DamageError            6   what is on disk is not what the catalog says
    │   └── DigestMismatch         … bytes do not have the digest or size they must have
    ├── BusyError              7   another process holds the mirror
    ├── StorageError           8   the disk refuses: full, read-only, no permission
    ├── TrustError             9   what a host gave is not what the keys signed: do not use it
    │   ├── NotTrusted             … no root is known for it, or a key is missing or wrong
    │   ├── BadSignature           … not signed by enough of the right keys
    │   ├── Tampered               … bytes, length, kind or name are not what was signed
    │   ├── Rollback               … older than what was seen before
    │   └── Equivocation           … two mirrors tell two stories under one key
    ├── StaleError            10   signed well, but too old: expired, or a clock is behind
    ├── IncompleteError       11   the host lacks a file that the catalog names
    ├── NetworkError          12   the host cannot be reached, is too slow, or answers with errors
    ├── AccessDenied          16   a place refuses: wrong credentials, no right, a clock that is off
    └── NewerFormat           17   a newer cnrmirror wrote this: update to read or to change it

The number is the exit code of the command line (``docs/exit-codes.md``); 13 is success with
expired metadata that ``--allow-expired`` or ``--at`` let pass, 14 is "done but for
some" (``sync``, ``import``, ``push --keep-going``), 15 that of ``sync``, 18 "readers refuse it",
19 "only what is harmless is too much" (``check``).
Each message says what is wrong, where, and what to do next.
"""

from __future__ import annotations

from typing import Any, ClassVar


class CnrMirrorError(Exception):
    """Base of all: ``exit_code`` for the command line, ``code`` for JSON error documents."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "internal-error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class UsageError(CnrMirrorError):
    exit_code = 2
    code = "invalid-usage"


class InputError(CnrMirrorError):
    exit_code = 3
    code = "invalid-parameters"


class InvalidName(InputError):
    """A package, release, channel or media type that cannot be."""


class HostileArchive(InputError):
    """An archive that could harm, or that two programs would read differently."""


class InvalidDocument(InputError):
    """JSON or YAML that is malformed, of another kind, or too deep."""


class TooLarge(InputError):
    """More bytes than the limit."""


class ConflictError(CnrMirrorError):
    exit_code = 4
    code = "resource-in-use"


class ReleaseConflict(ConflictError):
    """The release exists with other content; law 5: it is never overwritten silently."""

    code = "package-exists"


class Outdated(ConflictError):
    """Somebody else wrote it since it was read; nothing was overwritten."""


class NotFoundError(CnrMirrorError):
    exit_code = 5
    code = "package-not-found"


class DamageError(CnrMirrorError):
    exit_code = 6


class DigestMismatch(DamageError):
    """Bytes that do not have the digest or the size that names them.

    Args:
        of_size: already their number is another.
    """

    def __init__(self, where: str, expected: str, actual: str, of_size: bool = False) -> None:
        self.of_size = of_size
        super().__init__(
            f"{where}: expected {expected}, found {actual}; "
            "the file is damaged: restore it from another copy of this mirror",
            where=where,
            expected=expected,
            actual=actual,
        )


class BusyError(CnrMirrorError):
    exit_code = 7
    code = "resource-in-use"


class StorageError(CnrMirrorError):
    exit_code = 8


class TrustError(CnrMirrorError):
    """Something that must not be used; another mirror of the same registry may be good."""

    exit_code = 9
    code = "not-trusted"


class NotTrusted(TrustError):
    """No root to begin from, or no key to sign with."""


class BadSignature(TrustError):
    """Not signed by enough of the keys that the role has, or by none of those that were given."""


class Tampered(TrustError):
    """Bytes that are not the ones that were signed: other, longer, of another kind or name."""


class Rollback(TrustError):
    """Older than something that this client has accepted already."""


class Equivocation(TrustError):
    """Two revisions with one number, or of two histories, both signed."""


class StaleError(CnrMirrorError):
    """Signed by the right keys, but expired, or this machine's clock is behind."""

    exit_code = 10
    code = "stale"


class IncompleteError(CnrMirrorError):
    exit_code = 11
    code = "incomplete"


class NetworkError(CnrMirrorError):
    exit_code = 12
    code = "network"


class AccessDenied(CnrMirrorError):
    """A host that can be reached, and does not let this user do it."""

    exit_code = 16
    code = "unauthorized-access"


class NewerFormat(CnrMirrorError):
    """Written by a newer program; nothing is wrong with it, and nothing was changed."""

    exit_code = 17
    code = "newer-format"


STALE_ACCEPTED = 13
DONE_BUT_FOR_SOME = 14
