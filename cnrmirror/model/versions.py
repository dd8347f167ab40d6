"""Which versions run: of this program, of Python, of the libraries."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

import msgspec

from cnrmirror import __version__


class Versions(msgspec.Struct, frozen=True):
    """What ``cnrmirror --version`` says; ``libraries`` are those of pyproject.toml, by name."""

    cnrmirror: str
    python: str
    platform: str
    libraries: dict[str, str]


def versions() -> Versions:
    """The versions that run here; a library that is not there has none."""
    return Versions(__version__, platform.python_version(), platform.platform(), _libraries())


def lines() -> list[str]:
    """The same for people."""
    found = versions()
    first = f"cnrmirror {found.cnrmirror}, Python {found.python}, {found.platform}"
    return [first, *(f"  {name} {text}" for name, text in found.libraries.items())]


def _libraries() -> dict[str, str]:
    found = {}
    for line in requires("cnrmirror") or []:
        name = re.split(r"[^A-Za-z0-9_.-]", line)[0]
        if name != "cnrmirror" and "extra ==" not in line:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
    return dict(sorted(found.items()))
