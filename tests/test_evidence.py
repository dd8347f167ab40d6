"""audit/: what a report says, what a kept one proves, and two mirrors that tell two stories."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from click.testing import CliRunner
from tuf.api.metadata import Metadata

from cnrmirror.archive.identify import Override
from cnrmirror.audit.compare import compare
from cnrmirror.audit.kept import Kept, read_report, write_report
from cnrmirror.audit.report import Audit, Comparison, Order
from cnrmirror.audit.run import audit
from cnrmirror.audit.signed import Witness
from cnrmirror.bundle.read import BundleReader
from cnrmirror.cli import cli
from cnrmirror.cli.check import check_schema
from cnrmirror.mirror import gc
from cnrmirror.mirror.push import push
from cnrmirror.mirror.rotate import install_root
from cnrmirror.model.canonical import is_canonical
from cnrmirror.model.documents import CatalogRoot
from cnrmirror.model.errors import CnrMirrorError, InputError, NewerFormat
from cnrmirror.model.evidence import Aspect
from cnrmirror.model.instant import Instant
from cnrmirror.model.progress import NoProgress
from cnrmirror.objects.folder import FolderReader
from cnrmirror.objects.http import HttpReader, Patience
from cnrmirror.trust import rotation
from cnrmirror.trust.chain import read_chain
from cnrmirror.trust.roles import to_bytes
from cnrmirror.trust.signing import Repository
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import NOW, chart_bytes
from tests.hostile import hosting
from tests.machine import ROOT, Machine
from tests.mirrors import key, make, reopen

CLOCK = datetime.fromisoformat(NOW).replace(tzinfo=UTC) + timedelta(hours=1)
META = "catalog/metadata"
TIMESTAMP = f"{META}/timestamp.json"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror project with revisions 0 to 3, of six packages."""
    folder = tmp_path_factory.mktemp("evidence")
    make(folder / "mirror", "evidence")
    for names in (["a", "b", "c", "d"], ["e"], ["f"]):
        add(folder / "mirror", *names)
    return folder / "mirror"


@pytest.fixture
def mirror(original: Path, tmp_path: Path) -> Path:
    return copied(original, tmp_path / "mirror")


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to, symlinks=True))


def add(folder: Path, *names: str) -> None:
    """One revision more."""
    charts = []
    for name in names:
        charts.append(folder.parent / f"{name}-1.0.0.tgz")
        charts[-1].write_bytes(chart_bytes(name, "1.0.0"))
    push(reopen(folder), charts, Override(namespace="ns"), NOW)


def pinned_root(folder: Path) -> bytes:
    return (folder / "site" / META / "1.root.json").read_bytes()


def audited(folder: Path, kept: Audit | None = None, now: datetime = CLOCK, **order: Any) -> Audit:
    """The report of somebody who remembers nothing but, perhaps, a report."""
    client = folder.parent / f"client-{folder.name}"
    shutil.rmtree(client, ignore_errors=True)
    trust = Trust(pinned_root(folder), client / "cache", client / "marks")
    ordered = Order(Policy(), now, **{"views": False, **order})
    before = Kept(kept, "0" * 64) if kept is not None else None
    return audit(FolderReader(folder / "site"), trust, ordered, kept=before)


def left(report: Audit) -> dict[str, int]:
    return {each.what: each.count for each in report.unchecked}


# -- what a report says ---------------------------------------------------------------------------


def test_a_report_names_the_files_that_it_stands_on(mirror: Path) -> None:
    report = audited(mirror, strict=True, views=True)
    assert report.pinned is not None and report.root == report.pinned
    assert report.pinned.sha256 == hashlib.sha256(pinned_root(mirror)).hexdigest()
    assert report.timestamp is not None
    data = (mirror / "site" / TIMESTAMP).read_bytes()
    assert report.timestamp.sha256 == hashlib.sha256(data).hexdigest()
    assert (report.timestamp.version, report.timestamp.expires) == (4, "2026-01-09T03:04:05")
    assert (report.registry, report.revision) == ("evidence", 3)
    assert report.catalog == reopen(mirror).head().catalog.digest
    assert report.began == report.time == "2026-01-02T04:04:05"


