"""Push: many at once, what is refused and why, what is warned of."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cnrmirror.archive.identify import Override, find
from cnrmirror.cli import cli
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model.errors import HostileArchive, InputError, ReleaseConflict, TooLarge, UsageError
from tests.conftest import NOW, chart_bytes, tar_gz

NS = Override(namespace="ns")
CHART = "name: {name}\nversion: 1.0.0\n"


def folder(path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def some(path: Path, good: int, bad: dict[str, bytes]) -> Path:
    path.mkdir()
    for n in range(good):
        (path / f"p{n}-1.0.0.tgz").write_bytes(chart_bytes(f"p{n}", "1.0.0"))
    for name, data in bad.items():
        (path / name).write_bytes(data)
    return path


BAD = {"cut.tgz": chart_bytes("c", "1.0.0")[:60], "text.tgz": b"hello\n", "none.tgz": b""}


def releases(project: Project) -> set[str]:
    catalog = project.catalog
    return {
        f"{document.package}@{release.release}"
        for ref in catalog.packages(project.tree())
        for document in [catalog.document(ref)]
        for release in document.releases
    }


@pytest.mark.parametrize("good", [3, 210])  # in this process, and in several
def test_one_run_names_every_archive_that_cannot_be_taken(
    tmp_path: Path, project: Project, good: int
) -> None:
    with pytest.raises(InputError, match=f"3 of {good + 3} .* --keep-going") as caught:
        push(project, [some(tmp_path / "in", good, BAD)], NS, NOW)
    named = [Path(refused["path"]).name for refused in caught.value.details["refused"]]
    assert named == sorted(BAD)
    assert releases(project) == set()
    assert project.head().revision == 0


@pytest.mark.parametrize("good", [3, 210])
def test_the_rest_is_taken_as_one_revision_where_that_is_asked_for(
    tmp_path: Path, project: Project, good: int
) -> None:
    report = push(project, [some(tmp_path / "in", good, BAD)], NS, NOW, What(keep_going=True))
    assert (report.revision, len(report.pushed)) == (1, good)
    assert [Path(refused.path).name for refused in report.refused] == sorted(BAD)
    assert len(releases(project)) == good
    assert check(project).findings == []


def test_what_keeps_going_with_nothing_good_is_refused(tmp_path: Path, project: Project) -> None:
    with pytest.raises(InputError, match=r"3 of 3 packages are refused, so none was pushed$"):
        push(project, [some(tmp_path / "in", 0, BAD)], NS, NOW, What(keep_going=True))


def test_all_clashes_of_one_push_are_named_together(tmp_path: Path, project: Project) -> None:
    for name in ("a", "b"):
        for text in ("one", "two"):
            path = tmp_path / "in" / text / f"{name}.tgz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(chart_bytes(name, "1.0.0", text))
    (tmp_path / "in" / "good.tgz").write_bytes(chart_bytes("good", "1.0.0"))
    with pytest.raises(ReleaseConflict) as caught:
        push(project, [tmp_path / "in"], NS, NOW)
    reasons = [refused["reason"] for refused in caught.value.details["refused"]]
    assert len(reasons) == 4
    assert all("one" in reason and "two" in reason for reason in reasons)
    report = push(project, [tmp_path / "in"], NS, NOW, What(keep_going=True))
    assert releases(project) == {"ns/good@1.0.0"}
    assert len(report.refused) == 4


def test_what_is_there_with_other_content_is_left_out_and_the_rest_taken(
    project: Project, chart: Callable[..., Path]
) -> None:
    push(project, [chart("a", "1.0.0")], NS, NOW)
    again = [chart("a", "1.0.0", "other"), chart("b", "1.0.0")]
    report = push(project, again, NS, NOW, What(["stable"], keep_going=True))
    assert [pushed.identity.package for pushed in report.pushed] == ["ns/b"]
    assert "--accept" in report.refused[0].reason
    assert project.document("ns/a").channels == []


def test_one_bad_archive_alone_gives_its_own_error(tmp_path: Path, project: Project) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(BAD["text.tgz"])
    with pytest.raises(HostileArchive, match=r"x\.tgz: not a gzipped tar, but a text$"):
        push(project, [path], NS, NOW)


def test_a_refused_large_archive_leaves_nothing_in_scratch(
    tmp_path: Path, project: Project
) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(gzip.compress(bytes(range(256)) * 40_000, 0))
    with pytest.raises(HostileArchive):
        push(project, [path], NS, NOW)
    assert [p for p in project.layout.making.rglob("*") if p.is_file()] == []


# -- what is found ---------------------------------------------------------------------------------


def test_packages_are_found_in_folders_of_folders(tmp_path: Path) -> None:
    top = folder(
        tmp_path / "top",
        {
            "stable/web/Chart.yaml": CHART,
            "stable/web/charts/sub/Chart.yaml": CHART,  # its own subchart is no package
            "old/year/db-1.0.0.tgz": "",
            "old/compose.yaml": "services: {}",
            ".git/x/Chart.yaml": CHART,
            "notes/readme.md": "",
        },
    )
    (top / "loop").symlink_to(top)
    found = [path.relative_to(top).as_posix() for path in find(top)]
    assert found == ["old", "stable/web"]
    (top / "old" / "compose.yaml").unlink()
    found = [path.relative_to(top).as_posix() for path in find(top)]
    assert found == ["old/year/db-1.0.0.tgz", "stable/web"]


def test_a_folder_with_nothing_in_it_says_what_to_say(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--as NAMESPACE/NAME, --release and --media-type"):
        find(folder(tmp_path / "x", {"a/readme.md": ""}))


@pytest.mark.parametrize("mark", ["compose.yaml", "compose.yml", "docker-compose.yml"])
def test_a_compose_file_marks_a_package(tmp_path: Path, project: Project, mark: str) -> None:
    path = folder(tmp_path / "shop", {mark: "name: shop\nservices: {}\n"})
    report = push(project, [path], Override(namespace="ns", release="1.0.0"), NOW)
    assert report.pushed[0].identity.media_type == "docker-compose"


def test_any_folder_is_packed_where_everything_is_said(tmp_path: Path, project: Project) -> None:
    path = folder(
        tmp_path / "op",
        {"op.package.yaml": "a", "1.0.0/csv.yaml": "b", "x/Chart.yaml": "c", "y/Chart.yaml": "d"},
    )
    wish = Override(package="ns/op", release="1.0.0", media_type="helm")
    push(project, [path], wish, NOW)
    blob = project.document("ns/op").releases[0].blob
    with project.open_blob(blob) as stream, tarfile.open(fileobj=stream) as tar:
        assert sorted(tar.getnames()) == [
            f"op/{name}" for name in ("1.0.0/csv.yaml", "op.package.yaml", "x/Chart.yaml",
                                      "y/Chart.yaml")
        ]  # fmt: skip
    with pytest.raises(InputError):
        find(path / "1.0.0", Override(namespace="ns"))


def test_a_folder_of_nothing_but_archives_is_none(tmp_path: Path, project: Project) -> None:
    wish = Override(package="ns/op", release="1.0.0", media_type="helm")
    path = some(tmp_path / "in", 2, {})
    with pytest.raises(UsageError, match=r"2 packages cannot all be ns/op@1\.0\.0"):
        push(project, [path], wish, NOW)
    (path / "op.yaml").write_text("a")
    push(project, [path], wish, NOW)
    assert releases(project) == {"ns/op@1.0.0"}


def test_a_version_that_is_none_names_the_option(tmp_path: Path, project: Project) -> None:
    path = folder(tmp_path / "c", {"Chart.yaml": "name: c\nversion: latest\n"})
    with pytest.raises(InputError, match=r"use --release 1\.0\.0"):
        push(project, [path], NS, NOW)


@pytest.mark.parametrize("address", ["https://a.example/x.tgz", "oci://a.example/x", "s3://b/x"])
def test_an_address_is_told_what_to_do(project: Project, address: str) -> None:
    with pytest.raises(InputError, match=r"fetch it first .* source in mirror\.yaml"):
        push(project, [Path(address)], NS, NOW)


# -- what it is instead ----------------------------------------------------------------------------


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("c/Chart.yaml", CHART)
    return data.getvalue()


TAR = gzip.decompress(chart_bytes("c", "1.0.0"))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (TAR, "a tar that is not gzipped"),
        (zipped(), "a zip"),
        (lzma.compress(TAR), "an xz file"),
        (bz2.compress(TAR), "a bzip2 file"),
        (b"\n <!DOCTYPE html><title>Log in</title>", "a web page"),
        (b"\xef\xbb\xbf<html>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "a text in XML"),
        (b'{"errors":[{"code":"UNAUTHORIZED"}]}', "a text in JSON"),
        ("naïve\n".encode(), "a text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"", "an empty file"),
        (b"\x1f", "something else"),
        (bytes(range(1, 256)), "something else"),
        (gzip.compress(b"name: c\n"), "no tar, but a text"),
        (gzip.compress(b"kind: x\n" * 999), "no tar, but a text"),
        (gzip.compress(chart_bytes("c", "1.0.0")), "no tar, but another gzip"),
        (gzip.compress(zipped()), "no tar, but a zip"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_gzipped_tar_is_called_what_it_is(
    tmp_path: Path, project: Project, data: bytes, word: str
) -> None:
    path = tmp_path / "c-1.0.0.tgz"
    path.write_bytes(data)
    with pytest.raises(InputError, match=word):
        push(project, [path], NS, NOW)


def test_several_gzip_members_say_how_to_repack(tmp_path: Path, project: Project) -> None:
    path = tmp_path / "c-1.0.0.tgz"
    path.write_bytes(gzip.compress(TAR[:600]) + gzip.compress(TAR[600:]))
    with pytest.raises(InputError, match=r"another gzip stream .* gzip -dc OLD \| gzip -n >NEW"):
        push(project, [path], NS, NOW)


def test_a_hard_link_says_how_to_repack(tmp_path: Path, project: Project) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("c/Chart.yaml"))
        link = tarfile.TarInfo("c/link")
        link.type, link.linkname = tarfile.LNKTYPE, "c/Chart.yaml"
        tar.addfile(link)
    path = tmp_path / "c-1.0.0.tgz"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="a hard link: refused; unpack it and push the folder"):
        push(project, [path], NS, NOW)


def test_a_limit_names_itself_its_value_what_was_met_and_its_key(
    tmp_path: Path, project: Project
) -> None:
    config = project.folder / "mirror.yaml"
    config.write_text(config.read_text() + "\nlimits:\n  member: 5000\n")
    limited = Project(project.folder, signer=project.signer)
    path = tmp_path / "c-1.0.0.tgz"
    path.write_bytes(tar_gz({"c/Chart.yaml": b"name: c\nversion: 1.0.0\n", "c/x": bytes(8000)}))
    with pytest.raises(TooLarge, match=r"8000 bytes: 'c/x'; limits.member is 5000 in mirror.yaml"):
        push(limited, [path], NS, NOW)


# -- what is warned of -----------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["home", "icon", "sources", "engine", "x-own"])
def test_an_unused_key_twice_is_read_as_helm_reads_it_and_flagged(
    tmp_path: Path, project: Project, key: str
) -> None:
    text = CHART.format(name="c") + f"{key}: [a]\n{key}: b\n"
    report = push(project, [folder(tmp_path / "c", {"Chart.yaml": text})], NS, NOW)
    assert report.pushed[0].flags == ("repeated-keys",)
    assert key in report.pushed[0].warnings[0]
    chart = next(iter(project.catalog.facts(project.document("ns/c")).values())).chart
    assert chart.get(key) == ("b" if key in ("home", "icon", "engine") else None)


@pytest.mark.parametrize("key", ["name", "version", "description", "appVersion", "dependencies"])
def test_a_wanted_key_twice_is_refused(tmp_path: Path, project: Project, key: str) -> None:
    text = CHART.format(name="c") + f"{key}: a\n{key}: b\n"
    path = folder(tmp_path / "c", {"Chart.yaml": text})
    for wish in (NS, Override(package="ns/c", release="1.0.0", media_type="helm")):
        with pytest.raises(InputError, match=f"the key '{key}' is there twice"):
            push(project, [path], wish, NOW)


DEPENDS = "dependencies: [{name: db, version: 1.x}, {name: mq, version: 1.x, alias: queue}]\n"


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ({}, "db, mq"),
        ({"charts/db-1.2.0.tgz": ""}, "mq"),
        ({"charts/db-1.2.0.tgz": "", "charts/mq/Chart.yaml": CHART}, None),
        ({"charts/queue/Chart.yaml": CHART, "templates/charts/mq": ""}, "db, mq"),
    ],
)
@pytest.mark.parametrize("is_old", [False, True])
def test_a_chart_that_lacks_its_dependencies_is_warned_of_and_refused_where_strict(
    tmp_path: Path, project: Project, there: dict[str, str], missing: str | None, is_old: bool
) -> None:
    files = {"Chart.yaml": CHART.format(name="c") + ("" if is_old else DEPENDS), **there}
    path = folder(tmp_path / "c", {**files, **({"requirements.yaml": DEPENDS} if is_old else {})})
    warnings = push(project, [path], NS, NOW).pushed[0].warnings
    assert [w.partition(" lacks ")[2].partition(", which")[0] for w in warnings] == (
        [missing] if missing else []
    )
    if missing:
        with pytest.raises(InputError, match=f"--strict: .* lacks {missing}, which"):
            push(project, [path], NS, NOW, What(strict=True))


def test_an_archive_with_symlinks_is_warned_of(tmp_path: Path, project: Project) -> None:
    buffer = io.BytesIO()
    text = CHART.format(name="c").encode()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("c/Chart.yaml")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
        link = tarfile.TarInfo("c/values.yaml")
        link.type, link.linkname = tarfile.SYMTYPE, "Chart.yaml"
        tar.addfile(link)
    path = tmp_path / "c-1.0.0.tgz"
    path.write_bytes(buffer.getvalue())
    report = push(project, [path], Override(package="ns/c"), NOW)
    assert "a Helm client reads as empty files" in report.pushed[0].warnings[0]
    assert any("reads as empty files" in note for note in check(project).notes)


# -- what a person sees ----------------------------------------------------------------------------


def run(project: Project, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-C", str(project.folder), *arguments])


def test_show_says_what_a_chart_says_of_itself(tmp_path: Path, project: Project) -> None:
    pin = f"sha256:{'ab' * 32}"
    text = CHART.format(name="c") + DEPENDS + (
        "description: A shop\nappVersion: '2.0'\nmaintainers: [{name: Ann, email: a@b.example}]\n"
        "annotations:\n  artifacthub.io/images: |\n    - {name: x, image: 'example/init:1'}\n"
    )  # fmt: skip
    values = (
        "image: {registry: quay.example, repository: shop/web, tag: 1.10}\n"
        "db: {image: 'postgres:16'}\nnot: {repository: 'https://a.example/charts'}\n"
        f"side: [{{image: {{repository: cache, digest: '{pin}'}}}}]\n"
    )
    path = folder(
        tmp_path / "c",
        {
            "Chart.yaml": text,
            "values.yaml": values,
            "charts/d/values.yaml": "image: other:1",
            "charts/d/Chart.yaml": CHART.format(name="d"),
        },
    )
    push(project, [path], NS, NOW)
    shown = run(project, "show", "ns/c")
    for word in ("A shop", "2.0", "Ann <a@b.example>", "db 1.x"):
        assert word in shown.stderr
    # As Helm reads it, the number 1.10 is 1.1.
    hub = "docker.io/library"
    images = ["docker.io/example/init:1", f"{hub}/other:1", f"{hub}/postgres:16",
              f"{hub}/cache@{pin}", "quay.example/shop/web:1.1"]  # fmt: skip
    lines = [line[7:] for line in shown.stderr.splitlines() if line.startswith("image: ")]
    assert lines == sorted(images)
    told = json.loads(run(project, "--json", "show", "ns/c").stdout)
    assert [image["ref"] for image in told["images"]] == [i.partition("@")[0] for i in lines]
    assert [f["chart"]["description"] for f in told["inline_facts"].values()] == ["A shop"]


def test_diff_has_a_header_and_a_summary(project: Project, chart: Callable[..., Path]) -> None:
    push(project, [chart("a", "1.0.0"), chart("b", "1.0.0")], NS, NOW, What(["stable"]))
    told = run(project, "diff", "0")
    assert told.stderr.splitlines()[0].startswith("revision 0 of ")
    assert told.stderr.splitlines()[-1] == "2 channels added, 2 releases added"
    assert run(project, "diff", "1").stderr.splitlines()[-1] == "nothing changed"


def test_the_size_of_yaml_does_not_matter_to_show(tmp_path: Path, project: Project) -> None:
    values = "a: &a [x, x]\n" + "".join(
        f"{'b' * n}: &{'b' * n} [*{'b' * (n - 1) or 'a'}, *{'b' * (n - 1) or 'a'}]\n"
        for n in range(1, 40)
    )
    path = folder(tmp_path / "c", {"Chart.yaml": CHART.format(name="c"), "values.yaml": values})
    push(project, [path], NS, NOW)
    assert run(project, "show", "ns/c").exit_code == 0
