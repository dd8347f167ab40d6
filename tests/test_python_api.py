"""The Python API, by its own documents, and where it must refuse."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cnrmirror
from cnrmirror import Mirror, Remote, errors

DOCUMENT = Path(__file__).parents[1] / "docs/python.md"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mirror(tmp_path: Path, chart: Callable[..., Path]) -> Mirror:
    mirror = Mirror.create(tmp_path / "m")
    mirror.push(chart("a", "1.0.0"), chart("a", "1.1.0"), namespace="ns", channels=["stable"])
    return mirror


def test_the_examples_of_the_document_run(
    tmp_path: Path, chart: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    chart("nginx", "1.2.0").rename(tmp_path / "nginx-1.2.0.tgz")
    examples = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S)
    exec("\n".join(examples), {})
    said = capsys.readouterr().out
    assert "charts/nginx ['1.2.0'] ['edge', 'stable']" in said
    assert "5 there is no package charts/none" in said
    assert (tmp_path / "charts/charts_nginx_1.2.0/nginx/Chart.yaml").exists()


def test_a_change_is_a_revision_and_a_repetition_is_none(mirror: Mirror) -> None:
    assert mirror.revision == 1
    assert mirror.set_channel("ns/a", "edge", "1.0.0") == 2
    assert mirror.set_channel("ns/a", "edge", "1.0.0") == 2
    assert mirror.remove("ns/a", "1.0.0", "old") == 3
    assert mirror.rollback(2) == 4 and mirror.package("ns/a").versions() == ["1.1.0", "1.0.0"]


def test_two_objects_on_one_mirror_lose_nothing(mirror: Mirror, chart: Callable[..., Path]) -> None:
    other = Mirror.open(mirror.folder)
    other.push(chart("b", "1.0.0"), namespace="ns")
    mirror.push(chart("c", "1.0.0"), namespace="ns")
    assert mirror.packages() == other.packages() == ["ns/a", "ns/b", "ns/c"]


def test_what_is_bad_is_refused_and_changes_nothing(
    mirror: Mirror, tmp_path: Path, chart: Callable[..., Path]
) -> None:
    bad = tmp_path / "bad.tgz"
    bad.write_bytes(b"no archive")
    with pytest.raises(errors.InputError):
        mirror.push(bad, namespace="ns")
    with pytest.raises(errors.ReleaseConflict):
        mirror.push(chart("b", "1.0.0"), package="ns/a", release="1.0.0")
    with pytest.raises(errors.NotFoundError, match="did you mean 'ns/a'"):
        mirror.read("ns/aa")
    with pytest.raises(errors.InvalidDocument):
        Mirror.create(mirror.folder)
    with pytest.raises(errors.UsageError):
        Mirror.open(tmp_path / "none")
    assert mirror.revision == 1


def test_a_remote_gives_the_very_bytes_that_were_signed(mirror: Mirror) -> None:
    with Remote.open(str(mirror.folder), mirror.root) as remote:
        assert remote.read("ns/a@1.0.0") == mirror.read("ns/a@1.0.0")
        assert (remote.id, remote.revision) == (mirror.id, 1)
        assert remote.pull("ns/a", "out", tarball=True).path.endswith("ns_a_1.1.0.tar.gz")


def test_a_remote_refuses_other_keys_other_bytes_and_what_is_older_than_was_seen(
    mirror: Mirror, tmp_path: Path
) -> None:
    other = Mirror.create(tmp_path / "other")
    with pytest.raises(errors.TrustError):
        Remote.open(str(mirror.folder), other.root)
    mirror.publish("./old")
    mirror.set_channel("ns/a", "edge", "1.0.0")
    Remote.open(str(mirror.folder), mirror.root, state="seen").close()
    with pytest.raises(errors.Rollback):
        Remote.open("./old", mirror.root, state="seen")
    blob = next(path for path in (tmp_path / "old/catalog/blobs").rglob("*") if path.is_file())
    blob.write_bytes(b"x" * blob.stat().st_size)
    with Remote.open("./old", mirror.root) as remote:
        assert {finding.problem for finding in remote.check().findings} == {"wrong"}
        with pytest.raises(errors.Tampered):
            [remote.read(f"ns/a@{release}") for release in ("1.0.0", "1.1.0")]


def test_the_public_names_are_loaded_when_they_are_asked_for() -> None:
    text = "import sys, cnrmirror; print('cnrmirror.api' in sys.modules, cnrmirror.Mirror.__name__)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "False Mirror\n"
    with pytest.raises(AttributeError):
        _ = cnrmirror.nothing
