"""archive/helmignore.py: the rules of .helmignore are helm's, not those of .gitignore."""

from __future__ import annotations

import pytest

from cnrmirror.archive.helmignore import IgnoreRules
from cnrmirror.model.errors import InputError


@pytest.mark.parametrize(
    ("text", "path", "is_folder", "out"),
    [
        ("  *.bak  ", "a/x.bak", False, True),  # blanks around it, any depth
        ("# *.bak\n\n", "x.bak", False, False),
        ("docs/", "docs", True, True),
        ("docs/", "docs", False, False),
        ("docs/", "a/docs", True, True),
        ("/docs", "docs", True, True),
        ("/docs", "a/docs", True, False),
        ("a/*.txt", "a/x.txt", False, True),
        ("a/*.txt", "b/a/x.txt", False, False),  # with a slash, the whole path counts
        ("a/*.txt", "a/b/x.txt", False, False),  # and * stays in its folder
        ("?.txt", "ab.txt", False, False),
        ("[a-c].txt", "b.txt", False, True),
        ("[^a-c].txt", "b.txt", False, False),
        ("[!a].txt", "!.txt", False, True),  # only ^ negates
        ("\\*", "*", False, True),
        ("\\*", "x", False, False),
        ("!*.yaml", "x.txt", False, True),  # all that does not match is out
        ("!*.yaml", "x.yaml", False, False),
        ("*.yaml\n!x.yaml", "x.yaml", False, True),  # what is out stays out
        ("!docs/", "x.yaml", False, True),
        ("x.yaml", "X.yaml", False, False),
        ("(a|b).+", "(a|b).+", False, True),
        ("*a*b*c", "xaybzc", False, True),
        ("*a*b*c", "xaybz", False, False),
        ("a/*b*/c", "a/xbx/c", False, True),
        ("a*/c", "a/b/c", False, False),
        ("[a-cx-z]", "y", False, True),
        ("[\\]\\-]", "]", False, True),
        ("[\\]\\-]", "-", False, True),
        ("[[]", "[", False, True),
        ("[é]?", "éü", False, True),  # a character, not a byte
        ("[z-a]", "z", False, False),  # an empty range: nothing is in it
        ("[^z-a]", "z", False, True),  # and all is outside it
        ("/", "x", True, False),  # a rule for nothing
        ("!", "x", False, True),  # all that is not nothing is out
        ("!/", "x", True, True),
        ("\ufeff*.bak", "x.bak", False, True),  # what an editor put before the first line
        ("docs/\r\n*.bak\r\n", "docs", True, True),
        ("docs/\r\n*.bak\r\n", "x.bak", False, True),
        ("x\x0by", "y", False, False),  # only a line feed ends a line
        ("x\u2028y", "x", False, False),
        ("", "templates/.swp", False, True),
        ("", "templates/a.yaml", False, False),
    ],
)
def test_a_line_means_what_it_means_to_helm(
    text: str, path: str, is_folder: bool, out: bool
) -> None:
    assert IgnoreRules(text, ".helmignore")(path, is_folder) is out


@pytest.mark.parametrize(
    "line",
    ["a/**/b", "**", "[", "[]", "[a", "a\\", "!a\\", "[^", "[a-", "[-a]", "[]a]", "[a\\", "[a-]"],
)
def test_a_line_that_is_no_pattern_is_named_with_its_number(line: str) -> None:
    with pytest.raises(InputError, match=r"^\.helmignore:2: .* is no pattern"):
        IgnoreRules(f"*.bak\n{line}\n", ".helmignore")


def test_no_pattern_takes_long_whatever_its_stars() -> None:
    assert IgnoreRules("*a" * 40 + "*b", ".helmignore")("a" * 255, False) is False
