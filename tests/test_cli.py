"""The command line as a person uses it, with good and bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def call(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "cnrmirror", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "SOURCE_DATE_EPOCH": "1767323045"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


def test_a_first_session(run: Run, chart: Callable[..., Path]) -> None:
    run("init", "m")
    run("-C", "m", "push", "--namespace", "ns", "--channel", "stable", str(chart("a", "1.0.0")))
    run("-C", "m", "push", "--namespace", "ns", str(chart("a", "1.1.0")), str(chart("b", "1.0.0")))
    assert run("-C", "m", "list").stdout.splitlines() == [
        "ns/a\t1.1.0\thelm\t2",
        "ns/b\t1.0.0\thelm\t1",
    ]
    assert "stable" in run("-C", "m", "show", "ns/a:stable").stdout
    assert run("-C", "m", "show", "ns/a@^1.0.0").stdout.startswith("1.1.0")
    run("-C", "m", "channel", "set", "ns/a", "stable", "1.1.0")
    listed = json.loads(run("-C", "m", "--json", "channel", "list", "ns/a").stdout)
    assert listed == [{"name": "stable", "current": "1.1.0", "releases": ["1.1.0", "1.0.0"]}]
    run("-C", "m", "remove", "ns/b@1.0.0", "--reason", "a test")
    changed = run("-C", "m", "diff", "1").stdout.splitlines()
    assert [line.split("\t")[:2] for line in changed] == [
        ["~", "ns/a:stable"],
        ["+", "ns/a@1.1.0 (helm)"],
        ["+", "ns/b@1.0.0 (helm) removed"],
    ]
    assert "a test" in run("-C", "m", "log").stdout
    run("-C", "m", "rollback", "2")
    run("-C", "m", "build")
    assert "0 files written, 0 removed" in run("-C", "m", "build").stdout
    assert "all well" in run("-C", "m", "check").stdout
    assert "removed 0 files" in run("-C", "m", "gc").stdout


def test_a_folder_of_many_is_one_revision(
    run: Run, chart: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "charts").mkdir()
    for n in range(5):
        chart("a", f"1.{n}.0").rename(tmp_path / "charts" / f"a-1.{n}.0.tgz")
    run("init", "m")
    assert "revision 1" in run("-C", "m", "push", "--namespace", "ns", "charts").stdout


def test_names_come_from_inside_or_from_the_file_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "blog-0.3.1").mkdir()
    (tmp_path / "blog-0.3.1" / "docker-compose.yml").write_text("version: '3'\nservices: {}\n")
    (tmp_path / "rocket").mkdir()
    (tmp_path / "rocket" / "manifest.jsonnet").write_text("{}")
    (tmp_path / "rocket" / "manifest.yaml").write_text(
        "package: {name: ant31/rocket, version: 1.0.1}"
    )
    run("init", "m")
    run("-C", "m", "push", "--namespace", "apps", "blog-0.3.1")
    run("-C", "m", "push", "rocket")
    assert run("-C", "m", "list").stdout.splitlines() == [
        "ant31/rocket\t1.0.1\tkpm\t1", "apps/blog\t0.3.1\tdocker-compose\t1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["push", "nowhere.tgz"], 3, "no such file"),
        (["push", "bad.tgz"], 3, "gzip"),
        (["push", "a-1.0.0.tgz"], 3, "--namespace"),
        (["push", "--as", "a/b/c", "a-1.0.0.tgz"], 3, "NAMESPACE/NAME"),
        (["push", "--namespace", "..", "a-1.0.0.tgz"], 3, "namespace"),
        (["push", "--namespace", "ns", "--release", "one", "a-1.0.0.tgz"], 3, "semantic version"),
        (["push", "--namespace", "ns", "--metadata", "bad.tgz", "a-1.0.0.tgz"], 3, "JSON"),
        (["push", "--namespace", "ns", "--channel", "a/b", "a-1.0.0.tgz"], 3, "channel"),
        (["push"], 2, "Usage"),
        (["show", "ns/none"], 5, "no package"),
        (["channel", "set", "ns/none", "stable", "1.0.0"], 5, "no package"),
        (["rollback", "99"], 5, "no revision"),
        (["serve", "--accept-push"], 2, "token"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_bad_input_is_explained_and_changes_nothing(
    run: Run, chart: Callable[..., Path], tmp_path: Path,
    arguments: list[str], code: int, word: str,
) -> None:  # fmt: skip
    (tmp_path / "bad.tgz").write_bytes(b"not an archive")
    chart("a", "1.0.0")
    run("init", "m")
    assert word in run("-C", "m", *arguments, code=code).stderr
    assert len(run("-C", "m", "log").stdout.splitlines()) == 1


def test_outside_a_mirror_the_way_in_is_said(run: Run) -> None:
    assert "cnrmirror init" in run("list", code=2).stderr


def test_a_conflict_has_its_own_exit_code(run: Run, chart: Callable[..., Path]) -> None:
    run("init", "m")
    run("-C", "m", "push", "--namespace", "ns", str(chart("a", "1.0.0")))
    other = chart("a", "1.0.0", "other")
    assert "--accept" in run("-C", "m", "push", "--namespace", "ns", str(other), code=4).stderr
    run("-C", "m", "push", "--accept", "--namespace", "ns", str(other))


def test_a_wrong_key_in_mirror_yaml_is_named(run: Run, tmp_path: Path) -> None:
    run("init", "m")
    path = tmp_path / "m" / "mirror.yaml"
    path.write_text(path.read_text() + "vews: {}\n")
    assert "vews" in run("-C", "m", "list", code=3).stderr


def test_the_plain_profile_has_an_index_html_for_every_document(
    run: Run, chart: Callable[..., Path], tmp_path: Path
) -> None:
    run("init", "m")
    path = tmp_path / "m" / "mirror.yaml"
    path.write_text(path.read_text() + "views: {profile: plain, plain_pull: json}\n")
    run("-C", "m", "push", "--namespace", "ns", str(chart("a", "1.0.0")))
    base = tmp_path / "m/site/cnr/api/v1/packages"
    assert json.loads((base / "index.html").read_text())[0]["name"] == "ns/a"
    assert json.loads((base / "ns/a/1.0.0/helm/pull").read_text())["release"] == "1.0.0"
    run("-C", "m", "check")
    path.write_text(path.read_text().replace("plain_pull: json", "plain_pull: archive"))
    run("-C", "m", "check")
    assert (base / "ns/a/1.0.0/helm/pull").read_bytes()[:2] == b"\x1f\x8b"
