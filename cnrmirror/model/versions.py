"""Which versions run: of this program, of Python, of the libraries."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import msgspec

from cnrmirror import __version__

LIBRARIES = (
    "boto3", "click", "cryptography", "isal", "jinja2", "msgspec", "nh3", "obstore", "pybase64",
    "pyromark", "pyyaml", "requests", "rich", "rjsmin", "securesystemslib", "segno",
    "semantic-version", "tuf", "waitress", "werkzeug",
)  # fmt: skip
"""Those of pyproject.toml; a test compares."""


class Versions(msgspec.Struct, frozen=True):
    """What ``cnrmirror --version`` says; ``libraries`` are those of pyproject.toml, by name."""

    cnrmirror: str
    python: str
    platform: str
    libraries: dict[str, str]


def versions() -> Versions:
    """The versions that run here; a library that is not there has none."""
    system = os.uname()
    found = dict(_installed())
    libraries = {name: found[name] for name in LIBRARIES if name in found}
    platform = f"{system.sysname} {system.release} {system.machine}"
    return Versions(__version__, sys.version.split()[0], platform, libraries)


def lines() -> list[str]:
    """The same for people."""
    found = versions()
    first = f"cnrmirror {found.cnrmirror}, Python {found.python}, {found.platform}"
    return [first, *(f"  {name} {text}" for name, text in found.libraries.items())]


def _installed() -> Iterator[tuple[str, str]]:
    """Every installed package with its version, by the names of folders alone: it is quick.

    PEP 376, PEP 427: ``NAME-VERSION.dist-info``. What comes first in the path counts.
    """
    for folder in reversed(sys.path):
        if folder and os.path.isdir(folder):
            for entry in os.listdir(folder):
                if entry.endswith(".dist-info"):
                    name, _, version = entry.removesuffix(".dist-info").partition("-")
                    yield name.lower().replace("_", "-").replace(".", "-"), version
