"""Modules that are imported when something of them is asked for first: a start costs what it uses.

Imports stay at the top of a file, where readers, type checkers and the test of the rooms see them::

    if TYPE_CHECKING:
        import requests
    else:
        requests = later("requests")
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands for a module; ``importlib.util.LazyLoader`` would load it with the next import."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def later(name: str) -> Any:
    """The module of that name, which is imported when it is used. Safe between threads."""
    return _Later(name)
