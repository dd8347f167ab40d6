"""A package folder becomes an archive in the store."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec

from cnrmirror.archive.identify import Identity, Override, identify, telling_of_folder
from cnrmirror.archive.inspect import ArchiveInfo, inspect
from cnrmirror.archive.pack import pack
from cnrmirror.archive.scan import Limits
from cnrmirror.catalog.tree import Catalog
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Node
from cnrmirror.model.errors import InputError


def keep_folder(
    catalog: Catalog, tree: Node, path: Path, wish: Override, limits: Limits, outside: bool
) -> tuple[Identity, ArchiveInfo]:
    """Pack a folder and keep the archive in the store, unless the catalog has its tar already.

    What deflate makes of a tar differs between libraries. So a folder that is pushed again is
    compared by its tar; if that is the same, ``info.blob`` is the archive that the catalog has.

    Args:
        tree: the revision that is changed.
        wish: what to call the package, where it does not tell itself.
        outside: follow symlinks that lead out of the folder, too.

    Raises:
        InputError: it is no package, or holds what no package can carry.
        TooLarge: more files or bytes than the limits.
    """
    telling = telling_of_folder(path)
    identity = identify(telling, path, wish)
    prefix = identity.package.partition("/")[2] if identity.media_type == "helm" else ""
    data = pack(path, prefix, limits, outside)
    info = inspect(io.BytesIO(data), limits)
    if telling and not info.telling:
        raise InputError("its .helmignore leaves out the very file that tells what it is")
    kept = _kept(catalog, tree, identity, info.diff_id)
    if kept in (None, info.blob):  # the latter may be damaged in the store, and is restored
        catalog.store.add_blob(info.blob, [data])
        return identity, info
    return identity, msgspec.structs.replace(info, blob=kept)


def _kept(catalog: Catalog, tree: Node, identity: Identity, diff_id: str) -> Descriptor | None:
    """The archive of this release, if its tar is this one: deflate may have packed it otherwise."""
    document = catalog.get(tree, identity.package)
    release = document.find(identity.release, identity.media_type) if document else None
    return release.blob if release and release.content.digest == diff_id else None
