"""Which versions run: of this program, of Python, of the libraries."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

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
    """Read off the folders that installers write; ``importlib.metadata`` would cost 30 ms more."""
    folders = [path for entry in sys.path for path in Path(entry).glob("*.dist-info")]
    found = {}
    for folder in reversed(folders):  # what stands first in sys.path counts
        name, _, version = folder.stem.partition("-")
        found[_plain(name)] = (version, folder)
    if "cnrmirror" not in found:
        return {}
    said = (found["cnrmirror"][1] / "METADATA").read_text(encoding="utf-8").partition("\n\n")[0]
    lines = re.findall(r"^Requires-Dist: ([\w.-]+)(.*)$", said, re.M)
    names = {name for name, rest in lines if "extra ==" not in rest}
    return {name: found[_plain(name)][0] for name in sorted(names) if _plain(name) in found}


def _plain(name: str) -> str:
    """A package's name as all of its spellings have it."""
    return re.sub(r"[-_.]+", "-", name).lower()
