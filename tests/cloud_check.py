"""What every place must do, tried at a real one: ``make cloud-check PLACE=gs://my-bucket/try``.

It writes some twenty small objects below a name of its own, and removes them. Credentials and
endpoint come from the environment, as for ``publish``.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from cnrmirror.mirror.project import Project
from cnrmirror.objects.base import STATE, Objects
from cnrmirror.objects.scheme import scheme_of
from tests.objects_suite import ObjectsSuite

PLACE = os.environ.get("CNRMIRROR_PLACE", "")
if "://" not in PLACE:
    pytest.exit("name a place: make cloud-check PLACE=gs://my-bucket/try", returncode=2)


class TestPlace(ObjectsSuite):
    @pytest.fixture
    def pair(self, project: Project) -> Iterator[tuple[Objects, Objects]]:
        scheme = scheme_of(PLACE)
        address = f"{PLACE.rstrip('/')}/{uuid.uuid4().hex}"
        one, two = (scheme.destination(address, scheme.plain, project.store) for _ in range(2))
        yield one, two
        one.delete([*(listed.key for listed in one.listing()), STATE])
        one.close()
        two.close()
