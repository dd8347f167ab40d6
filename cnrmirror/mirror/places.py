"""The places that mirror.yaml names, opened to be written."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TypeVar

import msgspec

from cnrmirror.mirror.layout import Layout
from cnrmirror.mirror.settings import PublishTo, StoreAt
from cnrmirror.model.errors import UsageError
from cnrmirror.objects.base import Objects, Reader
from cnrmirror.objects.cloud_settings import CloudSettings
from cnrmirror.objects.partial import PartialStore
from cnrmirror.objects.s3_settings import S3Settings
from cnrmirror.objects.scheme import (
    AZURE,
    FOLDER,
    GOOGLE,
    S3,
    FolderSettings,
    Scheme,
    Settings,
    scheme_of,
)
from cnrmirror.objects.store import Store

P = TypeVar("P", bound=PublishTo)
_OF_S3 = ("region", "profile", "path_style", "encryption", "kms_key", "checksums", "request_payer")


def placed(folder: Path, target: P) -> P:
    """The same, with a folder seen from the project's."""
    if scheme_of(target.to) is not FOLDER:
        return target
    return msgspec.structs.replace(target, to=str(folder.resolve() / target.to))


def check_place(target: PublishTo) -> Scheme:
    """The kind of a place. Raises UsageError if something is said of it that is of another kind."""
    scheme = scheme_of(target.to)
    scheme.check(target.to)
    fitting = S3 if target.host == "s3-website" else FOLDER
    if target.host and scheme is not fitting:
        kind = {FOLDER: "a folder", S3: "a bucket"}.get(scheme, f"{scheme.prefix}…")
        raise UsageError(f"{target.to}: host: {target.host} is not for {kind}")
    if scheme in (GOOGLE, AZURE):
        plain = PublishTo(to="")
        for name in _OF_S3:
            if getattr(target, name) != getattr(plain, name):
                raise UsageError(f"{target.to}: {name} is for s3://…, not for {scheme.prefix}…")
    return scheme


def open_place(target: PublishTo, store: Store) -> Objects:
    """The place itself.

    Args:
        target: what mirror.yaml says of it.
        store: has the blobs that are written there.

    Raises:
        AccessDenied, InputError: it cannot be opened.
    """
    return scheme_of(target.to).destination(target.to, access_of(target), store)


def open_reader(target: PublishTo) -> Reader:
    """Reads what is there, as anybody would. Raises InputError."""
    return scheme_of(target.to).reader(target.to, access_of(target))


def partial_store(folder: Path, layout: Layout, at: StoreAt) -> PartialStore:
    """What is here of a mirror that is in an object store (mirror.yaml: store).

    Raises:
        UsageError: the folder is within the store, which everybody may read.
    """
    target = placed(folder, at)
    if check_place(target) is FOLDER and folder.resolve().is_relative_to(Path(target.to).resolve()):
        raise UsageError(
            f"store: {at.to}: {folder} is in it, with what clients must not see; use another folder"
        )
    limit = at.cache_mib << 20
    opened = functools.partial(open_place, target)
    return PartialStore(layout.catalog, layout.making, opened, limit)


def access_of(target: PublishTo) -> Settings:
    """What of a place is not in its address."""
    scheme = scheme_of(target.to)
    if scheme is FOLDER:
        return FolderSettings(target.portable)
    if scheme is not S3:
        return CloudSettings(target.endpoint, target.storage_class)
    return S3Settings(
        target.endpoint, target.region, target.profile, target.path_style, target.storage_class,
        target.encryption, target.kms_key, target.checksums, target.request_payer,
    )  # fmt: skip
