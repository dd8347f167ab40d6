"""The tutorial, run as its reader runs it: installed with pip, with a bucket of moto's server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import blocks, tutorial
from tests.interop.servers import need

pytestmark = pytest.mark.interop


def test_the_tutorial_runs_and_prints_what_it_says(tmp_path: Path) -> None:
    need("curl")
    wanted = blocks.blocks(tutorial.TUTORIAL.read_text())
    try:
        steps = blocks.run(tmp_path, wanted)
    except blocks.Failed as failed:
        if failed.installs and not os.environ.get("CI"):
            pytest.skip("pip cannot install what the tutorial needs")
        raise
    assert len(steps) == len(wanted)
    written = tutorial.TRANSCRIPT.read_text()
    assert tutorial.transcript(steps, tmp_path) == written, "'make tutorial' writes it anew"
