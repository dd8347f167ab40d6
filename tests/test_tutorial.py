"""What runs the tutorial, and its parts that need neither a network nor other programs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests import tutorial
from tests.blocks import Block, Failed, blocks, misfit, run
from tests.tutorial import normal, typed


def test_the_parts_before_the_server_run_and_print_what_they_say(tmp_path: Path) -> None:
    program = shutil.which("cnrmirror", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("cnrmirror is not installed beside this Python")
    first = blocks(tutorial.TUTORIAL.read_text().partition("## 5.")[0])
    wanted = [block for block in first if "pip install" not in block.commands]
    assert len(wanted) == 8
    assert len(run(tmp_path, wanted, programs=str(Path(program).parent))) == 8


def test_blocks_are_commands_and_the_output_that_follows_directly() -> None:
    first = "```sh\na\nb\n```\n\n```text\nout\n```\n\n"
    text = first + "```sh\nc\n```\n\nwords\n\n```text\nno output\n```\n"
    assert blocks(text) == [Block("a\nb\n", "out\n"), Block("c\n")]


@pytest.mark.parametrize(
    ("expected", "output", "wrong"),
    [
        ("a\nb\n", "a\nb\n", None),
        ("a …, 2\n", "a 17, 2\n", None),
        ("…\nb\n", "x\ny\nb\n", None),
        ("…\nb\n", "b\n", None),
        ("a\n…\n", "a\n", None),
        ("a\n", "b\n", "a"),
        ("a\nb\n", "a\n", "b"),
        ("…\nb\n", "a\n", "b"),
        ("a\n", "a\nmore\n", "nothing more, instead of: more"),
    ],
)
def test_output_fits_or_the_first_line_that_does_not_is_named(
    expected: str, output: str, wrong: str | None
) -> None:
    assert misfit(expected, output) == wrong


def test_a_command_that_fails_and_other_output_are_errors(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="exit code 3"):
        run(tmp_path, [Block("(exit 3)\n")])
    with pytest.raises(Failed, match="this line is not printed: b"):
        run(tmp_path, [Block("echo a\n", "b\n")])
    with pytest.raises(Failed, match="no end"):
        run(tmp_path, [Block("sleep 60\n")], seconds=0.3)


def test_blocks_share_one_shell_and_its_background(tmp_path: Path) -> None:
    wanted = [Block("cd /\nx=1\nsleep 60 &\n"), Block('echo "$PWD $x"\nkill %sleep\n', "/ 1\n")]
    assert [step.output for step in run(tmp_path, wanted)] == ["", "/ 1\n"]


def test_a_transcript_has_no_digests_times_or_paths_of_its_run() -> None:
    digest = "0a" * 32
    text = f"/tmp/x/k {digest} at 2026-11-29T08:46:19.787184, 74 written, 0 removed, 0.3 s, 9 bytes"
    assert normal(text, Path("/tmp/x")) == "~/k DIGEST at TIME, N written, 0 removed, N s, N bytes"


def test_a_line_that_goes_on_is_typed_with_another_prompt() -> None:
    commands = "cat <<'END'\na\nEND\na \\\n  b\nc\n"
    assert typed(commands) == "$ cat <<'END'\n> a\n> END\n$ a \\\n>   b\n$ c\n"
