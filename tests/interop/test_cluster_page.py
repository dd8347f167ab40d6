"""The quick start of docs/scale.md: a scheduler, two workers, a bucket of a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.blocks import run
from tests.interop.bucket import s3_server
from tests.interop.programs import program
from tests.recipes import tools
from tests.stages import CLUSTER, NOT_RUN

pytestmark = pytest.mark.interop


def test_the_blocks_about_a_cluster_run(url: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    programs = tools(home / "programs")
    (programs / "dask").symlink_to(program("dask", "pip install 'cnrmirror[cluster]'"))
    with s3_server(tmp_path / "s3") as s3:
        blocks = CLUSTER.played(home, {"https://quay.example.com": url}, NOT_RUN)
        steps = run(home, blocks, str(programs), 180, s3.environment())
    fetched = [step.output for step in steps if "1 wanted" in step.output or "fetch" in step.output]
    assert any("charts/nginx@1.2.0" in output for output in fetched)
