"""Whether somebody else, a web server for example, may read the files of a site."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cnrmirror.objects.base import STATE_FOLDER


def is_closed(status: os.stat_result) -> bool:
    """Whether a file or folder of this mode can be read by its owner or group only."""
    needed = 0o005 if stat.S_ISDIR(status.st_mode) else 0o004
    return status.st_mode & needed != needed


def closed_words(folder: Path, files: int | None = None) -> str:
    """What is said of a folder that a web server of another user cannot read."""
    which = "its files" if files is None else f"{files} of its files and folders"
    return (
        f"{folder}: {which} are not readable by others (the umask of who wrote them): a web server "
        f"of another user cannot serve them; 'chmod -R o+rX {folder}', and umask 022 from now on"
    )


def closed_note(folder: Path) -> list[str]:
    """What is to be said of a site that a web server of another user cannot read wholly."""
    closed = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != STATE_FOLDER]
        statuses = (os.lstat(os.path.join(parent, name)) for name in (*folders, *names))
        closed += sum(not stat.S_ISLNK(status.st_mode) and is_closed(status) for status in statuses)
    return [closed_words(folder, closed)] if closed else []
