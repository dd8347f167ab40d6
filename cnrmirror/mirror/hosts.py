"""The server configurations in ``hosts/``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cnrmirror.mirror.project import Project
from cnrmirror.views.hosts import configurations


def write(project: Project) -> list[str]:
    """Write them for where the site lies, or will lie (``hosts.root``); their names.

    Only files that differ are written.

    Raises:
        InvalidDocument: a path that configurations cannot hold; nothing was written.
    """
    texts = _texts(project)
    folder = _folder(project)
    folder.mkdir(exist_ok=True)
    for name in _differing(folder, texts):
        (folder / name).write_text(texts[name])
    return list(texts)


def lacking(project: Project) -> list[str]:
    """The names of those that ``write`` would write. Raises as it."""
    return _differing(_folder(project), _texts(project))


def _folder(project: Project) -> Path:
    return project.folder.resolve() / "hosts"


def _texts(project: Project) -> dict[str, str]:
    hosts = project.config.hosts
    root = hosts.root or str(project.site.resolve())
    return dict(configurations(root, str(_folder(project)), hosts.address, hosts.port))


def _differing(folder: Path, texts: Mapping[str, str]) -> list[str]:
    def differs(name: str) -> bool:
        path = folder / name
        return not path.exists() or path.read_text() != texts[name]

    return [name for name in texts if differs(name)]
