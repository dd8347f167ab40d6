"""Fixtures: a mirror project in a temporary folder, small packages, the recorded answers."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from cnrmirror.catalog.tree import EMPTY
from cnrmirror.mirror.project import Project
from cnrmirror.model.documents import CatalogRoot
from tests.mirrors import make
from tests.recorded import Recorded

pytest_plugins = ["tests.world"]

NOW = "2026-01-02T03:04:05"
# Tests sign for that moment, and others that are over.
os.environ["CNRMIRROR_ALLOW_PAST"] = "1"
# An example has no time limit: the machine may be busy.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# For `make mutants`: the same examples each time, and none made smaller: one failure is enough.
settings.register_profile(
    "mutants", derandomize=True, deadline=None, database=None,
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip


# A revision without packages, for views whose lists are those of any revision.
NO_ROOT = CatalogRoot("00000000-0000-4000-8000-000000000001", 1, NOW, "", 0, 0, EMPTY)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make(tmp_path / "mirror", "00000000-0000-4000-8000-000000000001")


def tar_gz(files: dict[str, bytes], **changes: object) -> bytes:
    """A small package archive; ``changes`` are set on every member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for key, value in changes.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


def chart_bytes(name: str, release: str, text: str = "") -> bytes:
    chart = f"name: {name}\nversion: {release}\n# {text}\n".encode()
    return tar_gz({f"{name}/Chart.yaml": chart, f"{name}/values.yaml": b"a: 1\n"})


@pytest.fixture
def chart(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, release: str, text: str = "") -> Path:
        path = tmp_path / f"{name}-{release}{'-' if text else ''}{text}.tgz"
        path.write_bytes(chart_bytes(name, release, text))
        return path

    return make


@pytest.fixture(scope="session", params=["appr", "cnr"])
def recorded(request: pytest.FixtureRequest) -> Recorded:
    return Recorded(request.param)
