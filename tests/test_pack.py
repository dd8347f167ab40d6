"""archive/pack.py, archive/folder.py: what of a folder becomes a package."""

from __future__ import annotations

import errno
import gzip
import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from cnrmirror.archive.inspect import inspect
from cnrmirror.archive.pack import gzip_bytes, pack, tar_of
from cnrmirror.archive.scan import Limits
from cnrmirror.model.errors import InputError, TooLarge
from tests.users import ordinary_user


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A chart with a file beside it that is nobody's business."""
    base = tmp_path / "chart"
    put(base, {"Chart.yaml": "name: chart\nversion: 1.0.0\n", "templates/a.yaml": "a"})
    put(tmp_path, {"outside/secret.yaml": "secret", "outside/more/b.yaml": "b"})
    return base


def put(base: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)


def link(base: Path, name: str, target: str | Path) -> None:
    (base / name).parent.mkdir(parents=True, exist_ok=True)
    (base / name).symlink_to(target)


def packed(folder: Path, limits: Limits = Limits(), outside: bool = False) -> dict[str, str]:
    """What is in the package: every member is a file, and the strict reader takes it."""
    data = pack(folder, "", limits, outside)
    assert inspect(io.BytesIO(data), limits).flags == ()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert all(member.isreg() for member in tar)
        read = {member.name: tar.extractfile(member) for member in tar}
        return {name: stream.read().decode() for name, stream in read.items() if stream}


def refused(folder: Path, match: str, limits: Limits = Limits(), outside: bool = False) -> None:
    with pytest.raises(InputError, match=match):
        pack(folder, "", limits, outside)


# -- the bytes -------------------------------------------------------------------------------------


def test_a_folder_packs_to_the_same_bytes_and_honours_helmignore(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        base = tmp_path / folder
        names = ("Chart.yaml", "z.tmp", "templates/b.yaml", "templates/a.yaml")
        put(base, {name: f"name: {name}\n" for name in names})
        put(base, {".helmignore": "*.tmp\n.helmignore\n"})
    data = pack(tmp_path / "one", "chart")
    assert data == pack(tmp_path / "two", "chart")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names_inside = [member.name for member in tar]
        assert {(m.uid, m.mtime, m.mode) for m in tar} == {(0, 0, 0o644)}
    assert names_inside == ["chart/Chart.yaml", "chart/templates/a.yaml", "chart/templates/b.yaml"]
    assert data[:10] == gzip_bytes(b"")[:10]
    assert gzip.decompress(data) == tar_of(tmp_path / "one", "chart")


def test_links_leave_no_trace_in_the_bytes(chart: Path, tmp_path: Path) -> None:
    put(chart, {"files/one.yaml": "1", "files/sub/two.yaml": "2"})
    link(chart, "templates/one.yaml", "../files/one.yaml")
    link(chart, "templates/sub", chart / "files/sub")
    plain = tmp_path / "elsewhere"
    put(plain, packed(chart))
    assert tar_of(plain) == tar_of(chart)


def test_a_program_stays_one_through_a_link(chart: Path) -> None:
    put(chart, {"run.sh": "#!/bin/sh\n"})
    (chart / "run.sh").chmod(0o755)
    link(chart, "link.sh", "run.sh")
    with tarfile.open(fileobj=io.BytesIO(pack(chart))) as tar:
        assert tar.getmember("link.sh").mode == tar.getmember("run.sh").mode == 0o755


# -- links that are followed -----------------------------------------------------------------------


def test_a_link_to_a_file_is_that_file_under_the_name_of_the_link(chart: Path) -> None:
    link(chart, "templates/b.yaml", "../Chart.yaml")
    assert packed(chart)["templates/b.yaml"] == packed(chart)["Chart.yaml"]


def test_a_link_to_a_folder_is_walked_into(chart: Path) -> None:
    put(chart, {"files/x.yaml": "x", "files/deep/y.yaml": "y"})
    link(chart, "templates/more", "../files")
    assert packed(chart) == {
        "Chart.yaml": "name: chart\nversion: 1.0.0\n",
        "files/x.yaml": "x",
        "files/deep/y.yaml": "y",
        "templates/a.yaml": "a",
        "templates/more/x.yaml": "x",
        "templates/more/deep/y.yaml": "y",
    }


def test_links_to_links_and_absolute_ones_are_followed_inside(chart: Path) -> None:
    link(chart, "b", "c")
    link(chart, "c", chart / "templates")
    link(chart, "d", "b/a.yaml")
    found = packed(chart)
    assert found["b/a.yaml"] == found["c/a.yaml"] == found["d"] == "a"


def test_a_link_that_goes_out_and_comes_back_stays_inside(chart: Path) -> None:
    link(chart, "templates/b.yaml", "../../chart/Chart.yaml")
    assert "templates/b.yaml" in packed(chart)


def test_a_folder_that_is_a_link_itself_is_packed_as_what_it_leads_to(
    chart: Path, tmp_path: Path
) -> None:
    link(chart, "values.yaml", "templates/a.yaml")
    link(tmp_path, "other", "chart")
    assert packed(tmp_path / "other") == packed(chart)


def test_a_file_that_two_links_show_is_packed_three_times(chart: Path) -> None:
    link(chart, "b.yaml", "templates/a.yaml")
    link(chart, "c", "templates")
    assert [n for n, text in packed(chart).items() if text == "a"] == [
        "b.yaml",
        "c/a.yaml",
        "templates/a.yaml",
    ]


# -- links that are not ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("../../outside/secret.yaml", "leads out of the package folder, to .*outside/secret.yaml"),
        (
            "../../outside",
            "leads out of the package folder, to .*outside; use push --follow-outside",
        ),
        ("/dev/null", "leads out of the package folder, to /dev/null"),
        ("missing.yaml", "leads nowhere, to missing.yaml"),
        ("../Chart.yaml/x", "leads nowhere"),
        ("odd", "leads in a circle, to odd"),
    ],
)
def test_a_link_that_no_package_can_hold_is_named_and_where_it_leads(
    chart: Path, target: str, reason: str
) -> None:
    link(chart, "templates/odd", target)
    refused(chart, f"chart/templates/odd: this symlink {reason}")
    put(chart, {".helmignore": "odd\n"})
    assert "templates/a.yaml" in packed(chart)


