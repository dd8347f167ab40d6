"""The command line as a person uses it, with good and bad input."""

from __future__ import annotations

import json
import os
import pty
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.archive.pack import gzip_bytes
from cnrmirror.mirror import change
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.canonical import normalise_metadata
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import PackageDocument
from tests.conftest import NOW
from tests.mirrors import make

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
    assert "all well" in run("-C", "m", "check", code=18).stdout  # a time that is over
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
        (["push", "--as", "a/b", "--namespace", "c", "a-1.0.0.tgz"], 2, "leave --namespace out"),
        (["push", "--namespace", "ns", "--release", "", "a-1.0.0.tgz"], 2, "--release is empty"),
        (["push", "--namespace", "", "a-1.0.0.tgz"], 2, "--namespace is empty"),
        (["push", "--namespace", "ns", "fifo"], 3, "neither a file nor a folder"),
        (["push", "--namespace", "ns", "/dev/null"], 3, "neither a file nor a folder"),
        (["log", "-n", "-1"], 2, "-1"),
        (["serve", "--port", "65536"], 2, "65536"),
        (["push"], 2, "Usage"),
        (["show", "ns/none"], 5, "no package"),
        (["channel", "set", "ns/none", "stable", "1.0.0"], 5, "no package"),
        (["rollback", "99"], 5, "no revision"),
        (["serve", "--accept-push"], 2, "token"),
        (["nonsense"], 2, "there is no command"),
    ],
)
def test_bad_input_is_explained_and_changes_nothing(
    run: Run, chart: Callable[..., Path], tmp_path: Path,
    arguments: list[str], code: int, word: str,
) -> None:  # fmt: skip
    (tmp_path / "bad.tgz").write_bytes(b"not an archive")
    os.mkfifo(tmp_path / "fifo")
    chart("a", "1.0.0")
    run("init", "m")
    assert word in run("-C", "m", *arguments, code=code).stderr
    assert len(run("-C", "m", "log").stdout.splitlines()) == 1


def test_outside_a_mirror_the_way_in_is_said(run: Run) -> None:
    assert "cnrmirror init" in run("list", code=2).stderr


def test_a_folder_that_is_not_there_is_named(run: Run) -> None:
    assert "nowhere: there is no such folder" in run("-C", "nowhere", "list", code=2).stderr


def test_json_may_stand_behind_the_command_and_errors_are_json_too(run: Run) -> None:
    run("init", "m")
    assert json.loads(run("-C", "m", "list", "--json").stdout) == []
    for arguments, code in ((("push", "--json"), 2), (("--json", "-C", "m", "show", "a/b"), 5)):
        error = json.loads(run(*arguments, code=code).stdout)
        assert set(error) == {"code", "message", "details"}
    assert json.loads(run("--json", "nonsense", code=2).stdout)["code"] == "invalid-usage"


def test_two_archives_of_one_release_in_one_push_are_refused(
    run: Run, chart: Callable[..., Path]
) -> None:
    run("init", "m")
    paths = [str(chart("a", "1.0.0")), str(chart("a", "1.0.0", "other"))]
    said = run("-C", "m", "push", "--accept", "--namespace", "ns", *paths, code=4).stderr
    assert all(path in said for path in paths)
    assert run("-C", "m", "list").stdout == ""


def replaced(project: Project, message: str, **fields: object) -> None:
    """A revision in which something else is said of the only release of ns/a."""
    document = project.document("ns/a")
    release = msgspec.structs.replace(document.releases[0], **fields)
    with project.writing():
        new = msgspec.structs.replace(document, releases=[release])
        project.commit({"ns/a": new}, message, NOW)


