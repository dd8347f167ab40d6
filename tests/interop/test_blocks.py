"""Blocks of documents that need programs of others, or an index of packages: tests/stages.py."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.blocks import Failed, run
from tests.hostile import hosting
from tests.interop.helm import helm
from tests.interop.servers import need
from tests.interop.today import Signer
from tests.recipes import tools, web
from tests.stage import Stage
from tests.stages import FOREIGN, NOT_RUN, SIGNED
from tests.test_cosign import ARCHIVE, MAKERS, Registry, public
from tests.test_oci_source import Place

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("stage", FOREIGN, ids=lambda stage: stage.name)
def test_the_blocks_of_a_document_run(world: Path, url: str, tmp_path: Path, stage: Stage) -> None:
    (tmp_path / "bin").mkdir()
    for program in stage.needs:
        theirs = {"helm": "helm4", "kubectl": "kubectl"}
        path = helm(theirs[program]) if program in theirs else need(program)
        (tmp_path / "bin" / program).symlink_to(path)
    try:
        stage.perform(world, url, tmp_path / "home", NOT_RUN, programs=str(tmp_path / "bin"))
    except Failed as failed:
        if failed.installs and not os.environ.get("CI"):
            pytest.skip("pip cannot install what this needs")
        raise


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[tuple[Place, Signer]]:
    """A mirror with ``ns/a``, which its maker signed with gpg, and with cosign."""
    signer, key = Signer(tmp_path), MAKERS["p256"]()
    with hosting(tmp_path) as host:
        registry = Registry(Place(tmp_path, host))
        prov = signer.provenance("a-1.0.0.tgz", ARCHIVE)
        registry.digest = registry.place.registry.chart("ns/a", "1.0.0", ARCHIVE, prov)
        registry.sign(key)
        registry.release()
        project = registry.place.project
        (project.folder / "cosign.pub").write_bytes(public(key))
        assert project.signer is not None
        now = datetime.now(UTC).replace(tzinfo=None)
        project.signer.sign_revision(project.head(), now.isoformat(timespec="seconds"))
        yield registry.place, signer
    signer.close()


def test_the_blocks_about_who_made_a_package_run(
    signed: tuple[Place, Signer], tmp_path: Path
) -> None:
    place, signer = signed
    site = place.project.site
    shutil.copy(site / "catalog/metadata/1.root.json", tmp_path / "root.json")
    with web(site) as url:
        places = {"https://mirror.example.com": url}
        blocks = SIGNED.played(tmp_path, places, NOT_RUN)
        run(tmp_path, blocks, str(tools(tmp_path / "programs")), 60,
            {"GNUPGHOME": str(signer.home)})  # fmt: skip
