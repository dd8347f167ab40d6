"""audit/, strict: the file that is at fault is the one that is named."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root, Timestamp

from cnrmirror.archive.identify import Override
from cnrmirror.audit.report import Audit, Order
from cnrmirror.audit.run import audit
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.mirror.rotate import install_root
from cnrmirror.model.progress import NoProgress
from cnrmirror.objects.folder import FolderReader
from cnrmirror.trust import rotation
from cnrmirror.trust.roles import to_bytes
from cnrmirror.trust.signing import Repository
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import NOW, chart_bytes
from tests.mirrors import key, make

CLOCK = datetime.fromisoformat(NOW).replace(tzinfo=UTC) + timedelta(hours=1)
STRICTLY = Order(Policy(), CLOCK, strict=True, views=False)
META = "catalog/metadata"
PACKAGES = "cnr/api/v1/packages"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of a mirror with two roots, three revisions, and a list that is precompressed."""
    folder = tmp_path_factory.mktemp("audited")
    project = make(folder / "mirror", "audited")
    charts = []
    for number in range(20):
        charts.append(folder / f"p{number}-1.0.0.tgz")
        charts[-1].write_bytes(chart_bytes(f"p{number}", "1.0.0"))
    push(project, charts[1:], Override(namespace="ns"), NOW, What(["stable"]))
    push(project, charts[:1], Override(namespace="ns"), NOW)
    repository = project.signer
    assert isinstance(repository, Repository)
    proposal = rotation.propose(repository, {}, None, NOW)
    for name in ("root-1", "root-2"):
        proposal.proposed.sign(key(name), append=True)
    install_root(project, repository, proposal, NOW)
    return project.site


@pytest.fixture
def site(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "site", symlinks=True))


def audited(site: Path, pinned: int = 1, now: datetime = CLOCK, views: bool = True) -> Audit:
    root = (site / META / f"{pinned}.root.json").read_bytes()
    trust = Trust(root, site.parent / "cache", site.parent / "marks")
    order = Order(Policy(), now, strict=True, views=views, pages=views)
    return audit(FolderReader(site), trust, order)


def named(report: Audit) -> set[tuple[str, str]]:
    return {(finding.path, finding.problem) for finding in report.findings}


@pytest.mark.parametrize("pinned", [1, 2])
def test_an_honest_mirror_has_no_findings(site: Path, pinned: int) -> None:
    report = audited(site, pinned)
    assert report.findings == [] and report.complete and report.checked.views > 100


def test_what_publish_keeps_for_itself_at_a_folder_is_no_finding(site: Path) -> None:
    (site / ".cnrmirror").mkdir()
    for name in ("state.json", "lock"):
        (site / ".cnrmirror" / name).write_bytes(b"")
    assert audited(site).findings == []


def test_an_old_root_that_signs_only_itself_is_named(site: Path) -> None:
    path = site / META / "1.root.json"
    forged = Metadata[Root].from_bytes(path.read_bytes())
    for role in ("root", "timestamp"):
        for old in list(forged.signed.roles[role].keyids):
            forged.signed.revoke_key(old, role)
        forged.signed.add_key(key("stranger").public_key, role)
    forged.signed.roles["root"].threshold = 1
    forged.signatures.clear()
    forged.sign(key("stranger"))
    path.write_bytes(to_bytes(forged))
    assert named(audited(site, pinned=2)) == {(f"{META}/1.root.json", "wrong")}


@pytest.mark.parametrize("kind", ["blobs/sha256", "nodes/sha256", "targets"])
def test_both_files_of_a_swap_are_named(site: Path, kind: str) -> None:
    first, second, *_ = sorted(p for p in (site / "catalog" / kind).rglob("*") if p.is_file())
    swap(first, second)
    names = {p.relative_to(site).as_posix() for p in (first, second)}
    assert names <= {f.path for f in audited(site, views=False).findings}


@pytest.mark.parametrize(
    ("first", "second"),
    [("2.snapshot.json", "3.snapshot.json"), ("2.catalog.json", "4.catalog.json"),
     ("1.root.json", "timestamp.json"), ("1.targets.json", "4.snapshot.json")],
)  # fmt: skip
def test_both_metadata_files_of_a_swap_are_named(site: Path, first: str, second: str) -> None:
    pinned = (site / META / "2.root.json").read_bytes()
    swap(site / META / first, site / META / second)
    trust = Trust(pinned, site.parent / "cache", site.parent / "marks")
    report = audit(FolderReader(site), trust, STRICTLY)
    assert {f"{META}/{first}", f"{META}/{second}"} <= {f.path for f in report.findings}


def swap(first: Path, second: Path) -> None:
    one, two = first.read_bytes(), second.read_bytes()
    for path, data in ((first, two), (second, one)):
        path.unlink()
        path.write_bytes(data)


