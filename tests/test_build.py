"""workflow/build.py: whatever is in the place of a view is mended, and nothing else touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.resource import Resource
from cnrmirror.objects.sitetree import SiteTree
from tests.conftest import NOW
from tests.mirrors import make, reopen

PACKAGES = "cnr/api/v1/packages"


def file_for_folder(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("no folder")


def folder_for_file(path: Path) -> None:
    path.unlink()
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "file").write_text("no file")


def link_for_folder(path: Path) -> None:
    elsewhere = path.with_name("moved")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def folder_for_link(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "file").write_text("no link")


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        (f"{PACKAGES}/ns", file_for_folder),
        (f"{PACKAGES}/ns/a/1.0.0", file_for_folder),
        (".well-known", file_for_folder),
        (f"{PACKAGES}/ns/a/index.json", folder_for_file),
        (f"{PACKAGES}/ns/a/1.0.0/helm/pull", folder_for_file),
        ("index.html", folder_for_file),
        (f"{PACKAGES}/ns/a", link_for_folder),
        (".well-known", link_for_folder),
        ("api", folder_for_link),
    ],
)
def test_what_is_in_the_place_of_a_view_is_mended(
    project: Project, chart: Callable[..., Path], name: str, spoil: Callable[[Path], None]
) -> None:
    push(project, [chart("a", "1.0.0")], Override(namespace="ns"), NOW)
    spoil(project.site / name)
    with project.writing():
        project.builder.rebuild(project.head())
    assert check(project).findings == []
    assert not (project.site / PACKAGES / "ns/a").is_symlink()
    assert not (project.site / ".well-known").is_symlink()


def test_files_of_somebody_else_are_kept(tmp_path: Path, chart: Callable[..., Path]) -> None:
    project = make(tmp_path / "mirror", "keep")
    with (tmp_path / "mirror" / "mirror.yaml").open("a") as config:
        config.write("views: {keep: [CNAME, 'own/*']}\n")
    (project.site / "own" / "deep").mkdir(parents=True)
    for name in ("CNAME", "own/deep/x.txt", "other.txt"):
        (project.site / name).write_text("mine")
    project = reopen(tmp_path / "mirror")
    push(project, [chart("a", "1.0.0")], Override(namespace="ns"), NOW)
    with project.writing():
        project.builder.rebuild(project.head())
    assert (project.site / "CNAME").read_text() == "mine"
    assert (project.site / "own/deep/x.txt").read_text() == "mine"
    assert not (project.site / "other.txt").exists()
    assert check(project).findings == []


def test_the_plain_profile_has_what_github_pages_wants(tmp_path: Path) -> None:
    project = make(tmp_path / "mirror", "plain")
    assert not (project.site / ".nojekyll").exists()
    with (tmp_path / "mirror" / "mirror.yaml").open("a") as config:
        config.write("views: {profile: plain}\n")
    project = reopen(tmp_path / "mirror")
    assert check(project).findings == []
    assert (project.site / ".nojekyll").read_bytes() == b""


def test_a_folder_that_another_process_removes_meanwhile_is_made_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, (new, kept) = SiteTree(project.site, project.store), (project.site / "a", "b/there")
    (project.site / "b").mkdir()
    (project.site / kept).write_text("before")
    late = []

    def moved_late(name: str) -> Callable[[str, str], None]:
        real = getattr(os, name)

        def move(source: str, target: str) -> None:
            if name not in late:
                late.append(name)
                shutil.rmtree(os.path.dirname(target))
            real(source, target)

        return move

    monkeypatch.setattr(os, "rename", moved_late("rename"))
    monkeypatch.setattr(os, "replace", moved_late("replace"))
    new.mkdir()
    tree.update([Resource("a/x/y", b"new"), Resource(kept, b"after")], [])
    assert late == ["rename", "replace"]
    assert (new / "x/y").read_bytes() == b"new" and (project.site / kept).read_bytes() == b"after"