@pytest.mark.parametrize("target", [".", "..", "../../chart/templates", "../all"])
def test_a_link_to_a_folder_that_it_is_in_is_a_circle(chart: Path, target: str) -> None:
    link(chart, "all", ".")
    link(chart, "templates/odd", target)
    put(chart, {".helmignore": "/all\n"})
    refused(chart, "chart/templates/odd: links lead in a circle here, back to .*/chart")
    put(chart, {".helmignore": "/all\nodd/\n"})
    assert "templates/a.yaml" in packed(chart)


def test_folders_that_lead_to_each_other_are_a_circle(chart: Path) -> None:
    link(chart, "x/to-y", "../y")
    link(chart, "y/to-x", "../x")
    refused(chart, "chart/x/to-y/to-x: links lead in a circle")


def test_a_link_that_leads_through_another_to_the_outside_is_seen(chart: Path) -> None:
    link(chart, "hop", "..")
    put(chart, {".helmignore": "hop\n"})
    link(chart, "templates/b.yaml", "../hop/outside/secret.yaml")
    refused(chart, "templates/b.yaml: this symlink leads out")


def test_a_name_that_only_begins_like_the_folder_is_outside(chart: Path, tmp_path: Path) -> None:
    put(tmp_path, {"chart-2/x": "x"})
    link(chart, "x", "../chart-2/x")
    refused(chart, "chart/x: this symlink leads out")


def test_on_request_links_are_followed_out(chart: Path) -> None:
    link(chart, "templates/b.yaml", "../../outside/secret.yaml")
    link(chart, "files", "../outside")
    found = packed(chart, outside=True)
    assert found["templates/b.yaml"] == found["files/secret.yaml"] == "secret"
    assert found["files/more/b.yaml"] == "b"


def test_even_on_request_there_is_no_circle_outside_and_no_device(chart: Path) -> None:
    link(chart, "files", "..")
    refused(chart, "chart/files/chart: links lead in a circle", outside=True)
    (chart / "files").unlink()
    link(chart, "null", "/dev/null")
    refused(chart, "chart/null: neither a file nor a folder", outside=True)


@pytest.mark.parametrize("behind", [False, True])
def test_what_is_neither_file_nor_folder_is_named(chart: Path, behind: bool) -> None:
    os.mkfifo(chart / "pipe")
    if behind:
        link(chart, "a-link", "pipe")
    refused(chart, f"chart/{'a-link' if behind else 'pipe'}: neither a file nor a folder")
    put(chart, {".helmignore": "pipe\na-link\n"})
    assert "pipe" not in packed(chart)