def test_a_strict_report_of_a_folder_leaves_nothing_out(mirror: Path) -> None:
    report = audited(mirror, strict=True, views=True)
    checked = report.checked
    assert left(report) == {"pages": 0} and report.complete  # only --pages compares them
    blobs = [p for p in (mirror / "site/catalog/blobs").rglob("*") if p.is_file()]
    assert (checked.packages, checked.releases, checked.blobs) == (6, 6, len(blobs))
    assert checked.bytes == sum(path.stat().st_size for path in blobs)
    assert checked.metadata == len(list((mirror / "site" / META).iterdir()))
    assert checked.revisions == 3 and checked.views > 50


def test_a_plain_report_says_what_only_a_strict_one_reads(mirror: Path) -> None:
    report = audited(mirror)
    assert left(report) == {"views": 0, "history": 3, "metadata": 0, "files": 0}
    assert report.checked.metadata == 4


def test_a_sample_says_how_many_it_left_out_and_can_be_drawn_again(mirror: Path) -> None:
    report = audited(mirror, sample=2, seed=7)
    assert left(report)["packages"] == 4 and not report.complete
    assert (report.order.sample, report.order.seed) == (2, 7)
    assert audited(mirror, sample=2, seed=7).checked == report.checked


def test_a_host_that_cannot_be_listed_is_said(mirror: Path) -> None:
    with hosting(mirror / "site") as host:
        trust = Trust(pinned_root(mirror), mirror / "cache", mirror / "marks")
        reader = HttpReader(host.url, Patience(attempts=1))
        report = audit(reader, trust, Order(Policy(), CLOCK, strict=True, views=False))
        reader.close()
    assert left(report) == {"views": 0, "files": 0}


def test_the_views_of_a_bundle_are_not_checked(home: Path) -> None:
    say("-C", "a", "export", "out")
    trust = Trust((home / "root.json").read_bytes(), home / "cache", home / "marks")
    report = audit(BundleReader([home / "out"]), trust, Order(Policy(), datetime.now(UTC)))
    assert "views" in left(report) and not report.findings


def test_what_is_not_retained_is_not_checked(mirror: Path) -> None:
    forget(mirror)
    assert left(audited(mirror, strict=True)) == {"views": 0, "retention": 3}


def forget(folder: Path) -> None:
    """Collect all history but the head."""
    later = str(Instant(datetime.now(UTC) + timedelta(days=1)))
    collected = gc.collect(reopen(folder), 1, 0, later, dry_run=False)
    assert collected.files


class Impatient(NoProgress):
    """Somebody loses patience after three packages."""

    steps = 0

    def advance(self, steps: int = 1, size: int = 0) -> None:
        self.steps += 1
        if self.steps == 3:
            raise KeyboardInterrupt


def test_what_an_interrupted_audit_had_read_is_said(mirror: Path, tmp_path: Path) -> None:
    order = Order(Policy(), CLOCK, views=False)
    for progress in (Impatient(), NoProgress()):
        trust = Trust(pinned_root(mirror), tmp_path / "cache", tmp_path / "marks")
        reader = FolderReader(mirror / "site")
        if isinstance(progress, Impatient):
            with pytest.raises(KeyboardInterrupt):
                audit(reader, trust, order, progress, tmp_path / "journal")
        else:
            report = audit(reader, trust, order, progress, tmp_path / "journal")
    assert left(report)["interrupted"] == 3 and report.checked.packages == 6


# -- what a report says of a mirror that fails ----------------------------------------------------


@pytest.mark.parametrize("strict", [True, False])
def test_the_report_of_an_expired_mirror_says_which_root_and_timestamp(
    mirror: Path, strict: bool
) -> None:
    report = audited(mirror, now=CLOCK + timedelta(days=8), strict=strict)
    assert report.exit_code == report.error_code == 10 and "expired" in report.error
    assert report.root == report.pinned and report.timestamp is not None
    assert report.timestamp.expires == "2026-01-09T03:04:05"
    assert "freshness" in left(report) and ("catalog" in left(report)) != strict


def test_the_report_of_a_mirror_that_was_changed_says_what_is_known(mirror: Path) -> None:
    (mirror / "site" / META / "4.snapshot.json").unlink()
    report = audited(mirror)
    assert report.exit_code == 11 and report.timestamp is not None
    assert report.timestamp.version == 4 and report.catalog == ""


