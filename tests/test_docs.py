"""The documentation says what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cnrmirror.cli import cli
from cnrmirror.mirror import config
from cnrmirror.mirror.settings import Config, Retention
from cnrmirror.model import errors
from tests import documents

ROOT = Path(__file__).parents[1]
RECORDS = sorted((ROOT / "docs/decisions").glob("0*.md"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "tests/data/recorded/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def test_the_annotated_example_is_a_good_configuration(tmp_path: Path) -> None:
    path = tmp_path / "mirror.yaml"
    path.write_text((ROOT / "docs/mirror.example.yaml").read_text())
    loaded = config.load(path)
    assert len(loaded.sources) == 7 and len(loaded.publish) == 2
    assert loaded.limits == Config("x").limits and loaded.retention == Retention()


def test_what_is_made_from_the_program_is_as_it_makes_it() -> None:
    """Else: python -m tests.documents."""
    made = documents.made()
    for name, text in made.items():
        assert (ROOT / "docs" / name).read_text() == text, name
    there = {f"man/{path.name}" for path in (ROOT / "docs/man").iterdir()}
    assert there == {name for name in made if name.startswith("man/")}


def test_every_exit_code_is_in_the_table() -> None:
    table = (ROOT / "docs/exit-codes.md").read_text()
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.M)}
    kinds = [k for k in vars(errors).values() if isinstance(k, type)]
    raised = {k.exit_code for k in kinds if issubclass(k, errors.CnrMirrorError)}
    assert raised | {0, 13, 14, 15, 18, 19, 20, 130} == codes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_decision_has_its_date_its_sections_and_its_row(record: Path) -> None:
    text = record.read_text()
    date = re.search(r"^Date: (\d{4}-\d\d-\d\d) · Status: (\w+)", text, re.M)
    assert date is not None
    sections = re.findall(r"^## (.*)$", text, re.M)
    assert sections == ["Context", "Decision", "Alternatives rejected"]
    assert len(text.splitlines()) <= 60, "a record is one page"
    index = (record.parent / "README.md").read_text()
    assert re.search(rf"\({record.name}\) \| {date[1]} \| {date[2]}", index)


def test_every_goal_of_make_that_is_shown_exists() -> None:
    goals = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        shown = set(re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.M))
        assert shown <= goals, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_and_option_that_is_shown_exists(page: Path) -> None:
    context = click.Context(cli)
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.S | re.M)
    blocks = [block for language, block in fenced if language in ("sh", "console", "text")]
    lines = [line.partition("#")[0] for block in blocks for line in block.splitlines()]
    for line in lines:
        match = re.search(r"(?:^|[ '\"(;])cnrmirror((?: -C \S+)?(?: --json)?) ([a-z]+)(.*)", line)
        if match is None:
            continue
        command = cli.get_command(context, match[2])
        assert command is not None, line
        rest = match[3].partition(";")[0].partition("|")[0]
        if isinstance(command, click.Group):
            command = command.get_command(context, rest.split()[0])
            assert command is not None, line
        known = {o for p in command.params for o in p.opts} | {"--json", "--help"}
        for option in re.findall(r"(?<= )--?[a-zA-Z][\w-]*", rest):
            assert option in known, f"{option}: {line}"


def test_every_command_has_help_with_an_end() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cnrmirror", "--help"], capture_output=True, text=True, check=True
    )
    for name in cli.list_commands(click.Context(cli)):
        assert name in done.stdout
