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
    │   └── ReleaseConflict        … a release is there already with another digest
    ├── NotFoundError          5   no such package, release, channel or revision
    ├── DamageError            6   what is on disk is not what the catalog says
    │   └── DigestMismatch         … bytes do not have the digest or size they must have
    ├── BusyError              7   another process holds the mirror
    └── StorageError           8   the disk refuses: full, read-only, no permission

The number is the exit code of the command line (``docs/exit-codes.md``). Each message says what
is wrong, where, and what to do next.
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


class NotFoundError(CnrMirrorError):
    exit_code = 5
    code = "package-not-found"


class DamageError(CnrMirrorError):
    exit_code = 6


class DigestMismatch(DamageError):
    """Bytes that do not have the digest or the size that names them."""

    def __init__(self, where: str, expected: str, actual: str) -> None:
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
