"""Every block of commands that a document shows is run, or is in a table that says why it is not.

Real clients run in tests/interop/test_blocks.py and test_clients_page.py.
"""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from tests.blocks import (
    ROOT,
    SHELL,
    Block,
    blocks_of,
    documents,
    fences,
    misfit,
    run,
    without_fences,
)
from tests.interop.servers import need
from tests.recipes import tools
from tests.stage import Stage, furnish
from tests.stages import CLUSTER, FOREIGN, NOT_RUN, OF_CLIENTS, SIGNED, STAGES, WHOLE

ALL = [block for document in documents() for block in blocks_of(document)]
STAGED = [*STAGES, *FOREIGN, SIGNED, CLUSTER]


def begun(document: str, begin: str) -> list[Block]:
    """The blocks of a document that begin so."""
    return [b for b in ALL if b.document == document and b.commands.startswith(begin)]


def test_every_block_is_run_or_it_is_said_why_not() -> None:
    run = [block for block in ALL if block.document in WHOLE]
    run += [block for stage in STAGED for block in stage.chosen()]
    run += [block for key in OF_CLIENTS for block in begun(*key)]
    ways = Counter((block.document, block.line) for block in run)
    listed = {(b.document, b.line) for key in NOT_RUN for b in begun(*key)}
    for block in ALL:
        where = (block.document, block.line)
        assert ways[where] or where in listed, (
            f"{where} is in no table of tests/stages.py: {block.first}"
        )
        assert ways[where] <= 1, f"run twice: {where}"


def test_what_is_listed_as_not_run_is_there_once() -> None:
    for document, begin in NOT_RUN:
        text = "".join(f"\n{block.commands}" for block in ALL if block.document == document)
        assert text.count(f"\n{begin}") == 1, f"{document}: {begin}"
    for key in OF_CLIENTS:
        assert len(begun(*key)) == 1, key
    for document, test in WHOLE.items():
        assert document in {block.document for block in ALL}
        assert Path(document).stem in (ROOT / test).read_text()


@pytest.mark.parametrize("document", documents())
def test_every_block_is_fenced_and_says_its_language(document: str) -> None:
    text = (ROOT / document).read_text()
    assert [fence.line for fence in fences(text) if not fence.language] == []
    assert re.findall(r"\n\n( {4,}\S.*)", without_fences(text)) == []
    known = {*SHELL, "python", "text", "json", "yaml", "toml", "nginx", "markdown", "{toctree}"}
    assert {fence.language for fence in fences(text)} <= known


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_the_blocks_of_a_document_run(world: Path, url: str, tmp_path: Path, stage: Stage) -> None:
    for program in stage.needs:
        need(program)
    stage.perform(world, url, tmp_path / "home", NOT_RUN)


def shown(document: str, begin: str) -> str:
    """The block of output in a document that begins so."""
    [text] = [f.text for f in fences((ROOT / document).read_text()) if f.text.startswith(begin)]
    return text


def test_an_audit_prints_what_is_shown(world: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    furnish(world, home)
    index = "cnr/api/v1/packages/index.json"
    expected = shown("docs/publish.md", "wrong\t").replace("/srv/public", "…") + "…\n"
    commands = f"""cd w
cp ../production/{index} more && printf x >> more && mv more ../production/{index}
cnrmirror publish production --audit || test $? = 6
"""
    run(home, [Block(commands, expected)], str(tools(home / "programs")))


def test_healthz_answers_as_it_is_shown(url: str) -> None:
    good, _ = shown("docs/serve.md", '{"catalog"').splitlines()
    with urllib.request.urlopen(f"{url}/healthz", timeout=60) as answer:
        said = answer.read().decode()
    assert misfit(good.replace("12", "…"), said) is None
