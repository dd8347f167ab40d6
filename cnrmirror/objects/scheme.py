"""Addresses: which kind of objects ``s3://bucket/prefix`` or a folder's name means.

An address that looks like one of another kind is refused, so that ``ftp://host`` never becomes a
folder of that name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from cnrmirror.model.errors import InputError
from cnrmirror.model.later import later
from cnrmirror.objects.base import Objects, Reader
from cnrmirror.objects.cloud_settings import CloudAddress, CloudSettings
from cnrmirror.objects.folder import FolderObjects, FolderReader
from cnrmirror.objects.s3_settings import S3Settings, parse_address
from cnrmirror.objects.store import Store

if TYPE_CHECKING:
    from cnrmirror.objects import bucket, cloud, s3
else:
    bucket = later("cnrmirror.objects.bucket")
    cloud = later("cnrmirror.objects.cloud")
    s3 = later("cnrmirror.objects.s3")


# Also HOST:/PATH as scp and rsync write it, with a user or without.
_LOOKS_LIKE_ONE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+|[^/@]+@[^/:]+):")


class FolderSettings(msgspec.Struct, frozen=True):
    """What of a folder is not in its name; see ``folder.FolderObjects``."""

    portable: bool = False


Settings = S3Settings | CloudSettings | FolderSettings


class Scheme(Protocol):
    """One kind of address.

    ``prefix`` begins it; ``shape`` is what the views are there: objects under exact keys, or files
    in folders. ``slashes``: whether a key may end with one. ``plain`` are the settings of an
    address that nothing more is said of.
    """

    prefix: str
    shape: Literal["objects", "files"]
    slashes: bool
    plain: Settings

    def check(self, address: str) -> None:
        """Raises InputError for an address that cannot be."""

    def destination(self, address: str, settings: Settings, store: Store) -> Objects:
        """The objects there, to be written. Raises AccessDenied."""

    def reader(self, address: str, settings: Settings) -> Reader:
        """The objects there, to be read. Raises InputError."""


class _S3:
    prefix = "s3://"
    shape: Literal["objects", "files"] = "objects"
    slashes = True
    plain: Settings = S3Settings()

    def check(self, address: str) -> None:
        parse_address(address)

    def destination(self, address: str, settings: Settings, store: Store) -> Objects:
        assert isinstance(settings, S3Settings)
        return s3.BucketObjects(address, settings, store)

    def reader(self, address: str, settings: Settings) -> Reader:
        assert isinstance(settings, S3Settings)
        return bucket.BucketReader(address, settings)


class _Cloud:
    shape: Literal["objects", "files"] = "objects"
    slashes = False  # obstore takes them away
    plain: Settings = CloudSettings()

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def check(self, address: str) -> None:
        CloudAddress.parse(address)

    def destination(self, address: str, settings: Settings, store: Store) -> Objects:
        assert isinstance(settings, CloudSettings)
        return cloud.CloudObjects(address, settings, store)

    def reader(self, address: str, settings: Settings) -> Reader:
        assert isinstance(settings, CloudSettings)
        return cloud.CloudReader(address, settings)


class _Folder:
    prefix = ""
    shape: Literal["objects", "files"] = "files"
    slashes = False
    plain: Settings = FolderSettings()

    def check(self, address: str) -> None:
        """Any name will do."""

    def destination(self, address: str, settings: Settings, store: Store) -> Objects:
        assert isinstance(settings, FolderSettings)
        return FolderObjects(Path(address), store, settings.portable)

    def reader(self, address: str, settings: Settings) -> Reader:
        return FolderReader(Path(address))


S3: Scheme = _S3()
GOOGLE: Scheme = _Cloud("gs://")
AZURE: Scheme = _Cloud("az://")
FOLDER: Scheme = _Folder()
SCHEMES: tuple[Scheme, ...] = (S3, GOOGLE, AZURE, FOLDER)


def scheme_of(address: str, also: tuple[str, ...] = ()) -> Scheme:
    """The kind of an address.

    Args:
        address: what somebody gave.
        also: what else the caller takes there, for the message: ``https://…``.

    Returns:
        ``FOLDER`` for everything that does not look like an address of another kind.

    Raises:
        InputError: it looks like one, and none is known that begins so.
    """
    for scheme in SCHEMES:
        if scheme.prefix and address.startswith(scheme.prefix):
            return scheme
    match = _LOOKS_LIKE_ONE.match(address)
    if match and not Path(address).exists():
        known = [f"{scheme.prefix}…" for scheme in SCHEMES if scheme.prefix]
        raise InputError(
            f"{address}: addresses that begin with {match[1]}: are not known; there are "
            f"{', '.join([*also, *known])}, and folders (as a folder: ./{address})"
        )
    return FOLDER


def folder_of(address: str) -> Path:
    """A folder's name. Raises InputError for an address of another kind."""
    if scheme_of(address) is not FOLDER:
        raise InputError(f"{address}: this takes a folder, not an address")
    return Path(address)
