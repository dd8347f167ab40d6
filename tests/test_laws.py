"""The laws of the design, as far as a mirror keeps them by itself."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnrmirror.archive.identify import Override
from cnrmirror.mirror import build as build_module
from cnrmirror.mirror import change, gc
from cnrmirror.mirror import intake as intake_module
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model import canonical
from cnrmirror.model.canonical import normalise_metadata
from cnrmirror.model.documents import LEAF_MAX, PackageDocument, Tombstone
from cnrmirror.model.errors import CnrMirrorError, DamageError, ReleaseConflict, UsageError
from cnrmirror.model.finding import OTHER_BYTES, OTHER_SIZE, Finding
from tests.conftest import NOW, chart_bytes
from tests.mirrors import make

NS = Override(namespace="ns")


def views(project: Project) -> dict[str, str]:
    """Every file of the site but the catalog, by its digest; symlinks by their target."""
    result = {}
    for folder, folders, files in os.walk(project.site):
        if "catalog" in folders:
            folders.remove("catalog")
        for name in [*files, *folders]:
            path = Path(folder) / name
            if path.is_symlink():
                result[str(path.relative_to(project.site))] = f"→ {path.readlink()}"
            elif path.is_file():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                result[str(path.relative_to(project.site))] = digest
    return result


def of_packages(project: Project) -> dict[str, str]:
    """The views, but for the pages that say which revision this is, and what was before it."""
    told = ("index.html", "revisions/index.html")
    return {path: digest for path, digest in views(project).items() if path not in told}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.permutations(range(6)), st.booleans())
def test_law_1_any_order_of_pushes_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], rebuild: bool
) -> None:
    releases = [("a", "1.0.0"), ("a", "1.1.0"), ("a", "2.0.0-rc.1"), ("b", "1.0.0"),
                ("b", "1.0.0+x"), ("c", "0.1.0")]  # fmt: skip
    folder = tmp_path_factory.mktemp("law")
    sites = []
    for number, sequence in enumerate((range(6), order)):
        project = make(folder / str(number), "law")
        for index in sequence:
            name, release = releases[index]
            path = folder / f"{name}-{release}.tgz"
            path.write_bytes(chart_bytes(name, release))
            push(project, [path], NS, NOW)
        if rebuild and number:
            with project.writing():
                project.builder.rebuild(project.head())
        sites.append((of_packages(project), project.tree()))
    assert sites[0] == sites[1]


def test_law_1_a_rebuild_from_nothing_gives_the_same_site(
    project: Project, chart: Callable[..., Path]
) -> None:
    push(project, [chart("a", "1.0.0"), chart("b", "1.0.0")], NS, NOW, What(["stable"]))
    before = views(project)
    for name in ("cnr", "api", "version", "index.html", ".well-known"):
        subprocess.run(["rm", "-r", str(project.site / name)], check=True)
    with project.writing():
        project.builder.rebuild(project.head())
    assert views(project) == before


def test_law_2_a_push_touches_only_what_it_must(
    project: Project, chart: Callable[..., Path]
) -> None:
    push(project, [chart(f"p{n}", "1.0.0") for n in range(2 * LEAF_MAX)], NS, NOW)
    before = {p: os.lstat(p).st_mtime_ns for p in project.site.rglob("*") if not p.is_dir()}
    push(project, [chart("p7", "1.1.0")], NS, NOW)
    after = {p: os.lstat(p).st_mtime_ns for p in project.site.rglob("*") if not p.is_dir()}
    changed = {str(p.relative_to(project.site)) for p in after if before.get(p) != after[p]}
    catalog = {name for name in changed if name.startswith("catalog/")}
    # blob, document, leaf, (branch,) root; catalog, snapshot and timestamp roles
    assert len(catalog) <= 8
    assert sum((project.site / name).stat().st_size for name in catalog) < 32_000
    own = ("packages/ns/p7/", "helm/ns/p7/", "v2/ns/p7/")
    others = {n for n in changed - catalog if not any(part in n for part in own)}
    lists = (
        "packages/index.json", "search/index.json", "packages-by/", "helm/ns/index.yaml",
        "index.html", "feed.xml", "search/s-", "search/r-",
    )  # fmt: skip
    assert all(any(part in name for part in lists) for name in others)


def test_law_2_a_push_of_what_is_there_writes_nothing(
    project: Project, chart: Callable[..., Path]
) -> None:
    path = chart("a", "1.0.0")
    push(project, [path], NS, NOW)
    before = {p: os.lstat(p).st_mtime_ns for p in project.site.rglob("*")}
    report = push(project, [path], NS, "2030-01-01T00:00:00")
    assert report.revision is None
    assert {p: os.lstat(p).st_mtime_ns for p in project.site.rglob("*")} == before


def test_a_push_by_many_processes_gives_the_same_site(
    tmp_path: Path, chart: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [chart(f"p{n}", "1.0.0") for n in range(60)]
    alone = make(tmp_path / "alone", "law")
    push(alone, paths, NS, NOW)
    for module in (intake_module, build_module):
        monkeypatch.setattr(module, "_WORTH_PROCESSES", 1)
        monkeypatch.setattr(module, "_CHUNK", 1)
    together = make(tmp_path / "together", "law")
    push(together, paths, NS, NOW)
    assert views(together) == views(alone)
    assert together.tree() == alone.tree()
    assert check(together).findings == []


def test_law_4_two_pushers_at_once_lose_nothing(
    project: Project, chart: Callable[..., Path]
) -> None:
    paths = [chart(f"p{n}", "1.0.0") for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda p: run(project.folder, "push", "--namespace", "ns", str(p)), paths))
    assert len(list(project.catalog.packages(project.tree()))) == 12
    head = project.head()
    assert head is not None and head.revision == 12
    assert check(project).findings == []


def test_law_5_the_same_release_with_another_digest_is_refused(
    project: Project, chart: Callable[..., Path]
) -> None:
    push(project, [chart("a", "1.0.0")], NS, NOW)
    before = views(project)
    with pytest.raises(ReleaseConflict):
        push(project, [chart("b", "1.0.0"), chart("a", "1.0.0", "other")], NS, NOW)
    assert views(project) == before
    report = push(project, [chart("a", "1.0.0", "other")], NS, NOW, What(accept=True))
    assert report.pushed[0].outcome == "replaced"
    assert check(project).findings == []


def test_law_5_outlives_a_removal(project: Project, chart: Callable[..., Path]) -> None:
    push(project, [chart("a", "1.0.0")], NS, NOW, What(["stable"]))
    change.remove(project, change.Removal("ns/a", "1.0.0", None, "CVE-2026-1"), NOW)
    assert project.document("ns/a").channels == []
    assert check(project).findings == []
    with pytest.raises(ReleaseConflict, match="CVE-2026-1"):
        push(project, [chart("a", "1.0.0", "other")], NS, NOW)
    push(project, [chart("a", "1.0.0")], NS, NOW)
    assert project.document("ns/a").versions() == ["1.0.0"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cnrmirror", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[1])


KILLS = int(os.environ.get("CNRMIRROR_KILLS", "40"))


def test_law_3_killed_at_any_moment_the_next_command_continues(
    project: Project, chart: Callable[..., Path]
) -> None:
    dice = random.Random(7)
    push(project, [chart("a", "0.0.1")], NS, NOW, What(["stable"]))
    started = time.monotonic()
    run(project.folder, "push", "--namespace", "ns", str(chart("timing", "1.0.0")))
    whole = time.monotonic() - started
    for n in range(KILLS):
        command = [sys.executable, "-m", "cnrmirror", "-C", str(project.folder), "push",
                   "--namespace", "ns", "--channel", "stable"]  # fmt: skip
        paths = [str(chart("a", f"1.{n}.0")), str(chart(f"new{n}", "1.0.0"))]
        process = subprocess.Popen(
            [*command, *paths], cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + dice.uniform(0.6, 1.05) * whole
        while time.monotonic() < deadline:
            assert dangling(project.site) == []
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert dangling(project.site) == []
        if n % 10 == 9:
            assert check(project).findings == []
    assert check(project).findings == []


def dangling(site: Path) -> list[str]:
    """References of the v1 documents of ns/a that lead to nothing, read as a client reads."""
    base = site / "cnr/api/v1/packages/ns/a"
    manifests = yaml.safe_load((base / "index.json").read_text())
    wanted = [base / "channels/stable/index.json", base / "default/helm/pull"]
    for manifest in manifests:
        wanted.append(base / manifest["release"] / "helm" / "pull")
        wanted.append(base / manifest["release"] / "-" / "index.json")
        wanted.append(base / "blobs/sha256" / manifest["content"]["digest"])
    current = yaml.safe_load((base / "channels/stable/index.json").read_text())["current"]
    wanted.append(base / current / "helm" / "index.json")
    return [str(path) for path in wanted if not path.exists()]


def test_check_reports_missing_size_digest_and_extra_apart(
    project: Project, chart: Callable[..., Path]
) -> None:
    push(project, [chart("a", "1.0.0"), chart("b", "1.0.0")], NS, NOW)
    base = project.site / "cnr/api/v1/packages/ns"
    (base / "a/1.0.0/helm/index.json").unlink()
    (base / "a/channels/index.json").write_bytes(b"[1]\n")
    (base / "b/index.json").write_bytes((base / "b/index.json").read_bytes()[::-1])
    (base / "b/left-over.txt").write_text("?")
    found = {(f.path.rpartition("ns/")[2], f.problem, f.reason) for f in check(project).findings}
    assert found == {
        ("a/1.0.0/helm/index.json", "missing", ""),
        ("a/channels/index.json", "wrong", OTHER_SIZE),
        ("b/index.json", "wrong", OTHER_BYTES),
        ("b/left-over.txt", "extra", ""),
    }
    with project.writing():
        project.builder.rebuild(project.head())
    assert check(project).findings == []


def test_check_names_damaged_blobs_and_nodes(project: Project, chart: Callable[..., Path]) -> None:
    push(project, [chart("a", "1.0.0")], NS, NOW)
    blob = project.document("ns/a").releases[0].blob
    path = Path(project.store.blob_path(blob.digest))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert OTHER_BYTES in {f.reason for f in check(project).findings if "blobs" in f.path}
    path.unlink()
    assert "missing" in {f.problem for f in check(project).findings if "catalog" in f.path}


def test_a_damaged_head_is_an_error_and_never_an_empty_mirror(
    project: Project, chart: Callable[..., Path]
) -> None:
    push(project, [chart("a", "1.0.0")], NS, NOW)
    (project.site / "catalog/metadata/timestamp.json").write_bytes(b"{}")
    before = views(project)
    with pytest.raises(DamageError):
        push(project, [chart("b", "1.0.0")], NS, NOW)
    assert views(project) == before


def test_rollback_brings_back_every_byte(project: Project, chart: Callable[..., Path]) -> None:
    push(project, [chart("a", "1.0.0")], NS, NOW, What(["stable"]))
    before = of_packages(project)
    push(project, [chart("a", "2.0.0"), chart("b", "1.0.0")], NS, NOW, What(["stable"]))
    change.rollback(project, "1", NOW)
    assert of_packages(project) == before
    assert project.head().revision == 3


def test_gc_drops_only_what_the_kept_revisions_do_not_reach(
    project: Project, chart: Callable[..., Path]
) -> None:
    push(project, [chart("a", "1.0.0")], NS, NOW)
    change.remove(project, change.Removal("ns/a", "1.0.0", None, "gone"), NOW)
    later = (datetime.now(UTC) + timedelta(hours=1)).replace(tzinfo=None).isoformat()
    superseded = gc.collect(project, 5, 0.5, later, dry_run=False).files
    assert superseded and all("/metadata/" in path for path, _ in superseded)
    assert project.metadata.timestamp().kept.catalog == 3
    assert gc.collect(project, 1, 100, later, dry_run=False).files == []
    planned = gc.collect(project, 1, 0.5, later, dry_run=True)
    assert gc.collect(project, 1, 0.5, later, dry_run=False) == planned
    assert any("/blobs/" in path for path, _ in planned.files)
    assert check(project).findings == []
    assert len(list(project.catalog.history(project.head().catalog))) == 1


def test_metadata_is_kept_as_it_was_given(project: Project, chart: Callable[..., Path]) -> None:
    raw = normalise_metadata({"b": [1, 2.5, None], "a": "é"})
    push(project, [chart("a", "1.0.0")], NS, NOW, What(metadata=raw))
    assert (
        bytes(project.document("ns/a").releases[0].metadata)
        == '{"a":"é","b":[1,2.5,null]}'.encode()
    )


def test_a_channel_points_at_the_highest_release_of_a_push(
    project: Project, chart: Callable[..., Path]
) -> None:
    push(project, [chart("a", "1.10.0"), chart("a", "1.9.0")], NS, NOW, What(["stable"]))
    assert project.document("ns/a").channels[0].current == "1.10.0"
    with pytest.raises(UsageError):
        push(project, [chart("a", "1.0.0"), chart("b", "1.0.0")],
             Override(package="ns/c", release="1.0.0"), NOW)  # fmt: skip


def refused(project: Project, chart: Callable[..., Path], action: Callable[[], object]) -> str:
    """The action fails, changes nothing, and the mirror is as usable as before."""
    before = views(project)
    with pytest.raises(CnrMirrorError) as caught:
        action()
    assert views(project) == before
    push(project, [chart("next", "1.0.0")], NS, NOW)
    assert project.document("ns/next").versions() == ["1.0.0"]
    return caught.value.message


def test_what_could_not_be_read_back_is_never_signed(
    project: Project, chart: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    push(project, [chart("a", "1.0.0")], NS, NOW)
    document = project.document("ns/a")
    stone = Tombstone("0.1.0", "helm", "0" * 64, NOW, "x" * 5000)

    def commit(new: PackageDocument) -> None:
        with project.writing():
            project.commit({"ns/a": new}, "bad", NOW)

    too_long = msgspec.structs.replace(document, tombstones=[stone])
    assert "4096" in refused(project, chart, lambda: commit(too_long))
    assert check(project).findings == []
    with monkeypatch.context() as patch:
        patch.setattr(canonical, "MAX_NODE_BYTES", 2000)
        releases = [msgspec.structs.replace(document.releases[0], release=f"2.{n}.0")
                    for n in range(9)]  # fmt: skip
        too_large = msgspec.structs.replace(document, releases=releases)
        assert "64 MiB" in refused(project, chart, lambda: commit(too_large))
    assert check(project).findings == []


@pytest.mark.parametrize("reason", ["x" * 1001, "two\nlines", "\x1b[2J"])
def test_the_reason_of_a_removal_is_one_line_of_bounded_length(
    project: Project, chart: Callable[..., Path], reason: str
) -> None:
    push(project, [chart("a", "1.0.0")], NS, NOW)
    said = refused(
        project,
        chart,
        lambda: change.remove(project, change.Removal("ns/a", "1.0.0", None, reason), NOW),
    )
    assert "--reason" in said
    change.remove(project, change.Removal("ns/a", "1.0.0", None, "x" * 1000), NOW)
    assert check(project).findings == []


def damage(project: Project, package: str) -> Path:
    """Other bytes of the same size in the place of an archive."""
    path = Path(project.store.blob_path(project.document(package).releases[0].blob.digest))
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[::-1])
    return path


def test_a_damaged_archive_is_replaced_by_a_push_of_the_good_one(
    project: Project, chart: Callable[..., Path]
) -> None:
    push(project, [chart("a", "1.0.0")], NS, NOW)
    path = damage(project, "ns/a")
    assert check(project).findings
    assert push(project, [chart("a", "1.0.0")], NS, NOW).revision is None
    assert path.read_bytes() == chart("a", "1.0.0").read_bytes()
    assert check(project).findings == []


def test_archives_that_only_older_revisions_need_are_checked(
    project: Project, chart: Callable[..., Path]
) -> None:
    push(project, [chart("a", "1.0.0")], NS, NOW)
    path = damage(project, "ns/a")
    change.remove(project, change.Removal("ns/a", "1.0.0", None, "gone"), NOW)
    found = check(project).findings
    assert found == [Finding(str(path.relative_to(project.site)), "wrong", OTHER_BYTES)]


@pytest.mark.parametrize("how", ["shorter", "other", "missing", "folder"])
def test_check_says_once_what_is_wrong_with_a_document(
    project: Project, chart: Callable[..., Path], how: str
) -> None:
    push(project, [chart("a", "1.0.0")], NS, NOW)
    ref = project.catalog.find(project.tree(), "ns/a")
    assert ref is not None
    path = Path(project.store.node_path(ref.digest))
    data = path.read_bytes()
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how != "missing":
        path.write_bytes(data[:-1] if how == "shorter" else data[::-1])
    expected = {
        "shorter": ("wrong", OTHER_SIZE),
        "other": ("wrong", OTHER_BYTES),
        "missing": ("missing", ""),
        "folder": ("wrong", "not a file"),
    }
    found = [f for f in check(project).findings if f.path.startswith("catalog/")]
    assert [(f.problem, f.reason) for f in found] == [expected[how]]


def test_a_rollback_to_what_is_not_there_any_more_is_refused(
    project: Project, chart: Callable[..., Path]
) -> None:
    push(project, [chart("a", "1.0.0")], NS, NOW)
    path = damage(project, "ns/a")
    change.remove(project, change.Removal("ns/a", "1.0.0", None, "gone"), NOW)
    path.unlink()
    said = refused(project, chart, lambda: change.rollback(project, "1", NOW))
    assert "revision 1 needs the archive of ns/a@1.0.0" in said
    assert check(project).findings == []


OLD, YOUNG = 1_600_000_000, 1_800_000_000  # seconds: 2020, 2027


@pytest.mark.parametrize("days", [[20, 1, 9], [1, 20, 9], [1, 2, 3], [20, 21, 22]])
@pytest.mark.parametrize("young", ["targets", "nodes", "blobs", "none", "all"])
def test_gc_keeps_a_revision_whole_or_not_at_all(
    project: Project, chart: Callable[..., Path], days: list[int], young: str
) -> None:
    """Whatever SOURCE_DATE_EPOCH said, and whatever a copy did to the times of the files."""
    for day in days:
        push(project, [chart(f"p{day}", "1.0.0")], NS, f"2026-06-{day:02}T00:00:00")
        change.remove(
            project,
            change.Removal(f"ns/p{day}", "1.0.0", None, "gone"),
            f"2026-06-{day:02}T01:00:00",
        )
    for path in (project.site / "catalog").rglob("*"):
        part = path.relative_to(project.site / "catalog").parts[0]
        moment = YOUNG if young in (part, "all") else OLD
        os.utime(path, (moment, moment))
    gc.collect(project, 1, 24 * 5, "2026-06-15T00:00:00", dry_run=False)
    for _, root in project.catalog.history(project.head().catalog):
        for ref in project.catalog.packages(root.tree):
            for release in project.catalog.document(ref).releases:
                assert project.store.has_blob(release.blob)
    assert check(project).findings == []
