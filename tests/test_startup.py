"""A command imports what it uses: it starts in the time of its work."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from cnrmirror.cli import cli
from cnrmirror.cli.commands import COMMANDS
from cnrmirror.model.later import later
from cnrmirror.trust import tuf
from cnrmirror.views import compiled, templates

PACKAGE = Path(__file__).parents[1] / "cnrmirror"
# What none of the quick commands needs, and each of which takes longer than a click of the keys.
HEAVY = {
    "boto3",
    "botocore",
    "obstore",
    "requests",
    "urllib3",
    "werkzeug",
    "waitress",
    "rich.console",
}
SIGNING = {"cryptography", "securesystemslib", "tuf"}
PAGES = {"jinja2", "nh3", "pyromark", "rjsmin"}
SOURCES = {"cnrmirror.sources.kinds", "cnrmirror.sources.helm"}


def imported(*arguments: str, **environment: str) -> set[str]:
    """Every module that a run of the program imports."""
    text = "import sys, atexit\natexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
    text += "from cnrmirror.cli import main\nsys.argv[0] = 'cnrmirror'\nmain()\n"
    done = subprocess.run(
        [sys.executable, "-c", text, *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = set(done.stderr.splitlines()[-1].split())
    return found | {name.partition(".")[0] for name in found}


def completing(words: str) -> dict[str, str]:
    return {
        "_CNRMIRROR_COMPLETE": "bash_complete", "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }  # fmt: skip


@pytest.fixture
def mirror(tmp_path: Path, chart: Callable[..., Path]) -> str:
    where = str(tmp_path / "m")
    imported("init", where)
    imported("-C", where, "push", "--namespace", "charts", str(chart("nginx", "1.0.0")))
    return where


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--version"], {}),
        (["--help"], {}),
        (["push", "--help"], {}),
        (["list", "--help"], {}),
        ([], completing("cnrmirror pu")),
        ([], completing("cnrmirror push --na")),
    ],
)
def test_help_and_completion_import_nothing_of_what_a_command_does(
    arguments: list[str], environment: dict[str, str]
) -> None:
    found = imported(*arguments, **environment)
    assert not found & (HEAVY | SIGNING | PAGES | {"yaml", "importlib.metadata"})
    assert len([name for name in found if name.startswith("cnrmirror.")]) < 30


def test_what_only_looks_does_not_import_what_signs_renders_or_sends(mirror: str) -> None:
    for command in (["list"], ["show", "charts/nginx"]):
        assert not imported("-C", mirror, *command) & (HEAVY | SIGNING | PAGES | SOURCES)
    assert not imported("-C", mirror, "log") & (HEAVY | PAGES | SOURCES)


def test_a_push_imports_nothing_that_speaks_to_others(
    mirror: str, chart: Callable[..., Path]
) -> None:
    archive = str(chart("nginx", "1.1.0"))
    found = imported("-C", mirror, "push", "--namespace", "charts", archive)
    assert not found & (HEAVY | SOURCES)


def test_a_pull_from_a_folder_imports_nothing_that_speaks_to_others(
    mirror: str, tmp_path: Path
) -> None:
    found = imported(
        "pull", "charts/nginx", "--from", mirror, "--dest", str(tmp_path / "out"),
        "--trust-on-first-use", XDG_STATE_HOME=str(tmp_path / "state"),
    )  # fmt: skip
    # python-tuf's client brings urllib3.
    assert not found & (HEAVY - {"urllib3"} | PAGES | {"yaml"})


def test_the_table_of_commands_says_what_each_says_of_itself_first() -> None:
    context = click.Context(cli)
    assert {
        name: found.get_short_help_str(1000)
        for name in COMMANDS
        if (found := cli.get_command(context, name)) is not None
    } == COMMANDS


def test_one_module_alone_imports_the_library_that_signs() -> None:
    """Whoever else did, would bring boto3 with it."""
    others = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(name.partition(".")[0] in ("tuf", "securesystemslib") for name in names):
                others.append(path.relative_to(PACKAGE).as_posix())
    assert set(others) == {"trust/tuf.py"}


AWS = """
import sys
from cnrmirror.trust import tuf
assert "boto3" not in sys.modules
import boto3
class Client:
    def get_public_key(self, **_): raise AssertionError("not asked")
    def describe_key(self, **_): raise AssertionError("not asked")
boto3.client = lambda *_, **__: Client()
key = tuf.SSlibKey("0" * 64, "ecdsa", "ecdsa-sha2-nistp256", {"public": "x"})
print(type(tuf.signer_from_uri("awskms:alias/a", key)).__name__)
"""


def test_a_key_at_amazon_still_finds_its_library() -> None:
    done = subprocess.run([sys.executable, "-c", AWS], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("AWSSigner\n", "")


def test_a_uri_of_another_kind_goes_to_its_signer() -> None:
    key = tuf.SSlibKey("0" * 64, "ed25519", "ed25519", {"public": "00" * 32})
    with pytest.raises(ValueError, match="scheme nothing"):
        tuf.signer_from_uri("nothing:at-all", key)


def test_a_module_that_comes_later_is_the_module() -> None:
    found: Any = later("json")
    assert found.loads is json.loads
    with pytest.raises(AttributeError, match="nothing"):
        _ = found.nothing
    with pytest.raises(ModuleNotFoundError):
        _ = later("cnrmirror.nothing").anything


# -- templates that are compiled once --------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(templates, "environment", templates.environment.__wrapped__)
    return tmp_path / "cache" / "cnrmirror"


def not_found() -> str:
    return templates.environment().get_template("hosts/_headers").render(queries=True, pull_type="")


def test_templates_are_compiled_once_for_a_person(cache: Path) -> None:
    first = not_found()
    kept = sorted(cache.rglob("*.cache"))
    assert kept and not_found() == first and sorted(cache.rglob("*.cache")) == kept
    for spoiled in (b"something else", kept[0].read_bytes()[:30], b""):  # is compiled again
        kept[0].write_bytes(spoiled)
        assert not_found() == first


def test_what_cannot_be_kept_is_compiled_all_the_same(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = not_found()
    cache.parent.rename(cache.parent.with_name("before"))
    cache.parent.write_text("no folder")
    assert not_found() == first
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "~")
    assert not_found() == first


@pytest.mark.parametrize("which", ["folder", "parent"])
def test_programs_are_not_taken_from_where_others_may_write(cache: Path, which: str) -> None:
    not_found()
    folder = next(cache.iterdir())
    (folder if which == "folder" else folder.parent).chmod(0o777)
    assert compiled.compiled() is None


def test_a_full_disk_keeps_no_program_and_is_no_error(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jinja2.bccache.Bucket.write_bytecode", full)
    assert not_found() and not [*cache.rglob("*.cache")]


def test_own_templates_are_not_kept(cache: Path) -> None:
    templates.environment((("home.html", "own"),)).get_template("pages/home.html").render()
    assert not [*cache.rglob("*.cache")]