def test_a_timestamp_that_nobody_signed_is_not_in_the_report(mirror: Path) -> None:
    forge(mirror, "timestamp.json", "stranger")
    report = audited(mirror)
    assert report.exit_code == 9 and report.timestamp is None and report.root is not None


def test_a_mirror_that_cannot_be_reached_has_a_report_too(mirror: Path, home: Path) -> None:
    (home / "root.json").write_bytes(pinned_root(mirror))
    with hosting(mirror / "site") as host:
        url = host.url
    said = say("--json", "check", "--from", url, "--root", "root.json",
               "--report", "kept.json", "--sample", "2", code=12)  # fmt: skip
    report = msgspec.json.decode(said, type=Audit)
    assert report.exit_code == 12
    assert report.registry == "evidence" and report.pinned is not None
    assert report.order.seed is not None and report.began <= report.ended
    assert left(report).keys() >= {"catalog", "freshness"}
    assert read_report(home / "kept.json").report == report


def test_a_mirror_of_which_no_root_is_known_has_a_report_too(mirror: Path, home: Path) -> None:
    said = say("--json", "check", "--from", str(mirror), code=9)
    report = json.loads(said.splitlines()[0])
    assert report["error_code"] == 9 and report["pinned"] is None
    assert "no root is known" in report["error"]


# -- a report that is kept ------------------------------------------------------------------------


def test_a_kept_report_is_one_canonical_line(mirror: Path, tmp_path: Path) -> None:
    report = audited(mirror)
    write_report(tmp_path / "kept.json", report)
    data = (tmp_path / "kept.json").read_bytes()
    assert data.count(b"\n") == 1 and is_canonical(data[:-1])
    kept = read_report(tmp_path / "kept.json")
    assert kept.report == report and kept.sha256 == hashlib.sha256(data).hexdigest()


def test_a_mirror_is_the_same_until_it_has_another_revision(mirror: Path) -> None:
    kept = audited(mirror)
    assert relation(mirror, kept) == "same"
    signer = reopen(mirror).signer
    assert isinstance(signer, Repository)
    signer.refresh(NOW)
    assert relation(mirror, kept) == "same"
    add(mirror, "g")
    add(mirror, "h")
    assert relation(mirror, kept) == "later"
    rotate(mirror, "another")
    assert relation(mirror, kept) == "later"


def relation(folder: Path, kept: Audit, **order: Any) -> str:
    report = audited(folder, kept, **order)
    assert report.against is not None and report.exit_code == 0
    assert report.against.exit_code == (9 if report.against.contradictions else 0)
    return report.against.relation


def contradicted(folder: Path, kept: Audit) -> dict[str, str]:
    """What contradicts a kept report, and in which words."""
    report = audited(folder, kept)
    assert report.against is not None
    assert (report.against.relation, report.against.exit_code) == ("contradiction", 9)
    return {each.what: each.reason for each in report.against.contradictions}


def test_another_catalog_as_the_same_revision_contradicts(mirror: Path, tmp_path: Path) -> None:
    fork = copied(mirror, tmp_path / "fork")
    add(mirror, "g")
    add(fork, "h")
    kept = audited(mirror)
    found = contradicted(fork, kept)
    assert set(found) == {"revision", "timestamp"} and kept.catalog in found["revision"]
    assert str(reopen(fork).head().catalog.digest) in found["revision"]


def test_an_old_revision_that_is_not_in_the_history_contradicts(
    mirror: Path, tmp_path: Path
) -> None:
    fork = copied(mirror, tmp_path / "fork")
    add(mirror, "g")
    for name in ("h", "i", "j"):
        add(fork, name)
    found = contradicted(fork, audited(mirror))
    assert set(found) == {"revision"} and "revision 4 was" in found["revision"]


def test_a_mirror_that_went_back_contradicts_even_who_remembers_nothing(
    mirror: Path, tmp_path: Path
) -> None:
    old = copied(mirror, tmp_path / "old")
    add(mirror, "g")
    assert set(contradicted(old, audited(mirror))) == {"revision", "timestamp"}


def test_a_root_that_went_back_contradicts(mirror: Path, tmp_path: Path) -> None:
    old = copied(mirror, tmp_path / "old")
    rotate(mirror, "another")
    found = contradicted(old, audited(mirror))
    assert "root" in found and "went back" in found["root"]


