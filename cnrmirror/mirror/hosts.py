"""The server configurations in ``hosts/``."""

from __future__ import annotations

from cnrmirror.mirror.project import Project
from cnrmirror.views.hosts import configurations


def write(project: Project) -> list[str]:
    """Write them for where the site lies, or will lie (``hosts.root``); their names.

    Only files that differ are written.

    Raises:
        InvalidDocument: a path that configurations cannot hold; nothing was written.
    """
    hosts = project.config.hosts
    folder = project.folder.resolve() / "hosts"
    root = hosts.root or str(project.site.resolve())
    texts = configurations(root, str(folder), hosts.address, hosts.port)
    folder.mkdir(exist_ok=True)
    names = []
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        names.append(name)
    return names