@pytest.mark.parametrize("name", ["2.snapshot.json", "3.catalog.json", "4.snapshot.json"])
@pytest.mark.parametrize("new", ["77.snapshot.json", "odd.json"])
def test_metadata_under_another_name_is_named_twice(site: Path, name: str, new: str) -> None:
    (site / META / name).rename(site / META / new)
    found = {f.path for f in audited(site, views=False).findings}
    assert {f"{META}/{name}", f"{META}/{new}"} <= found


def test_a_state_that_is_older_than_what_was_seen_is_the_timestamps_fault(
    site: Path, tmp_path: Path
) -> None:
    trust = Trust(
        (site / META / "1.root.json").read_bytes(), tmp_path / "cache", tmp_path / "marks"
    )
    assert audited(site, views=False).findings == []
    signed = (site / META / "timestamp.json").read_bytes()
    timestamp: Metadata[Timestamp] = Metadata.from_bytes(signed)
    timestamp.signed.version -= 1
    timestamp.sign(key("refresh"))
    (site / META / "timestamp.json").write_bytes(to_bytes(timestamp))
    report = audit(FolderReader(site), trust, STRICTLY)
    assert named(report) == {(f"{META}/timestamp.json", "wrong")}
    assert report.exit_code == 9


@pytest.mark.parametrize(
    ("days", "expired"),
    [(8, ["timestamp"]), (91, ["timestamp", "4.snapshot", "4.catalog"]),
     (366, ["timestamp", "4.snapshot", "4.catalog", "2.root", "1.targets"])],
)  # fmt: skip
def test_every_role_that_expired_is_named(site: Path, days: int, expired: list[str]) -> None:
    report = audited(site, now=CLOCK + timedelta(days=days), views=False)
    assert named(report) == {(f"{META}/{role}.json", "stale") for role in expired}
    assert report.exit_code == 10


def other_address(path: Path) -> None:
    path.write_text(path.read_text().replace("/cnr/", "https://evil.example/"))


def script(path: Path) -> None:
    path.write_text(path.read_text() + "<script src=//evil.example></script>")


def another_list(path: Path) -> None:
    path.write_bytes(gzip.compress(b"[]\n"))


def no_gzip(path: Path) -> None:
    path.write_bytes(b"[]\n")


def extra(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}\n")


def elsewhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("catalog")


@pytest.mark.parametrize(
    ("name", "spoil", "problem"),
    [
        (".well-known/app-registry-uri.json", other_address, "wrong"),
        (".well-known/app-registry-uri.json", Path.unlink, "missing"),
        ("index.html", script, "wrong"),
        (f"{PACKAGES}/index.json.gz", another_list, "wrong"),
        (f"{PACKAGES}/index.json.gz", no_gzip, "wrong"),
        (f"{PACKAGES}/index.json", no_gzip, "wrong"),  # the empty mirror's list
        (f"{PACKAGES}/ns/p1/9.9.9/helm/index.json", extra, "extra"),
        ("cnr/evil.json", extra, "extra"),
        ("cnr/version/index.json", extra, "wrong"),
        ("api", elsewhere, "wrong"),
    ],
)
def test_a_view_that_is_not_what_the_catalog_says_is_named(
    site: Path, name: str, spoil: Callable[[Path], None], problem: str
) -> None:
    spoil(site / name)
    assert (name, problem) in named(audited(site))


def test_an_audit_that_was_interrupted_goes_on_and_finds_the_same(
    site: Path, tmp_path: Path
) -> None:
    root = (site / META / "1.root.json").read_bytes()
    journal = tmp_path / "journal"
    order = Order(Policy(), CLOCK, strict=True)

    def again() -> Audit:
        trust = Trust(root, tmp_path / "cache", tmp_path / "marks")
        return audit(FolderReader(site), trust, order, Interrupted(), journal)

    with pytest.raises(KeyboardInterrupt):
        again()
    Interrupted.steps = 1000
    report = again()
    assert report.findings == [] and report.complete
    assert "packages were read by an audit that was interrupted" in report.notes[0]
    whole = audited(site)
    assert report.checked == whole.checked
    assert not journal.exists()


class Interrupted(NoProgress):
    """Somebody loses patience after some packages."""

    steps = 5

    def advance(self, steps: int = 1, size: int = 0) -> None:
        Interrupted.steps -= 1
        if Interrupted.steps == 0:
            raise KeyboardInterrupt


def test_a_report_in_json_is_printed_also_of_a_mirror_that_fails(site: Path) -> None:
    shutil.copy(site / META / "1.root.json", site.parent / "root.json")
    (site / META / "timestamp.json").write_bytes(b"{}")
    done = subprocess.run(
        [sys.executable, "-m", "cnrmirror", "--json", "check", "--from", str(site),
         "--root", str(site.parent / "root.json")],
        cwd=Path(__file__).parents[1], env=os.environ, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 9
    report = json.loads(done.stdout)
    assert [f["path"] for f in report["findings"]] == [f"{META}/timestamp.json"]
    assert not report["complete"]
