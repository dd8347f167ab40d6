"""Tests that run as root, and need somebody who is not."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65534


@contextlib.contextmanager
def ordinary_user(folder: Path) -> Iterator[Path]:
    """A copy of ``folder`` for somebody who may not read everything: not root."""
    with tempfile.TemporaryDirectory() as top:
        copy = Path(top, "copy")
        shutil.copytree(folder, copy, symlinks=True)
        is_root = os.geteuid() == 0
        if is_root:
            Path(top).chmod(0o755)
            for parent, folders, files in os.walk(top):
                for name in (".", *folders, *files):
                    os.chown(os.path.join(parent, name), NOBODY, NOBODY, follow_symlinks=False)
            os.seteuid(NOBODY)
        try:
            yield copy
        finally:
            if is_root:
                os.seteuid(0)
