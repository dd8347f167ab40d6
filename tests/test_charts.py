"""sources/charts.py: what a package is, told by the files in it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cnrmirror.archive.identify import Override, identify
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model.errors import InputError, InvalidDocument
from tests.conftest import NOW

CHART = b"name: root\nversion: 1.0.0\n"


def identified(telling: dict[str, bytes]) -> str:
    found = identify(telling, Path("x.tgz"), Override(namespace="ns"))
    return f"{found.package}@{found.release} {found.media_type}"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("Chart.yaml", "helm"), ("manifest.yaml", "kpm"), ("docker-compose.yml", "docker-compose")],
)
@pytest.mark.parametrize("below", ["sub/Chart.yaml", "sub/manifest.yaml", "a/docker-compose.yml"])
@pytest.mark.parametrize("turned", [False, True])
def test_files_at_the_root_go_before_those_in_a_folder(
    name: str, media_type: str, below: str, turned: bool
) -> None:
    files = [(name, CHART), (below, b"name: sub\nversion: 2.0.0\n")]
    telling = dict(reversed(files) if turned else files)
    found = identify(telling, Path("x-1.0.0.tgz"), Override(namespace="ns"))
    assert (found.package, found.release, found.media_type) == ("ns/root", "1.0.0", media_type)


def test_two_packages_in_one_archive_are_an_error() -> None:
    with pytest.raises(InputError, match="several packages in one: a, b"):
        identified({"a/Chart.yaml": CHART, "b/Chart.yaml": CHART})


@pytest.mark.parametrize(
    "extra",
    [
        b"? {a: {b: c}}\n: d\n",
        b"? [a, b]\n: c\n",
        b"? &key {k: *key}\n: *key\n",
        b"z0: &z0 [x, x]\n"
        + b"".join(b"z%d: &z%d [*z%d, *z%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 64))
        + b"? *z63\n: x\n",
    ],
    ids=["mapping", "list", "itself", "billion laughs"],
)
def test_odd_keys_and_aliases_in_yaml_do_no_harm(extra: bytes) -> None:
    assert identified({"Chart.yaml": CHART + extra}) == "ns/root@1.0.0 helm"


def test_a_name_that_stands_twice_is_an_error() -> None:
    with pytest.raises(InvalidDocument, match="'name' is there twice"):
        identified({"Chart.yaml": CHART + b"name: other\n"})


def test_a_folder_whose_helmignore_leaves_out_what_it_is_is_not_pushed(
    project: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "chart"
    folder.mkdir()
    (folder / "Chart.yaml").write_bytes(CHART)
    (folder / ".helmignore").write_text("Chart.yaml\n")
    with pytest.raises(InputError, match=r"chart: its \.helmignore leaves out"):
        push(project, [folder], Override(namespace="ns"), NOW)


def test_a_path_that_is_no_file_is_an_error(project: Project, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a-1.0.0.tgz")
    for path in (tmp_path / "a-1.0.0.tgz", Path("/dev/null")):
        with pytest.raises(InputError, match="neither a file nor a folder"):
            push(project, [path], Override(namespace="ns"), NOW)


@pytest.mark.parametrize("folder", [False, True])
def test_a_path_that_may_not_be_read_is_an_error(
    project: Project, tmp_path: Path, folder: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a-1.0.0.tgz"
    path.mkdir() if folder else path.touch()

    # Root may read everything, so the system's answer is made up here.
    owner, name = (os, "scandir") if folder else (Path, "open")
    original = getattr(owner, name)

    def refuse(of: Path, *arguments: object, **more: object) -> object:
        if Path(of) == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(of, *arguments, **more)

    monkeypatch.setattr(owner, name, refuse)
    with pytest.raises(InputError, match="Permission denied"):
        push(project, [path], Override(namespace="ns"), NOW)


def test_push_follows_links_out_of_a_folder_only_when_it_is_told_to(
    project: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "chart"
    folder.mkdir()
    (folder / "Chart.yaml").write_bytes(CHART)
    (tmp_path / "values.yaml").write_text("a: 1\n")
    (folder / "values.yaml").symlink_to("../values.yaml")
    with pytest.raises(InputError, match=r"chart/values\.yaml: .* use push --follow-outside"):
        push(project, [folder], Override(namespace="ns"), NOW)
    report = push(project, [folder], Override(namespace="ns"), NOW, What(outside=True))
    assert report.pushed[0].outcome == "new"
