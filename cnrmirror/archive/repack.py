"""A chart whose files are at the root of its archive, once more, in the folder that Helm needs."""

from __future__ import annotations

import tarfile
from typing import BinaryIO

from cnrmirror.archive.folder import PackageFile
from cnrmirror.archive.pack import gzip_bytes, tar_of_files
from cnrmirror.model.names import PackageName

MAX_UNPACKED = 64 << 20
"""Bytes of what is repacked: it is held in memory."""


def repacked(archive: BinaryIO, package: str) -> bytes:
    """The archive with all its files below one folder, called as the package.

    Args:
        archive: open at its beginning, looked into before (``inspect``): tarfile believes much.

    Raises:
        OSError, tarfile.TarError: it cannot be read.
    """
    files: dict[str, PackageFile] = {}
    with tarfile.open(fileobj=archive, mode="r:gz") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                name = member.name.removeprefix("./")
                files[name] = PackageFile(name, content.read(), bool(member.mode & 0o100))
    ordered = [files[name] for name in sorted(files)]
    return gzip_bytes(tar_of_files(ordered, PackageName.parse(package).name))
