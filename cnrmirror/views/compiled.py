"""Templates as Python programs, kept in this person's cache as Python keeps modules.

Compiling them takes longer than all else that a push does.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket

from cnrmirror import __version__
from cnrmirror.model.errors import UsageError
from cnrmirror.model.xdg import own_folder

# Raise it when the options of ``templates.environment`` change: jinja2 looks at the text only.
_OPTIONS = 1


class Compiled(jinja2.FileSystemBytecodeCache):
    """jinja2's cache in a folder; what cannot be kept is compiled again the next time."""

    def load_bytecode(self, bucket: Bucket) -> None:
        """See ``jinja2.BytecodeCache``; what cannot be read, or is cut off, is compiled again."""
        try:
            super().load_bytecode(bucket)
        except Exception:  # pickle raises whatever the bytes make it raise
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """See ``jinja2.BytecodeCache``."""
        with contextlib.suppress(OSError):
            super().dump_bytecode(bucket)


def compiled() -> Compiled | None:
    """The programs that are kept; None where no folder is this person's alone, for they are run."""
    name = f"templates-{__version__}-{jinja2.__version__}-{_OPTIONS}"
    try:
        folder = own_folder("CACHE") / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = folder.resolve()  # what a link leads to may be another thing a moment later
    except (OSError, UsageError):
        return None
    return Compiled(str(folder)) if _is_own(folder) else None


def _is_own(folder: Path) -> bool:
    """Whether nobody else can put a program in, or another folder in its place.

    ``sudo`` keeps somebody else's home; /tmp, which is sticky, lets nobody replace what is mine.
    """
    own, above = [folder.stat(), folder.parent.stat()], [p.stat() for p in folder.parents[1:]]
    return all(s.st_uid == os.getuid() and not s.st_mode & 0o022 for s in own) and all(
        s.st_uid in (0, os.getuid()) and (not s.st_mode & 0o022 or s.st_mode & stat.S_ISVTX)
        for s in above
    )
