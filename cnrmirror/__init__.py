"""cnrmirror: a CNR ("app registry") as static files.

``Mirror`` is a mirror of one's own, ``Remote`` one elsewhere, verified; errors are those of
``cnrmirror.errors``, all of them ``CnrMirrorError``. docs/python.md has examples. All else may
change.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnrmirror.api import Mirror, Remote
    from cnrmirror.model import errors
    from cnrmirror.model.errors import CnrMirrorError

__all__ = ["CnrMirrorError", "Mirror", "Remote", "errors"]
__version__ = "0.1.0"

_PUBLIC = {
    "Mirror": "cnrmirror.api", "Remote": "cnrmirror.api",
    "CnrMirrorError": "cnrmirror.model.errors",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """The public names, loaded when they are asked for: the command line needs none of them."""
    if name == "errors":
        return importlib.import_module("cnrmirror.model.errors")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'cnrmirror' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
