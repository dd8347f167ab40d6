"""``mirror.yaml``: the only file of a mirror that a person edits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

from cnrmirror.errors import InvalidDocument, UsageError
from cnrmirror.site.views import ViewSettings
from cnrmirror.tarball import Limits

FILE_NAME = "mirror.yaml"
_MAX_BYTES = 1 << 20


class Hosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the generated server configurations need; ``root`` is where ``site/`` will lie."""

    root: str = ""
    address: str = "127.0.0.1"
    port: int = 8080


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``gc`` keeps: the last ``revisions``, and all that is younger than ``grace_hours``."""

    revisions: int = 10
    grace_hours: float = 168


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of mirror.yaml. ``id`` tells this registry from every other."""

    id: str
    url: str = ""
    views: ViewSettings = ViewSettings()
    hosts: Hosts = Hosts()
    retention: Retention = Retention()
    limits: Limits = Limits()
    lock_wait_seconds: float = 60


def load(path: Path) -> Config:
    """The configuration in a file.

    Raises:
        InvalidDocument: not YAML, unknown keys or wrong values; the message names the key.
    """
    data = path.read_bytes()
    if len(data) > _MAX_BYTES:
        raise InvalidDocument(f"{path}: larger than {_MAX_BYTES} bytes")
    try:
        value: Any = yaml.safe_load(data)
        config = msgspec.convert(value, Config)
    except (yaml.YAMLError, msgspec.ValidationError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"{path}: {error}; see docs/configuration.md") from error
    if config.url and not config.url.startswith(("http://", "https://")):
        raise InvalidDocument(f"{path}: url must begin with https:// or http://")
    return msgspec.structs.replace(config, url=config.url.rstrip("/"))


def find_project(start: Path) -> Path:
    """The nearest folder, from ``start`` upwards, with a mirror.yaml. Raises UsageError."""
    for folder in (start, *start.resolve().parents):
        if (folder / FILE_NAME).is_file():
            return folder
    raise UsageError(
        f"{start}: neither here nor above is a {FILE_NAME}; "
        "make a mirror with 'cnrmirror init DIR', or name one with -C DIR"
    )


def first_text(identity: str) -> str:
    """What ``init`` writes."""
    return f"""\
# A cnrmirror project. Every key, with its default: docs/configuration.md
id: {identity}

# The public address of site/, if there is one: https://packages.example.com
url: ""
"""
