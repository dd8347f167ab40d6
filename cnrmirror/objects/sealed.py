"""Private files that can be made again: with their own digest, so that a damaged one is noticed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection
from pathlib import Path

from cnrmirror.objects.files import write_new

_DIGITS = 64


def read_sealed(path: Path) -> memoryview | None:
    """What ``write_sealed`` wrote there; None if it is not there, or not whole."""
    try:
        data = memoryview(path.read_bytes())
    except OSError:
        return None
    seal, body = data[:_DIGITS], data[_DIGITS + 1 :]
    return body if bytes(seal) == hashlib.sha256(body).hexdigest().encode() else None


def write_sealed(path: Path, body: bytes, scratch: Path) -> None:
    """Write a file whole or not at all; it is not synced: after a power cut it may be damaged.

    Args:
        scratch: where the file is made, on the same file system.
    """
    temporary = scratch / f"{path.name}.{os.getpid()}.sealed"
    temporary.unlink(missing_ok=True)
    write_new(str(temporary), [hashlib.sha256(body).hexdigest().encode(), b"\n", body])
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(temporary, path)


def keep_only(folder: Path, names: Collection[str]) -> None:
    """Remove the other files of a folder; it need not be there."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.scandir(folder):
            if entry.name not in names and not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
