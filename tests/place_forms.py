"""A small mirror, and buckets in memory that have some of the forms."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.model.instant import Instant
from cnrmirror.publish.open import DestinationMemory
from cnrmirror.publish.session import Session
from cnrmirror.views.layout import Form
from tests.conftest import chart_bytes
from tests.mirrors import make
from tests.places import WatchedObjects

NOW = str(Instant.of(datetime.now(UTC)))
ALL: tuple[Form, ...] = get_args(Form)
CHOICES: list[list[Form]] = [[], ["json"], ["twins"], ["dash"], ["bare"], [*ALL], []]


def mirror_of_two_releases(tmp_path: Path) -> Project:
    """``ns/a`` in 1.0.0 and 1.1.0, with a channel."""
    found = make(tmp_path / "mirror", "00000000-0000-4000-8000-000000000020", NOW)
    for release in ("1.0.0", "1.1.0"):
        path = tmp_path / f"a-{release}.tgz"
        path.write_bytes(chart_bytes("a", release))
        push(found, [path], Override(namespace="ns"), NOW, What(["stable"]))
    return found


def to_bucket(
    project: Project, objects: dict[str, bytes], forms: Sequence[Form], grace: float = 0
) -> Session:
    """A mirror, and a bucket in memory with these forms."""
    target = PublishTo(to="s3://memory/x", forms=[*forms], grace_minutes=grace)
    place = WatchedObjects(project.store, objects)
    return Session(project, target, DestinationMemory(project, target), place)


def bucket_of(project: Project, forms: Sequence[Form]) -> dict[str, bytes]:
    """What a bucket holds after its first publish."""
    objects: dict[str, bytes] = {}
    to_bucket(project, objects, forms).publish(NOW)
    return objects
