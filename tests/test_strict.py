"""A strict audit of one's own places: what is named, with which words, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from cnrmirror.audit.report import Audit, Order
from cnrmirror.audit.run import audit
from cnrmirror.mirror.project import Project
from cnrmirror.model.instant import Instant
from cnrmirror.model.resource import Resource
from cnrmirror.model.signed import TIMESTAMP
from cnrmirror.objects.folder import FolderObjects, FolderReader
from cnrmirror.publish.open import find_destinations
from cnrmirror.publish.session import Session
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import chart_bytes
from tests.machine import Machine
from tests.places import Killed
from tests.test_publish_races import add as push
from tests.test_publish_races import later as later_by

ROOT_FILE = "m/site/catalog/metadata/1.root.json"
STRICT = ("check", "--from", "pub", "--root", ROOT_FILE, "--strict")
PACKAGES = "pub/cnr/api/v1/packages"
PUBLISH = ("-C", "m", "publish", "./pub")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    machine = Machine(tmp_path_factory.mktemp("made") / "home")
    machine("init", "m")
    for name in ("a", "b"):
        (machine.folder / f"{name}.tgz").write_bytes(chart_bytes(name, "1.0.0"))
    machine("-C", "m", "push", "--namespace", "ns", "a.tgz", "b.tgz")
    machine(*PUBLISH)
    return machine.folder


@pytest.fixture
def machine(made: Path, tmp_path: Path) -> Machine:
    """A mirror "m" of two packages, published to "pub"."""
    shutil.copytree(made, tmp_path / "home", symlinks=True)
    return Machine(tmp_path / "home")


def findings(machine: Machine, code: int) -> set[tuple[str, str]]:
    done = machine.run("--json", *STRICT)
    assert done.returncode == code, done.stdout
    return {(f["problem"], f["path"]) for f in json.loads(done.stdout)["findings"]}


def test_what_waits_to_be_removed_is_said_and_no_finding(machine: Machine) -> None:
    machine("-C", "m", "remove", "ns/b@1.0.0")
    machine(*PUBLISH)
    assert (machine.folder / PACKAGES / "ns/b/1.0.0/helm/index.json").exists()
    assert "to be removed later: " in machine(*STRICT)


def test_what_an_older_revision_had_is_unused_if_nobody_is_going_to_remove_it(
    machine: Machine,
) -> None:
    machine("-C", "m", "remove", "ns/b@1.0.0")
    machine(*PUBLISH)
    state = machine.folder / "pub/.cnrmirror/state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "pending": {}}))
    found = findings(machine, 19)
    assert {problem for problem, _ in found} == {"unused"}
    assert ("unused", "cnr/api/v1/packages/ns/b/1.0.0/helm/index.json") in found


def test_a_file_that_no_revision_has_is_the_hosts_own(machine: Machine) -> None:
    machine("-C", "m", "remove", "ns/b@1.0.0")
    machine(*PUBLISH)
    evil = "cnr/api/v1/packages/ns/b/1.0.0/helm/index.json"
    (machine.folder / "pub" / evil).write_text("{}")
    state = machine.folder / "pub/.cnrmirror/state.json"
    assert evil in json.loads(state.read_text())["pending"]
    assert findings(machine, 9) == {("extra", evil)}


def test_a_view_of_an_older_revision_is_wrong_and_the_reason_says_which(machine: Machine) -> None:
    lists = machine.folder / PACKAGES / "index.json"
    before = lists.read_bytes()
    machine("-C", "m", "remove", "ns/b@1.0.0")
    machine(*PUBLISH)
    lists.write_bytes(before)
    assert findings(machine, 9) == {("wrong", "cnr/api/v1/packages/index.json")}
    assert "as revision 1 had it" in machine(*STRICT, code=9)


@pytest.mark.parametrize("key", [TIMESTAMP, "snapshot.json", "index.json"])
def test_after_a_publish_that_was_killed_every_view_is_of_the_one_or_the_other_revision(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    def publish() -> None:
        target, *_ = find_destinations(project, [f"{tmp_path}/pub"])
        with Session.open(project, target) as session:
            session.publish(later_by(1))

    def audited() -> Audit:
        root = (project.site / "catalog/metadata/1.root.json").read_bytes()
        trust = Trust(root, tmp_path / "cache", tmp_path / "marks")
        at = Instant.parse(later_by(1)).at
        order = Order(Policy(at=at), at, strict=True)
        return audit(FolderReader(tmp_path / "pub"), trust, order)

    push(project, "a")
    publish()
    push(project, "b")
    place = FolderObjects._place

    def killed(self: FolderObjects, resource: Resource, anew: bool = False) -> bool:
        if resource.path.endswith(key):
            raise Killed
        return place(self, resource, anew)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(FolderObjects, "_place", killed)
        publish()
    report = audited()
    assert {f.problem for f in report.findings} == {"unfinished", "unused"}
    assert report.exit_code == 19 and any("nobody has signed" in f.reason for f in report.findings)
    publish()
    assert audited().findings == []


def test_a_publish_that_is_made_up_is_not_taken_for_signed(machine: Machine) -> None:
    """A host that invents a revision is named as such, and never ends an audit with 0."""
    other = machine.folder / "other"
    shutil.copytree(machine.folder / "m", other, symlinks=True)
    (machine.folder / "c.tgz").write_bytes(chart_bytes("c", "6.6.6"))
    machine("-C", "other", "push", "--namespace", "ns", "c.tgz")
    for part in ("blobs", "nodes", "targets"):
        shutil.copytree(other / "site/catalog" / part, machine.folder / "pub/catalog" / part,
                        dirs_exist_ok=True)  # fmt: skip
    shutil.rmtree(machine.folder / "pub/cnr")
    shutil.copytree(other / "site/cnr", machine.folder / "pub/cnr", symlinks=True)
    head = json.loads(machine.run("--json", "-C", "other", "log", "-n", "1").stdout)[0]
    (at,) = (other / "site/catalog/targets").glob(f"{head['digest']}*")
    state = machine.folder / "pub/.cnrmirror/state.json"
    lease = {"run": "", "holder": {}, "time": "2026-01-02T03:04:05", "states": [],
             "to": {"digest": at.name.split(".")[0], "size": at.stat().st_size}}  # fmt: skip
    state.write_text(json.dumps({**json.loads(state.read_text()), "lease": lease}))
    found = findings(machine, 19)
    assert {problem for problem, _ in found} == {"unused", "unfinished"}


@pytest.mark.parametrize("umask", [0o077, 0o027])
def test_files_that_a_web_server_cannot_read_are_said(machine: Machine, umask: int) -> None:
    before = os.umask(umask)
    try:
        (machine.folder / "c.tgz").write_bytes(chart_bytes("c", "1.0.0"))
        machine("-C", "m", "push", "--namespace", "ns", "c.tgz")
        assert "readable by others" in machine(*PUBLISH)
        assert "readable by others" in machine("-C", "m", "check")
        assert "readable by others" in machine(*STRICT)
    finally:
        os.umask(before)
