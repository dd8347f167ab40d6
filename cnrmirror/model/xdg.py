"""A person's own folders (XDG base directories)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from cnrmirror.model.errors import UsageError

_FOLDERS = {"CONFIG": "~/.config", "STATE": "~/.local/state", "CACHE": "~/.cache"}


def own_folder(kind: Literal["CONFIG", "STATE", "CACHE"]) -> Path:
    """This person's folder for keys (CONFIG), for what must (STATE) or need not be remembered.

    Raises:
        UsageError: this user has no home, and nothing says where the folder is.
    """
    variable = f"XDG_{kind}_HOME"
    base = os.environ.get(variable) or os.path.expanduser(_FOLDERS[kind])
    if base.startswith("~"):
        raise UsageError(f"this user has no home folder: set HOME, or {variable}")
    return Path(base) / "cnrmirror"
