"""Makes the golden mirror in ``sample-site/mirror`` (``make sample``); a test makes it again."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import msgspec

from cnrmirror.archive.identify import Override
from cnrmirror.mirror import change
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model.canonical import normalise_metadata
from tests.mirrors import make as make_mirror

HERE = Path(__file__).parents[1] / "sample-site"
NOW = "2026-01-02T03:04:05"


def make(folder: Path) -> Project:
    """The sample mirror in ``folder``, which must not exist; the same bytes every time."""
    folder.mkdir(parents=True)
    (folder / "mirror.yaml").write_text((HERE / "mirror.yaml").read_text())
    project = make_mirror(folder, "sample")
    packages = HERE / "packages"
    metadata: msgspec.Raw = normalise_metadata({"maintainer": "the sample", "stars": 3})
    push(
        project, [packages / "nginx"], Override(namespace="charts"), NOW, What(["stable"], metadata)
    )
    push(
        project, [packages / "wordpress", packages / "blog-0.3.1"], Override(namespace="apps"), NOW
    )
    wish = Override(namespace="charts", release="1.3.0-rc.1")
    notes = HERE / "attachments/nginx-1.3.0-rc.1.txt"
    push(project, [packages / "nginx"], wish, NOW, What(attached=[("text/plain", notes)]))
    change.set_channel(project, "charts/nginx", "edge", "1.3.0-rc.1", NOW)
    return project


if __name__ == "__main__":
    target = HERE / "mirror"
    shutil.rmtree(target, ignore_errors=True)
    make(target)
    shutil.rmtree(target / ".state")
    sys.stdout.write(f"made {target}\n")