def test_a_socket_is_named(chart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(chart)  # the address of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        refused(chart, "chart/socket: neither a file nor a folder")


def test_a_name_that_is_not_utf_8_is_named(chart: Path) -> None:
    (chart / os.fsdecode(b"caf\xe9")).write_text("x")
    refused(chart, r"chart/caf\\xe9: its name is not UTF-8")


# -- .helmignore -----------------------------------------------------------------------------------


def test_rules_are_for_the_names_under_which_things_appear(chart: Path) -> None:
    put(chart, {"files/x.yaml": "x", "files/y.bak": "y", ".helmignore": "more/y.bak\n/files\n"})
    link(chart, "more", "files")
    link(chart, "templates/.hidden", "a.yaml")
    assert set(packed(chart)) == {".helmignore", "Chart.yaml", "more/x.yaml", "templates/a.yaml"}


def test_a_rule_for_folders_is_for_links_to_folders(chart: Path) -> None:
    put(chart, {"files/x.yaml": "x", ".helmignore": "more/\nlost/\nb.yaml/\n"})
    link(chart, "more", "files")
    link(chart, "b.yaml", "Chart.yaml")
    link(chart, "lost", "nowhere")
    assert {"b.yaml", "files/x.yaml"} <= set(packed(chart))
    assert not {"lost", "more/x.yaml"} & set(packed(chart))


def test_rules_behind_a_link_are_read_as_the_link_is(chart: Path, tmp_path: Path) -> None:
    put(tmp_path, {"rules": "*.bak\n"})
    put(chart, {"x.bak": "x"})
    link(chart, ".helmignore", "../rules")
    refused(chart, r"chart/\.helmignore: this symlink leads out")
    found = packed(chart, outside=True)
    assert "x.bak" not in found and found[".helmignore"] == "*.bak\n"


def test_a_wrong_line_of_helmignore_is_named(chart: Path) -> None:
    put(chart, {".helmignore": "*.tmp\n[\n"})
    refused(chart, "chart/.helmignore:2: ")


def test_a_folder_of_which_nothing_is_left_is_an_error(chart: Path) -> None:
    put(chart, {".helmignore": "*\n"})
    refused(chart, "chart: there is no file to pack")


def test_rules_that_are_no_file_or_too_many_are_an_error(chart: Path) -> None:
    put(chart, {".helmignore": "#" * (1 << 20) + "\n"})
    refused(chart, r"\.helmignore: larger than 1048576 bytes")
    (chart / ".helmignore").unlink()
    (chart / ".helmignore").mkdir()
    refused(chart, r"\.helmignore: it is no file")


# -- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaf", ["x.yaml", ""])
def test_a_fan_of_links_ends_early_with_files_or_without(chart: Path, leaf: str) -> None:
    for level in range(24):
        for way in ("left", "right"):
            link(chart, f"l{level}/{way}", f"../l{level + 1}")
    (chart / "l24").mkdir()
    if leaf:
        put(chart / "l24", {leaf: "x"})
    with pytest.raises(TooLarge):
        pack(chart, "", Limits(members=500))


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        (Limits(members=2), r"3 files or more; limits\.members is 2"),
        (Limits(member=28), r"chart/b: 30 bytes; limits\.member is 28"),
        (Limits(unpacked=100), r"bytes or more; limits\.unpacked is 100"),
        (Limits(depth=2), r"templates/c: it lies in 2 folders; limits\.depth is 2"),
    ],
)
def test_links_count_as_what_they_lead_to(chart: Path, limits: Limits, match: str) -> None:
    put(chart, {"values.yaml": "x" * 30, "templates/c/d.yaml": ""})
    link(chart, "b", "values.yaml")
    link(chart, "c", "values.yaml")
    with pytest.raises(TooLarge, match=match):
        pack(chart, "", limits)


# -- what changes meanwhile ------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["longer", "shorter", "touched"])
def test_a_file_that_changes_while_it_is_read_is_an_error(
    chart: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = chart / "Chart.yaml"
    fstat, calls = os.fstat, list[int]()

    def change_after(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        if os.path.samestat(status, path.stat()) and not calls:
            calls.append(descriptor)
            if change == "touched":
                os.utime(path, ns=(0, 1))
            else:
                os.truncate(path, 100 if change == "longer" else 3)
        return status

    monkeypatch.setattr(os, "fstat", change_after)
    refused(chart, r"chart/Chart\.yaml: it changed while it was read")
    assert calls


@pytest.mark.parametrize(("name", "target"), [("Chart.yaml", "secret.yaml"), ("templates", "")])
def test_a_file_or_folder_that_becomes_a_link_is_not_followed(
    chart: Path, name: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a path and its opening somebody puts a link in its place."""
    put(chart.parent, {"outside/a.yaml": "secret"})
    opened = os.open

    def swap(path: str, *arguments: int, **more: int) -> int:
        if path == name and not (chart / name).is_symlink():
            (chart / name).rename(chart.parent / "away")
            link(chart, name, chart.parent / "outside" / target)
        return opened(path, *arguments, **more)

    monkeypatch.setattr(os, "open", swap)
    refused(chart, f"{name}.*it was replaced by something else")


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
def test_what_cannot_be_read_is_named(
    chart: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: str, *arguments: int, **more: int) -> int:
        if path == "a.yaml":
            raise OSError(code, os.strerror(code))
        return opened(path, *arguments, **more)

    monkeypatch.setattr(os, "open", refuse)
    refused(chart, f"chart/templates/a.yaml: {os.strerror(code)}")


def test_a_folder_that_cannot_be_read_is_not_left_out(
    chart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: str = ".") -> os._ScandirIterator[str]:
        if path.endswith("templates"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    refused(chart, "chart/templates: Permission denied")


def test_an_ordinary_user_hears_what_may_not_be_read(chart: Path) -> None:
    link(chart, "b.yaml", "../outside/more/b.yaml")
    with ordinary_user(chart.parent) as copy:
        mine, outside = copy / "chart", copy / "outside/more"
        outside.chmod(0)
        refused(mine, "chart/b.yaml: this symlink leads to .*outside/more/b.yaml: Permission")
        (mine / "b.yaml").unlink()
        (mine / "templates/a.yaml").chmod(0)
        refused(mine, "chart/templates/a.yaml: Permission denied")
        (mine / "templates").chmod(0)
        refused(mine, "chart/templates: Permission denied")
        for path in (mine / "templates", outside):
            path.chmod(0o755)
