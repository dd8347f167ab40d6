"""What an operator is told of syncs: holes that are known, shrinkage, ages, metrics, hooks."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.sources.acknowledge import Acknowledgement, names_of
from cnrmirror.sources.base import Hole
from cnrmirror.sync.acknowledged import acknowledge
from cnrmirror.sync.memory import remember, remembered
from cnrmirror.sync.report import PARTIAL, SourceReport, SyncReport, report_schema
from tests.conftest import NOW, chart_bytes
from tests.exposed import samples_of
from tests.mirrors import make
from tests.test_sync import Memory, releases, run

LATER = "2026-06-01T00:00:00"


def say(project: Project, *arguments: str, code: int, at: str = NOW) -> str:
    """What a command at a time prints; its exit code must be this one."""
    epoch = {NOW: "1767323045", LATER: "1780272000"}[at]
    done = subprocess.run(
        [sys.executable, "-m", "cnrmirror", "-C", str(project.folder), *arguments],
        env={**os.environ, "SOURCE_DATE_EPOCH": epoch}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def mirror(tmp_path: Path) -> Project:
    """A mirror of a folder of charts, one of which is no archive."""
    charts = tmp_path / "charts"
    charts.mkdir()
    for name in ("a", "b"):
        (charts / f"{name}-1.0.0.tgz").write_bytes(chart_bytes(name, "1.0.0"))
    (charts / "bad[1]-1.0.0.tgz").write_bytes(b"no archive")
    project = make(tmp_path / "mirror", "reports")
    configure(project, "sources: {here: {type: charts, folder: ../charts, namespace: c}}")
    return project


def configure(project: Project, text: str) -> None:
    path = project.folder / "mirror.yaml"
    kept = [line for line in path.read_text().splitlines() if line.startswith(("id:", "url:"))]
    path.write_text("\n".join([*kept, text, ""]))


# -- holes that are known -------------------------------------------------------------------------


def test_holes_can_be_acknowledged_and_a_new_one_turns_the_exit_code_again(
    mirror: Project,
) -> None:
    say(mirror, "sync", code=14)
    before = (mirror.folder / "mirror.yaml").read_bytes()
    done = say(mirror, "sync", "--acknowledge", code=0)
    assert "hole" in done, "they are shown first"
    assert "1 hole acknowledged; give reasons, or remove lines, in " in done
    assert (mirror.folder / "mirror.yaml").read_bytes() == before
    text = (mirror.folder / "acknowledged.yaml").read_text()
    assert "source: here" in text and "bad[[]1]" in text and "2026-01-02: " in text
    known = say(mirror, "sync", code=0)
    assert "known" in known and "0 holes and 1 acknowledged" in known
    say(mirror, "report", code=0)
    (mirror.folder / "../charts/worse-1.0.0.tgz").write_bytes(b"no archive either")
    new = say(mirror, "sync", code=14)
    assert "1 hole and 1 acknowledged" in new
    say(mirror, "sync", "--acknowledge", code=0)
    assert (mirror.folder / "acknowledged.yaml").read_text().startswith(text), "only added to"
    say(mirror, "sync", "--acknowledge", code=0)
    assert (mirror.folder / "acknowledged.yaml").read_text().count("package:") == 2


def test_mirror_yaml_acknowledges_by_patterns_until_a_day(mirror: Project) -> None:
    say(mirror, "sync", code=14)
    text = (mirror.folder / "mirror.yaml").read_text()
    rule = '{package: "*/charts/bad*", reason: "lost for ever", until: 2026-03-01}'
    (mirror.folder / "mirror.yaml").write_text(text + f"acknowledge: [{rule}]\n")
    assert "lost for ever" in say(mirror, "report", code=0)
    over = say(mirror, "report", code=14, at=LATER)
    assert "acknowledged until 2026-03-01" in over


def test_an_acknowledgement_of_a_whole_package_hides_no_hole_of_its_releases() -> None:
    def known(text: str, hole: Hole) -> bool:
        given = msgspec.convert({"reason": "x", **json.loads(text)}, Acknowledgement)
        return given.speaks_of("up", hole)

    whole, one = Hole("a/b", "404", "a/b"), Hole.of_release("a/b", "0.4", "no release")
    assert known('{"package": "a/b"}', whole) and not known('{"package": "a/b"}', one)
    assert known('{"package": "a/*", "release": "0.*"}', one)
    assert known('{"package": "a/b", "release": "*"}', whole)
    assert not known('{"package": "a/b", "source": "other"}', whole)


def test_what_is_acknowledged_and_no_hole_any_more_is_said(mirror: Project) -> None:
    say(mirror, "sync", "--acknowledge", code=0)
    next((mirror.folder / "../charts").glob("bad*")).unlink()
    assert "acknowledged, but no longer a hole" in say(mirror, "sync", code=0)


@pytest.mark.parametrize("text", ["- {package: 3}", "x: [", "- {package: a, reason: b, c: d}", "7"])
def test_a_file_of_acknowledgements_that_is_wrong_is_refused_and_nothing_done(
    mirror: Project, text: str
) -> None:
    (mirror.folder / "acknowledged.yaml").write_text(text)
    done = say(mirror, "sync", code=3)
    assert "acknowledged.yaml" in done and releases(mirror) == set()


def test_a_dry_run_acknowledges_nothing_and_bad_options_do_nothing(mirror: Project) -> None:
    say(mirror, "sync", "--dry-run", "--acknowledge", code=2)
    say(mirror, "sync", "--dry-run", "--metrics", "x", code=2)
    say(mirror, "sync", "--metrics", "none/x", code=2)
    assert not (mirror.folder / "acknowledged.yaml").exists()


@pytest.mark.parametrize(
    "text", ["[]", "{}", "  - {package: a, reason: b}", "[{package: a, reason: b}]"]
)
def test_a_file_that_cannot_be_added_to_is_left_as_it_is(mirror: Project, text: str) -> None:
    path = mirror.folder / "acknowledged.yaml"
    path.write_text(text)
    done = say(mirror, "sync", "--acknowledge", code=3)
    assert "make it a list with one entry a line" in done and path.read_text() == text


def test_an_acknowledged_channel_hides_no_hole_of_its_package() -> None:
    channel, whole = Hole("ns/x:old", "gone", "ns/x"), Hole("ns/x", "500", "ns/x")
    written = Acknowledgement(package=names_of(channel)[-1], reason="x")
    assert written.speaks_of("up", channel) and not written.speaks_of("up", whole)


def test_what_is_more_than_a_report_holds_is_never_acknowledged(tmp_path: Path) -> None:
    project, upstream = make(tmp_path / "mirror", "many"), Memory()
    upstream.put("ns/a", "1.0.0")
    upstream.holes = [Hole.of_release("ns/a", f"9.{n}.0", "500") for n in range(10_005)]
    report = run(project, upstream)
    assert acknowledge(project, report.sources, NOW[:10]) == 10_000
    again = run(project, upstream)
    assert again.exit_code == PARTIAL and len(again.sources[0].acknowledged) == 10_000
    assert [hole.reason for hole in again.sources[0].holes] == ["and 5 more"]
    assert len(again.sources[0].notes) <= 1000


# -- shrinkage ------------------------------------------------------------------------------------


def test_shrinkage_says_how_much_which_and_what_to_type(mirror: Project) -> None:
    configure(
        mirror,
        "sources: {here: {type: charts, folder: ../charts, namespace: c, deletes: follow}}",
    )
    next((mirror.folder / "../charts").glob("bad*")).unlink()
    say(mirror, "sync", code=0)
    (mirror.folder / "../charts/a-1.0.0.tgz").unlink()
    output = " ".join(say(mirror, "sync", code=15).split())
    assert "1 of 2 releases are gone upstream, more than max_shrink 0.3 allows" in output
    assert "(c/a@1.0.0)" in output and "cnrmirror sync here --max-shrink 1" in output
    say(mirror, "sync", "here", "--max-shrink", "1", code=0)
    assert releases(mirror) == {"c/b@1.0.0"}


def test_a_source_with_nothing_at_all_says_what_to_do(tmp_path: Path) -> None:
    project, upstream = make(tmp_path / "mirror", "empty"), Memory()
    upstream.put("ns/a", "1.0.0")
    run(project, upstream)
    upstream.blobs.clear()
    (report,) = run(project, upstream, deletes="follow", max_shrink=1).sources
    assert (
        "the source offers nothing at all" in report.notes[0]
        and "cnrmirror remove" in report.notes[0]
    )


# -- for monitors ---------------------------------------------------------------------------------


def test_a_monitor_sees_that_nobody_asked_for_too_long(mirror: Project) -> None:
    say(mirror, "sync", "--acknowledge", code=0)
    say(mirror, "report", "--max-age", "26h", code=0)
    old = say(mirror, "report", "--max-age", "26h", code=10, at=LATER)
    assert "not asked within --max-age" in old
    say(mirror, "report", "--max-age", "365d", code=0, at=LATER)
    say(mirror, "report", "--max-age", "1 week", code=2)


def test_where_there_was_no_sync_yet_a_monitor_sees_it(mirror: Project) -> None:
    say(mirror, "report", code=5)
    assert "--max-age 26h: here" in say(mirror, "report", "--max-age", "26h", code=10)


def test_a_source_that_was_never_asked_is_too_old(mirror: Project) -> None:
    say(mirror, "sync", "--acknowledge", code=0)
    path = mirror.folder / "mirror.yaml"
    path.write_text(path.read_text().replace(
        "sources: {", "sources: {new: {type: charts, folder: ../charts, namespace: d}, "
    ))  # fmt: skip
    assert "--max-age 1h: new" in say(mirror, "report", "--max-age", "1h", code=10)


def test_metrics_are_gauges_of_all_sources_written_whole(mirror: Project, tmp_path: Path) -> None:
    path = tmp_path / "cnrmirror.prom"
    say(mirror, "sync", "--metrics", str(path), code=14)
    text = path.read_text()
    assert list(tmp_path.glob(".*")) == []
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444, "a collector may read it"
    found = samples_of(text)
    here = {"source": "here"}
    assert found["cnrmirror_sync_exit_code", *here.items()] == 14
    assert found["cnrmirror_sync_timestamp_seconds", *here.items()] == 1767323045
    assert found["cnrmirror_sync_success_timestamp_seconds", *here.items()] == 1767323045
    assert found["cnrmirror_sync_releases", *here.items(), ("state", "fetch")] == 2
    assert found["cnrmirror_sync_holes", ("acknowledged", "false"), *here.items()] == 1
    assert found["cnrmirror_revision",] == 1 and found["cnrmirror_packages",] == 2


def test_json_of_sync_and_report_is_what_the_schema_says(mirror: Project) -> None:
    done = say(mirror, "--json", "sync", code=14)
    value = json.loads(done.splitlines()[0])
    msgspec.convert(value, SyncReport, strict=True)
    reports = json.loads(say(mirror, "--json", "report", code=14))
    assert msgspec.convert(reports, list[SourceReport]) and reports == value["sources"]
    assert (Path(__file__).parent.parent / "docs/report.schema.json").read_text() == (
        report_schema() + "\n"
    )
    assert say(mirror, "report", "--schema", code=0) == report_schema() + "\n"
    described = json.loads(report_schema())["$defs"]["SourceReport"]["properties"]
    assert set(described) == set(SourceReport.__struct_fields__)


def test_signed_releases_are_told_by_kind_where_there_are_any(mirror: Project) -> None:
    say(mirror, "sync", code=14)
    assert "; signed: " not in say(mirror, "report", code=14)
    memory = remembered(mirror, "here")
    assert memory is not None and memory.report.signed == {}
    report = msgspec.structs.replace(memory.report, signed={"provenance": 2, "cosign": 1})
    remember(mirror, msgspec.structs.replace(memory, report=report))
    said = say(mirror, "report", code=14)
    assert "; signed: 1 with cosign, 2 with provenance" in said


# -- hooks ----------------------------------------------------------------------------------------


def hook(project: Project, name: str, code: int = 0) -> Path:
    """A hook that writes down what it is given, and ends so."""
    seen = project.folder / f"{name}.seen"
    script = project.folder / f"{name}.py"
    script.write_text(
        "import os, pathlib, sys\n"
        f"pathlib.Path({str(seen)!r}).write_text(\n"
        "    os.environ['CNRMIRROR_EXIT_CODE'] + '\\n' + sys.stdin.read())\n"
        f"sys.exit({code})\n"
    )
    return seen


def with_hooks(project: Project, *names: str) -> None:
    lines = [f"  {n}: [{sys.executable}, {n}.py]" for n in names]
    path = project.folder / "mirror.yaml"
    path.write_text(path.read_text() + "\n".join(["hooks:", *lines, ""]))


def test_hooks_get_the_last_report_before_and_the_new_one_after(mirror: Project) -> None:
    before, after = hook(mirror, "before_sync"), hook(mirror, "after_sync")
    with_hooks(mirror, "before_sync", "after_sync")
    say(mirror, "sync", "--dry-run", code=14)
    assert not before.exists() and not after.exists()
    say(mirror, "sync", code=14)
    assert told(before) == (0, []) and told(after) == (14, ["here"])
    say(mirror, "sync", code=14)
    assert told(before) == (14, ["here"])


def told(seen: Path) -> tuple[int, list[str]]:
    code, _, text = seen.read_text().partition("\n")
    report = msgspec.json.decode(text, type=SyncReport)
    return int(code), [source.source for source in report.sources]


def test_a_hook_before_that_fails_stops_the_sync(mirror: Project) -> None:
    hook(mirror, "before_sync", code=3)
    with_hooks(mirror, "before_sync")
    assert "hooks.before_sync ended with exit code 3" in say(mirror, "sync", code=1)
    assert releases(mirror) == set()


def test_a_hook_after_that_fails_or_is_not_there_is_an_error(mirror: Project) -> None:
    hook(mirror, "after_sync", code=3)
    with_hooks(mirror, "after_sync")
    say(mirror, "sync", code=1)
    assert releases(mirror) == {"c/a@1.0.0", "c/b@1.0.0"}
    source = "sources: {here: {type: charts, folder: ../charts, namespace: c}}"
    configure(mirror, "hooks: {after_sync: [./none]}\n" + source)
    assert "hooks.after_sync: ./none: No such file" in say(mirror, "sync", code=1)


# -- a mirror that nobody signs any more ----------------------------------------------------------


def expired(tmp_path: Path, **settings: Any) -> Project:
    """A mirror of one that was signed years ago."""
    long_ago = "2021-01-02T03:04:05"
    first = make(tmp_path / "first", "first", long_ago)
    chart = tmp_path / "a-1.0.0.tgz"
    chart.write_bytes(chart_bytes("a", "1.0.0"))
    push(first, [chart], Override(namespace="ns"), long_ago)
    second = make(tmp_path / "second", "second")
    shutil.copy(first.metadata.path / "1.root.json", second.folder / "root.json")
    source = {"type": "mirror", "location": str(first.site), "root": "root.json", **settings}
    configure(second, f"sources: {json.dumps({'old': source})}")
    return second


def test_an_expired_mirror_is_taken_with_a_moment_and_every_run_says_so(tmp_path: Path) -> None:
    project = expired(tmp_path)
    say(project, "sync", code=10)
    shutil.rmtree(tmp_path / "first")
    shutil.rmtree(tmp_path / "second")
    project = expired(tmp_path, at="2021-01-02T04:00:00")
    for _ in range(2):
        assert "valid as of 2021-01-02T04:00:00" in say(project, "sync", code=0)
    assert releases(project) == {"ns/a@1.0.0"}


def test_a_moment_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    project = expired(tmp_path, at="yesterday")
    assert "sources.old.at: " in say(project, "sync", code=3)