def test_diff_shows_every_kind_of_change(
    run: Run, tmp_path: Path, chart: Callable[..., Path]
) -> None:
    project = make(tmp_path / "m", "diff")
    push(project, [chart("a", "1.0.0")], Override(namespace="ns"), NOW)

    def changed() -> list[list[str]]:
        lines = run("-C", "m", "diff", str(project.head().revision - 1)).stdout.splitlines()
        return [line.split("\t")[:2] for line in lines]

    replaced(project, "metadata", metadata=normalise_metadata({"a": 1}))
    assert changed() == [["~", "ns/a@1.0.0 (helm) metadata"]]
    blob = Descriptor.of(data := gzip_bytes(b"packed otherwise"))
    project.store.add_blob(blob, [data])
    replaced(project, "archive", blob=blob)
    assert changed() == [["~", "ns/a@1.0.0 (helm) archive"]]
    push(project, [chart("a", "1.1.0")], Override(namespace="ns"), NOW)
    for release in ("1.0.0", "1.1.0"):
        change.set_channel(project, "ns/a", "stable", release, NOW)
    assert changed() == [["~", "ns/a:stable"]]
    change.remove_channel(project, "ns/a", "stable", "1.0.0", NOW)
    assert changed() == [["~", "ns/a:stable releases"]]
    change.remove(project, change.Removal("ns/a", "1.0.0", None, "bad"), NOW)
    assert changed() == [["-", "ns/a@1.0.0 (helm)"], ["+", "ns/a@1.0.0 (helm) removed"]]


def test_what_others_wrote_is_shown_as_it_is_and_commands_no_terminal(
    run: Run, tmp_path: Path, chart: Callable[..., Path]
) -> None:
    project = make(tmp_path / "m", "hostile words")
    push(project, [chart("a", "1.0.0")], Override(namespace="ns"), NOW)
    change.remove(project, change.Removal("ns/a", "1.0.0", None, "[/x][bold]markup[/bold]"), NOW)
    with project.writing():
        project.commit({"ns/b": PackageDocument("ns/b", [])}, "nothing", NOW)
        here = project.head().catalog, project.root()
        above = project.metadata.signed_head()
        project.commit_after(project.tree(), here, 3, "\x1b[2J\ta\nb", NOW, above)
    first, *rest = run("-C", "m", "log").stdout.splitlines()
    assert first.endswith("\t" + r"\x1b[2J\ta\nb") and len(rest) == 3
    said = run("-C", "m", "push", "--namespace", "ns", "\x1b[2J.tgz", code=3).stderr
    assert "\x1b" not in said and r"\x1b[2J.tgz" in said
    table = in_a_terminal("-C", str(tmp_path / "m"), "log")
    assert "[/x][bold]markup[/bold]" in table
    assert "\x1b[2J" not in table


def in_a_terminal(*arguments: str) -> str:
    """What a command says to a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cnrmirror", *arguments]
    environment = {**os.environ, "COLUMNS": "200", "TERM": "xterm"}
    subprocess.run(command, cwd=ROOT, env=environment, stdout=theirs, check=True)
    os.close(theirs)
    said = os.read(ours, 1 << 16).decode()
    os.close(ours)
    return said


def test_a_port_that_is_taken_is_said(run: Run) -> None:
    run("init", "m")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "cannot listen" in run("-C", "m", "serve", "--port", port, code=2).stderr


def test_a_path_with_a_space_has_views_and_no_configurations(run: Run, tmp_path: Path) -> None:
    run("init", "my mirror")
    said = run("-C", "my mirror", "build")
    assert "0 files written" in said.stdout and "hosts.root" in said.stderr
    assert not (tmp_path / "my mirror" / "hosts").exists()


def test_a_copy_that_cannot_be_written_to_is_checked_all_the_same(
    tmp_path: Path, chart: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make(tmp_path / "m", "read-only")
    push(project, [chart("a", "1.0.0")], Override(namespace="ns"), NOW)
    shutil.rmtree(project.layout.state)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    copy = Project(project.folder)
    assert check(copy).findings == []
    assert not copy.layout.state.exists()


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
    run("-C", "m", "check", code=18)  # signed for a time that is over
    path.write_text(path.read_text().replace("plain_pull: json", "plain_pull: archive"))
    run("-C", "m", "check", code=18)  # signed for a time that is over
    assert (base / "ns/a/1.0.0/helm/pull").read_bytes()[:2] == b"\x1f\x8b"