def test_another_root_of_the_same_version_contradicts(mirror: Path, tmp_path: Path) -> None:
    fork = copied(mirror, tmp_path / "fork")
    rotate(mirror, "one")
    rotate(fork, "two")
    assert "root" in contradicted(fork, audited(mirror))


def test_another_registry_contradicts(mirror: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", "another registry")
    assert set(contradicted(other.folder, audited(mirror))) == {"registry"}


def test_whether_it_came_before_cannot_be_told_without_the_history(mirror: Path) -> None:
    kept = audited(mirror)
    add(mirror, "g")
    forget(mirror)
    report = audited(mirror, kept)
    assert report.against is not None and report.against.relation == "untold"
    assert "no history is retained before revision 4" in report.against.notes[0]
    assert report.exit_code == report.against.exit_code == 0


def test_a_host_that_withholds_the_history_is_incomplete(mirror: Path) -> None:
    kept = audited(mirror)
    add(mirror, "g")
    path = mirror / "site/catalog/targets" / f"{kept.catalog}.catalog.json"
    path.unlink()
    report = audited(mirror, kept)
    assert report.against is not None and report.against.relation == "untold"
    assert [(f.problem, f.path) for f in report.findings] == [
        ("missing", path.relative_to(mirror / "site").as_posix())
    ]
    assert report.exit_code == 11


def test_of_a_mirror_that_fails_nothing_is_told(mirror: Path) -> None:
    kept = audited(mirror)
    report = audited(mirror, kept, now=CLOCK + timedelta(days=30))
    assert report.against is not None and report.against.relation == "untold"
    failed = audited(mirror, now=CLOCK + timedelta(days=30))
    assert relation(mirror, failed) == "untold"


def rotate(folder: Path, name: str) -> None:
    """A new root, in which another key stands for one of the three."""
    project = reopen(folder)
    repository = project.signer
    assert isinstance(repository, Repository)
    old = key("root-3").public_key.keyid
    proposal = rotation.propose(repository, {old: key(name).public_key}, None, NOW)
    for word in ("root-1", "root-2", name):
        proposal.proposed.sign(key(word), append=True)
    install_root(project, repository, proposal, NOW)


def spoil(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def spoiled(data: bytes) -> bytes:
        report = json.loads(data)
        change(report)
        return json.dumps(report).encode()

    return spoiled


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda data: b"",
        lambda data: b"\xff" + data,
        lambda data: data[:-9],
        lambda data: b"[" + data + b"]",
        lambda data: b"[" * 100_000,
        lambda data: b'{"a":' * 100_000,
        lambda data: b'{"kind":"cnrmirror-audit"}',
        spoil(lambda report: report.update(kind="cnrmirror-check")),
        spoil(lambda report: report.update(revision="3")),
        spoil(lambda report: report.update(revision=2**60)),
        spoil(lambda report: report.update(catalog="../../etc/passwd")),
        spoil(lambda report: report["root"].update(version=-1)),
        spoil(lambda report: report["timestamp"].update(sha256="A" * 64)),
        spoil(lambda report: report.update(findings=[{"path": 1}])),
    ],
)
def test_a_file_that_is_no_report_is_refused(
    mirror: Path, tmp_path: Path, spoiled: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "kept.json"
    write_report(path, audited(mirror))
    path.write_bytes(spoiled(path.read_bytes()))
    with pytest.raises(InputError, match=re.escape(str(path))):
        read_report(path)


def test_a_file_that_is_too_long_or_not_there_or_newer_is_refused(
    mirror: Path, tmp_path: Path
) -> None:
    path = tmp_path / "kept.json"
    with pytest.raises(InputError, match="No such file"):
        read_report(path)
    with path.open("wb") as stream:
        stream.truncate((64 << 20) + 1)
    with pytest.raises(InputError, match="64 MiB"):
        read_report(path)
    write_report(path, audited(mirror))
    path.write_bytes(path.read_bytes().replace(b'"read":1', b'"read":2'))
    with pytest.raises(NewerFormat):
        read_report(path)


def test_a_report_that_claims_what_was_never_signed_contradicts_and_leads_nowhere(
    mirror: Path,
) -> None:
    kept = audited(mirror)
    for lie in ({"catalog": "f" * 64}, {"revision": 9}, {"revision": 1}):
        assert "revision" in contradicted(mirror, msgspec.structs.replace(kept, **lie))


# -- two mirrors ----------------------------------------------------------------------------------


def witness(folder: Path) -> Witness:
    client = folder.parent / f"witness-{folder.name}"
    shutil.rmtree(client, ignore_errors=True)
    trust = Trust(pinned_root(folder), client / "cache", client / "marks")
    reader = FolderReader(folder / "site")
    verified = trust.verify(reader, Policy(), CLOCK)
    return Witness(folder.name, reader, verified, read_chain(reader, trust.pinned))


def compared(first: Path, second: Path) -> Comparison:
    """What is told of both; the same, the other way round."""
    there, back = compare(witness(first), witness(second)), compare(witness(second), witness(first))
    assert [(c.what, c.number, c.first, c.second) for c in there.contradictions] == [
        (c.what, c.number, c.second, c.first) for c in back.contradictions
    ]
    return there


def contradictions(first: Path, second: Path) -> list[tuple[str, int]]:
    return [(each.what, each.number) for each in compared(first, second).contradictions]


def forge(folder: Path, name: str, signer: str, **changes: Any) -> None:
    """Another content of a signed file, of the same version."""
    path = folder / "site" / META / name
    found: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
    later = {"expires": found.signed.expires + timedelta(hours=1)}
    for field, value in {**later, **changes}.items():
        setattr(found.signed, field, value)
    found.sign(key(signer))
    path.write_bytes(to_bytes(found))


@pytest.fixture
def twin(mirror: Path, tmp_path: Path) -> Path:
    return copied(mirror, tmp_path / "twin")


def test_two_copies_tell_one_story_also_if_one_is_older(mirror: Path, twin: Path) -> None:
    told = compared(mirror, twin)
    assert (told.contradictions, told.notes, told.agreed) == ([], [], 3)
    add(twin, "g")
    rotate(twin, "another")
    told = compared(mirror, twin)
    assert (told.contradictions, told.agreed) == ([], 3)
    assert told.notes == ["mirror shows root 1, twin root 2"]


def test_every_revision_with_two_catalogs_is_found_not_only_the_head(
    mirror: Path, twin: Path
) -> None:
    for name in ("g", "h"):
        add(mirror, name)
    for name in ("i", "j", "k"):
        add(twin, name)
    told = compared(mirror, twin)
    found = [each for each in told.contradictions if each.what == "revision"]
    assert [each.number for each in found] == [4, 5] and told.agreed == 3
    assert found[1].first == reopen(mirror).head().catalog.digest
    assert found[1].first in found[1].reason and found[1].second in found[1].reason
    assert "at mirror" in found[1].reason and "at twin" in found[1].reason
    assert told.exit_code == 9


def test_a_revision_that_the_other_history_passes_over_is_found(mirror: Path, twin: Path) -> None:
    add(mirror, "g")
    add(twin, "h")
    skip_to(twin, 6)
    found = [c for c in compared(mirror, twin).contradictions if c.what == "revision"]
    assert [(c.number, bool(c.first), bool(c.second)) for c in found] == [(4, True, False)]


def skip_to(folder: Path, number: int) -> None:
    """The head again, with another number, as if it had come after the revision before it."""
    project = reopen(folder)
    root: CatalogRoot = msgspec.structs.replace(project.root(), revision=number)
    at = project.store.put(root)
    assert project.signer is not None
    head = msgspec.structs.replace(project.head(), catalog=at, revision=number)
    project.signer.sign_revision(head, NOW)


def test_two_timestamps_of_one_version_are_found(mirror: Path, twin: Path) -> None:
    forge(twin, "timestamp.json", "refresh")
    assert contradictions(mirror, twin) == [("timestamp", 4)]


@pytest.mark.parametrize(
    ("name", "signer"),
    [("2.snapshot.json", "refresh"), ("2.catalog.json", "publish"), ("3.snapshot.json", "refresh")],
)
def test_two_signed_files_of_one_version_are_found(
    mirror: Path, twin: Path, name: str, signer: str
) -> None:
    forge(twin, name, signer)
    version, what, _ = name.split(".")
    assert contradictions(mirror, twin) == [(what, int(version))]


@pytest.mark.parametrize("signer", ["stranger", "publish"])
def test_a_file_that_its_host_made_up_is_no_second_story(
    mirror: Path, twin: Path, signer: str
) -> None:
    forge(twin, "2.snapshot.json", signer)
    told = compared(mirror, twin)
    assert told.contradictions == []
    assert told.notes == ["2.snapshot.json at twin is not signed by who may sign it: not compared"]


def test_a_file_of_another_role_by_the_same_key_is_no_second_story(
    mirror: Path, twin: Path
) -> None:
    # One key signs timestamps and snapshots.
    path = twin / "site" / META / "2.snapshot.json"
    path.unlink()
    shutil.copy(twin / "site" / TIMESTAMP, path)
    forge(twin, "2.snapshot.json", "refresh", version=2)
    assert contradictions(mirror, twin) == []


def test_two_roots_of_one_version_are_found(mirror: Path, twin: Path) -> None:
    rotate(mirror, "one")
    rotate(twin, "two")
    assert ("root", 2) in contradictions(mirror, twin)


def test_two_registries_are_two_stories(mirror: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", "another registry")
    assert contradictions(mirror, other.folder) == [("registry", -1)]


def test_what_is_not_retained_cannot_be_compared(mirror: Path, twin: Path) -> None:
    for name in ("g", "h"):
        add(twin, name)
    forget(twin)
    told = compared(mirror, twin)
    assert (told.contradictions, told.agreed, told.exit_code) == ([], -1, 0)
    assert "no history is retained before revision 5" in told.notes[-1]


def test_a_history_that_is_withheld_is_no_agreement(mirror: Path, twin: Path) -> None:
    for name in ("g", "h"):
        add(twin, name)
    for root in (twin / "site/catalog/targets").iterdir():
        if root.name != f"{reopen(twin).head().catalog.digest}.catalog.json":
            root.unlink()
    told = compare(witness(mirror), witness(twin))
    assert (told.contradictions, told.agreed, told.exit_code) == ([], -1, 11)


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    machine = Machine(tmp_path_factory.mktemp("made") / "home")
    machine("init", "a")
    shutil.copy(machine.folder / "a/site" / META / "1.root.json", machine.folder / "root.json")
    for name in ("b", "c"):
        shutil.copytree(machine.folder / "a", machine.folder / name, symlinks=True)
    for name in ("a", "c"):
        (machine.folder / f"{name}.tgz").write_bytes(chart_bytes(name, "1.0.0"))
        machine("-C", name, "push", "--namespace", "ns", f"{name}.tgz")
    return machine.folder


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Mirrors "a" and "c", which went two ways after their first revision; "b" stayed there."""
    folder = copied(made, tmp_path / "home")
    monkeypatch.chdir(folder)
    someone("one", folder, monkeypatch)
    return folder


def someone(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a person who remembers nothing yet."""
    for kind in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(folder / name / kind))


def say(*words: str, code: int = 0) -> str:
    """What a command prints, in this process: many commands are quick that way."""
    done = CliRunner().invoke(cli, words)
    ended = done.exit_code
    said = ""
    if isinstance(done.exception, CnrMirrorError):
        ended, said = done.exception.exit_code, done.exception.message
    assert ended == code, (done.output, done.exception)
    return f"{done.output}{said}"


def test_mirrors_are_compared_with_the_first(home: Path) -> None:
    pin = ("--root", "root.json", "--no-views")
    said = say("check", "--compare", "a", "--compare", "b", *pin)
    assert "a and b agree, up to revision 0" in said
    assert say("check", "--from", "a", "--compare", "b", *pin) == said
    said = say("check", "--compare", "a", "--compare", "b", "--compare", "c", *pin, code=9)
    assert "a and b agree" in said and "wrong\tc\trevision 1 is " in said
    say("check", "--compare", "a", *pin, code=2)
    said = say("--json", "check", "--from", "a", "--compare", "c", *pin, code=9)
    [other] = msgspec.json.decode(said, type=Audit).compared
    assert (other.place, other.agreed) == ("c", 0)


def test_a_kept_report_is_not_lost_to_the_one_that_contradicts_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = ("--root", "root.json", "--no-views")
    say("check", "--from", "a", *pin, "--report", "kept.json")
    kept = (home / "kept.json").read_bytes()
    keep = (*pin, "--against", "kept.json", "--report", "kept.json")
    said = say("check", "--from", "c", *keep, code=9)
    assert "wrong\tc\ttimestamp 2 was " in said and "kept.json is kept as it is" in said
    someone("another", home, monkeypatch)
    said = say("check", "--from", "c", *keep, code=9)
    assert "wrong\tc\trevision 1 was " in said
    assert (home / "kept.json").read_bytes() == kept
    someone("one", home, monkeypatch)
    assert "the same revision as in the kept report" in say("check", "--from", "a", *keep)
    assert (home / "kept.json").read_bytes() != kept


def test_the_files_of_reports_are_refused_with_a_reason(home: Path) -> None:
    pin = ("--root", "root.json")
    (home / "bad.json").write_text("[]")
    assert "bad.json: not a report" in say(
        "check", "--from", "a", *pin, "--against", "bad.json", code=3
    )
    say("check", "--from", "a", *pin, "--against", "none.json", code=3)
    say("check", "--from", "a", "--from", "b", *pin, "--report", "r.json", code=2)
    say("-C", "a", "check", "--report", "r.json", code=2)
    say("check", "--from", "a", *pin, "--report", "no/such/folder.json", code=8)


def test_real_reports_are_what_the_schema_says(home: Path) -> None:
    schema = json.loads(check_schema())
    assert (ROOT / "docs/check.schema.json").read_text() == check_schema() + "\n"
    assert say("check", "--schema") == check_schema() + "\n"
    pin = ("--root", "root.json")
    commands = {
        ("-C", "a", "check"): 0,
        ("check", "--from", "b", "--from", "a", "--strict", *pin): 0,
        ("check", "--compare", "a", "--compare", "c", *pin): 9,
        ("check", "--from", "empty"): 9,
    }
    (home / "empty").mkdir()
    for command, code in commands.items():
        value = json.loads(say("--json", *command, code=code).splitlines()[0])
        assert misfits(value, schema, schema) == [], command
    report = json.loads(say("--json", "check", "--from", "a", *pin))
    assert set(schema["$defs"]["Audit"]["properties"]) == set(report)
    assert misfits({**report, "revision": "0"}, schema, schema)


def test_the_example_of_the_documents_is_a_report() -> None:
    text = (ROOT / "docs/audit.md").read_text()
    example = text.partition("```json\n")[2].partition("```")[0]
    report = msgspec.json.decode(example, type=Audit)
    assert json.loads(example) == msgspec.to_builtins(report)
    table = text.partition("| `unchecked` | what was not looked at |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.M)
    named = {code for cell in cells for code in re.findall(r"`(\w+)`", cell)}
    assert named == set(get_args(Aspect))


def misfits(value: Any, schema: dict[str, Any], whole: dict[str, Any], at: str = "$") -> list[str]:
    """Where a value is not as a JSON Schema says, as far as ours use the language."""
    if "$ref" in schema:
        return misfits(value, whole["$defs"][schema["$ref"].rpartition("/")[2]], whole, at)
    if "anyOf" in schema:
        each = [misfits(value, choice, whole, at) for choice in schema["anyOf"]]
        return [] if [] in each else min(each, key=len)
    kinds: dict[str, Any] = {
        "object": dict, "array": list, "string": str, "integer": int, "boolean": bool,
        "number": (int, float), "null": type(None),
    }  # fmt: skip
    kind = schema.get("type")
    if kind and (not isinstance(value, kinds[kind]) or (kind == "integer" and value is True)):
        return [f"{at}: {value!r} is no {kind}"]
    found = [f"{at}: {value!r}"] if value not in schema.get("enum", [value]) else []
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        found.append(f"{at}: {value!r} is not {schema['pattern']}")
    if isinstance(value, dict):
        known = schema.get("properties", {})
        found += [
            f"{at}.{name} is missing" for name in schema.get("required", []) if name not in value
        ]
        found += [f"{at}.{name} is not known" for name in value if name not in known]
        for name in value.keys() & known.keys():
            found += misfits(value[name], known[name], whole, f"{at}.{name}")
    if isinstance(value, list):
        for number, item in enumerate(value):
            found += misfits(item, schema.get("items", {}), whole, f"{at}[{number}]")
    return found
