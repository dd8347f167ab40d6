"""Mirrors carried in bundles: exactly the difference, proven before anything is taken in."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner
from werkzeug.test import Client

from cnrmirror.airgap import export as work
from cnrmirror.airgap.arrive import Imported, check_bundle
from cnrmirror.airgap.follow import follow
from cnrmirror.airgap.have import have, source_name, write_have
from cnrmirror.airgap.take import Terms, import_packages
from cnrmirror.archive.identify import Override
from cnrmirror.bundle.format import Contents, Selection
from cnrmirror.bundle.places import reader_for
from cnrmirror.bundle.read import BundleReader, read_contents
from cnrmirror.cli import cli
from cnrmirror.mirror import change, gc
from cnrmirror.mirror.check import check
from cnrmirror.mirror.home import online_folder
from cnrmirror.mirror.prepare import prepare
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.mirror.rotate import install_root
from cnrmirror.model.documents import Head, Upstream
from cnrmirror.model.errors import (
    BadSignature,
    CnrMirrorError,
    ConflictError,
    DamageError,
    IncompleteError,
    InputError,
    InvalidDocument,
    NewerFormat,
    NotFoundError,
    Rollback,
    StaleError,
    TrustError,
    UsageError,
)
from cnrmirror.model.format import KNOWN
from cnrmirror.model.receipt import Receipt
from cnrmirror.server.app import Application
from cnrmirror.server.bundle import BundleMirror
from cnrmirror.sync.open import open_sources
from cnrmirror.sync.run import sync
from cnrmirror.trust import rotation
from cnrmirror.trust.keys import KeyFolder, generate, write_key
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import NOW, chart_bytes, tar_gz
from tests.mirrors import ROOT_KEYS, key, make, reopen

CLOCK = datetime.fromisoformat(NOW).replace(tzinfo=UTC) + timedelta(hours=1)
ROOT = Path(__file__).parents[1]
KILLS = int(os.environ.get("CNRMIRROR_KILLS", "40"))
FLIPS = int(os.environ.get("CNRMIRROR_FLIPS", "1000"))


def add(project: Project, name: str, release: str, *channels: str, now: str = NOW) -> None:
    path = project.folder.parent / f"{name}-{release}.tgz"
    path.write_bytes(chart_bytes(name, release))
    push(project, [path], Override(namespace="ns", release=release), now, What(channels))


def fill(project: Project, count: int) -> None:
    """Packages enough for several small volumes, in one revision."""
    paths = []
    for number in range(count):
        paths.append(project.folder.parent / f"p{number}-1.0.0.tgz")
        paths[-1].write_bytes(chart_bytes(f"p{number}", "1.0.0"))
    push(project, paths, Override(namespace="ns"), NOW)


def export(
    project: Project, folder: Path, since: str = "", size: int = 0, **filters: Any
) -> Contents:
    signed = project.metadata.signed_head()
    cut = Selection(signed.at.digest, since, size, **filters)
    return work.write(project, folder, work.plan(project, cut, signed))


def pinned(project: Project) -> bytes:
    return (project.metadata.path / "1.root.json").read_bytes()


def follower(folder: Path, sender: Project) -> Project:
    prepare(folder, sender.config.id)
    (folder / "root.json").write_bytes(pinned(sender))
    with (folder / "mirror.yaml").open("a") as config:
        config.write("follow: root.json\n")
    return Project(folder)


def bring(
    project: Project, *places: Path, sender: Project | None = None, policy: Policy = Policy()
) -> Imported:
    """Import as the command does: into a follower, or (with ``sender``) beside its own packages."""
    reader = BundleReader(list(places))
    check_bundle(project, reader)
    if sender is None:
        return follow(project, reader, policy, CLOCK)
    state = project.folder.parent / f"trust-{project.folder.name}"
    trust = Trust(pinned(sender), state / "cache", state / "marks")
    return import_packages(project, reader, Terms(trust, policy, CLOCK, NOW))


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder by its digest; links by where they lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def run(*arguments: str, code: int = 0) -> str:
    """The command line in this process: its output."""
    done = CliRunner().invoke(cli, list(arguments), standalone_mode=False)
    if isinstance(done.exception, CnrMirrorError):
        assert done.exception.exit_code == code, done.exception.message
        return done.exception.message
    returned = done.return_value if isinstance(done.return_value, int) else done.exit_code
    assert (returned or 0) == code, (done.output, done.exception)
    return str(done.output)


@pytest.fixture
def sender(tmp_path: Path) -> Project:
    project = make(tmp_path / "a", "00000000-0000-4000-8000-00000000000a")
    add(project, "a", "1.0.0", "stable")
    add(project, "b", "1.0.0")
    return project


@pytest.fixture
def receiver(tmp_path: Path, sender: Project) -> Project:
    return follower(tmp_path / "b", sender)


@pytest.fixture
def own(tmp_path: Path) -> Project:
    project = make(tmp_path / "d", "00000000-0000-4000-8000-00000000000d")
    path = tmp_path / "mine.tgz"
    path.write_bytes(chart_bytes("mine", "1.0.0"))
    push(project, [path], Override(namespace="own"), NOW)
    return project


# -- the same bytes --------------------------------------------------------------------------------


def test_the_same_export_is_the_same_bytes_on_any_copy_of_the_mirror(
    tmp_path: Path, sender: Project
) -> None:
    export(sender, tmp_path / "1", size=100_000)
    export(sender, tmp_path / "2", size=100_000)
    export(sender, tmp_path / "2", size=100_000)  # into the same folder again
    shutil.copytree(sender.folder, tmp_path / "copy", symlinks=True)
    export(reopen(tmp_path / "copy"), tmp_path / "3", size=100_000)
    assert tree(tmp_path / "1") == tree(tmp_path / "2") == tree(tmp_path / "3")


def test_one_volume_is_made_again_though_the_mirror_went_on(
    tmp_path: Path, sender: Project
) -> None:
    fill(sender, 80)
    out = tmp_path / "out"
    made = export(sender, out, size=100_000)
    assert len(made.volumes) > 2
    add(sender, "a", "2.0.0")
    assert sender.signer is not None
    sender.signer.refresh("2026-01-03T00:00:00")  # type: ignore[attr-defined]
    for number in range(1, len(made.volumes) + 1):
        again = tmp_path / f"again{number}"
        run("-C", str(sender.folder), "export", str(again), "--again", str(out / "bundle.json"),
            "--volume", str(number))  # fmt: skip
        name = made.volumes[number - 1].name
        assert [p.name for p in again.iterdir()] == [name]
        assert (again / name).read_bytes() == (out / name).read_bytes()
    run("-C", str(sender.folder), "export", str(tmp_path / "all"), "--again", f"{out}/bundle.json")
    assert tree(tmp_path / "all") == tree(out)


def test_a_volume_whose_files_are_gone_is_not_made_again(tmp_path: Path, sender: Project) -> None:
    made = export(sender, tmp_path / "out")
    change.remove(sender, change.Removal("ns/a", "1.0.0", None, "x"), NOW)
    later = (CLOCK + timedelta(days=30)).replace(tzinfo=None).isoformat()
    for path in sender.site.rglob("*"):
        os.utime(path, (0, 0), follow_symlinks=False)
    gc.collect(sender, 1, 0, later, False)
    with pytest.raises(ConflictError, match="export anew"):
        work.plan_again(sender, made)


def test_another_bundle_in_the_folder_is_not_overwritten(tmp_path: Path, sender: Project) -> None:
    export(sender, tmp_path / "out")
    before = tree(tmp_path / "out")
    add(sender, "c", "1.0.0")
    with pytest.raises(ConflictError, match="another folder"):
        export(sender, tmp_path / "out")
    assert tree(tmp_path / "out") == before
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "volume-009.tar").touch()
    with pytest.raises(ConflictError, match="volumes of another bundle"):
        export(sender, tmp_path / "killed")


def test_a_dry_run_tells_the_size_to_the_byte_and_writes_nothing(
    tmp_path: Path, sender: Project
) -> None:
    told = run("--json", "-C", str(sender.folder), "export", str(tmp_path / "out"), "--dry-run")
    assert not (tmp_path / "out").exists()
    export(sender, tmp_path / "out")
    assert json.loads(told)["bytes"] == sum(p.stat().st_size for p in tmp_path.glob("out/*.tar"))


# -- round trips -----------------------------------------------------------------------------------


def test_a_follower_becomes_the_sender_file_for_file(
    tmp_path: Path, sender: Project, receiver: Project
) -> None:
    made = export(sender, tmp_path / "out", size=100_000)
    done = bring(receiver, tmp_path / "out")
    assert done.catalog == made.cut.catalog == sender.head().catalog.digest
    assert tree(receiver.site) == tree(sender.site)
    assert check(receiver).findings == []
    before = tree(receiver.folder)
    assert bring(receiver, tmp_path / "out").blobs == 0
    after = tree(receiver.folder)
    assert {n for n in after if after[n] != before.get(n)} <= {".state/scratch/lock"}


def test_volumes_on_several_read_only_media_are_one_bundle(
    tmp_path: Path, sender: Project, receiver: Project
) -> None:
    fill(sender, 60)
    made = export(sender, tmp_path / "out", size=100_000)
    media = []
    for volume in reversed(made.volumes):
        media.append(tmp_path / "media" / volume.name[:-4])
        media[-1].mkdir(parents=True)
        shutil.copy(tmp_path / "out" / volume.name, media[-1])
    shutil.copy(tmp_path / "out" / "bundle.json", media[1])
    for path in (tmp_path / "media").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = tree(tmp_path / "media")
    assert len(media) > 1
    bring(receiver, *media)
    assert tree(receiver.site) == tree(sender.site)
    assert tree(tmp_path / "media") == before


def change_something(project: Project, chance: random.Random, step: int) -> None:
    name = f"p{chance.randrange(6)}"
    document = project.catalog.get(project.tree(), f"ns/{name}")
    releases = document.versions() if document else []
    match chance.randrange(7):
        case 0 | 1 | 2:
            add(project, name, f"{chance.randrange(3)}.{step}.0", *chance.choice([(), ("edge",)]))
        case 3 if releases:
            change.remove(
                project, change.Removal(f"ns/{name}", chance.choice(releases), None, "a test"), NOW
            )
        case 4 if releases:
            change.set_channel(project, f"ns/{name}", "stable", chance.choice(releases), NOW)
        case 5:
            revision = max(0, project.head().revision - chance.randrange(1, 4))
            change.rollback(project, str(revision), NOW)
        case 6 if document and document.channels:
            change.remove_channel(project, f"ns/{name}", document.channels[0].name, None, NOW)


def offline(tmp_path: Path) -> KeyFolder:
    folder = tmp_path / "offline"
    if not folder.exists():
        for name in (*ROOT_KEYS, "targets"):
            write_key(folder, name, key(name), None)
    return KeyFolder(folder)


def rotate(project: Project, keys: KeyFolder, purpose: str) -> None:
    new = generate()
    write_key(online_folder(project.config.id), purpose, new, None)
    signed: Any = project.signer
    if purpose == "publish":
        signed.renew_targets(new.public_key, keys, NOW)
        signed.sign_revision(project.head(), NOW)
    else:
        old = signed.root().roles["timestamp"].keyids[0]
        proposal = rotation.propose(signed, {old: new.public_key}, None, NOW)
        rotation.sign(proposal, keys)
        install_root(project, signed, proposal, NOW)


def statement(project: Project) -> str:
    """The catalog that a receiver says it has; "" before anything was imported."""
    try:
        return have(project, NOW).catalog
    except NotFoundError:
        return ""


def documents(project: Project, namespace: str) -> dict[str, Any]:
    """The packages of a namespace: releases by their archives, and channels."""
    found = {}
    for ref in project.catalog.packages(project.tree()):
        document = project.catalog.document(ref)
        if ref.name.startswith(f"{namespace}/") and document.releases:
            releases = {r.key: (r.blob.digest, r.content) for r in document.releases}
            found[ref.name] = (releases, document.channels)
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_twenty_rounds_of_changes_carried_as_differences_come_out_right(
    tmp_path: Path, sender: Project, own: Project, seed: int
) -> None:
    chance = random.Random(seed)
    every, some = follower(tmp_path / "b", sender), follower(tmp_path / "c", sender)
    keys = offline(tmp_path)
    for step in range(20):
        for _ in range(chance.randrange(1, 5)):
            change_something(sender, chance, step)
        if step in (5, 12):
            rotate(sender, keys, "publish" if step == 5 else "refresh")
        if step % 7 == 3:
            sender.signer.refresh(NOW)  # type: ignore[union-attr]
        if step % 6 == 4:
            gc.collect(sender, 5, 0, _far(sender), False)
        last = step == 19
        for project in (every, some, own):
            if not (last or project is every or chance.random() < 0.4):
                continue
            since = statement(project)
            out = tmp_path / f"out-{step}-{project.folder.name}"
            try:
                export(sender, out, since)
            except NotFoundError:  # collected since: the message says to export all of it
                export(sender, out)
            bring(project, out, sender=sender if project is own else None)
            assert check(project).findings == []
            shutil.rmtree(out)
    for project in (every, some):
        assert project.head() == sender.head()
        gc.collect(project, 1, 0, _far(project), False)
        gc.collect(sender, 5, 0, _far(sender), False)
        assert {k: v for k, v in tree(project.site).items() if "/catalog" not in f"/{k}"} == {
            k: v for k, v in tree(sender.site).items() if "/catalog" not in f"/{k}"
        }
    out = tmp_path / "last"
    export(sender, out, statement(every))
    for project in (every, some):
        bring(project, out)
        gc.collect(project, 1, 0, _far(project), False)
        assert tree(project.site) == tree(sender.site)
    assert documents(own, "ns") == documents(sender, "ns")
    assert list(documents(own, "own")) == ["own/mine"]


def _far(project: Project) -> str:
    """Long after everything in a mirror."""
    for path in (project.site / "catalog").rglob("*"):
        os.utime(path, (0, 0))
    return "2026-01-02T04:00:00"


@pytest.mark.parametrize("remembers", [True, False])
def test_a_follower_drops_what_its_sender_has_dropped_with_the_next_command_or_gc(
    tmp_path: Path, sender: Project, receiver: Project, remembers: bool
) -> None:
    export(sender, tmp_path / "1")
    bring(receiver, tmp_path / "1")
    change.remove(sender, change.Removal("ns/b", "1.0.0", None, "x"), NOW)
    gc.collect(sender, 1, 0, _far(sender), False)
    export(sender, tmp_path / "2")
    bring(receiver, tmp_path / "2")
    assert tree(receiver.site) != tree(sender.site)  # somebody may still be reading
    if remembers:
        with receiver.alone():
            pass
    else:
        receiver.layout.retiring.unlink()
        assert gc.collect(receiver, 1, 0, _far(receiver), False).files
    assert tree(receiver.site) == tree(sender.site)


# -- what is refused -------------------------------------------------------------------------------


def untouched(project: Project, action: Callable[[], object], error: type[Exception]) -> str:
    """The message of an import that must fail and change nothing."""
    before = tree(project.folder)
    with pytest.raises(error) as caught:
        action()
    after = tree(project.folder)
    changed = {n for n in after.keys() | before.keys() if after.get(n) != before.get(n)}
    assert {name for name in changed if not name.endswith("lock")} == set()
    assert isinstance(caught.value, CnrMirrorError)
    return caught.value.message


def test_a_difference_without_what_it_continues_from_keeps_nothing_out(
    tmp_path: Path, sender: Project, receiver: Project, own: Project
) -> None:
    first = export(sender, tmp_path / "1")
    add(sender, "a", "2.0.0")
    export(sender, tmp_path / "2", first.cut.catalog)
    for project, given_by in ((receiver, None), (own, sender)):
        message = untouched(
            project, partial(bring, project, tmp_path / "2", sender=given_by),
            IncompleteError,
        )  # fmt: skip
        assert "continues from revision 2, and here is nothing" in message
        assert "cnrmirror have" in message
        bring(project, tmp_path / "1", sender=given_by)
        bring(project, tmp_path / "2", sender=given_by)
    assert tree(receiver.site) == tree(sender.site)
    assert documents(own, "ns") == documents(sender, "ns")


def test_an_older_bundle_is_refused(
    tmp_path: Path, sender: Project, receiver: Project, own: Project
) -> None:
    export(sender, tmp_path / "1")
    add(sender, "a", "2.0.0")
    export(sender, tmp_path / "2")
    for project, given_by in ((receiver, None), (own, sender)):
        bring(project, tmp_path / "2", sender=given_by)
        message = untouched(
            project, partial(bring, project, tmp_path / "1", sender=given_by), Rollback
        )
        assert "older than what was imported before" in message


def forget(project: Project) -> None:
    """Lose all that a mirror keeps beside its public files."""
    shutil.rmtree(project.layout.state)
    shutil.rmtree(project.folder.parent / f"trust-{project.folder.name}", ignore_errors=True)


def three(tmp_path: Path, sender: Project) -> None:
    """Three whole bundles of one sender, each of a newer revision than the one before."""
    for name in ("1", "2", "3"):
        export(sender, tmp_path / name)
        add(sender, "a", f"{name}.5.0")


def test_a_follower_that_lost_its_memory_refuses_what_is_older_than_its_own_site(
    tmp_path: Path, sender: Project, receiver: Project
) -> None:
    three(tmp_path, sender)
    bring(receiver, tmp_path / "2")
    before = tree(receiver.site)
    forget(receiver)
    with pytest.raises(Rollback, match="older than what was imported before"):
        bring(receiver, tmp_path / "1")
    assert tree(receiver.site) == before
    assert bring(receiver, tmp_path / "2").blobs == 0
    assert tree(receiver.site) == before
    assert list(receiver.layout.trust_memory.glob("*.json"))  # it is known again
    bring(receiver, tmp_path / "3")
    assert check(receiver).findings == []


def test_a_memory_from_an_old_copy_does_not_let_an_older_bundle_in(
    tmp_path: Path, sender: Project, receiver: Project
) -> None:
    three(tmp_path, sender)
    bring(receiver, tmp_path / "1")
    shutil.copytree(receiver.layout.state, tmp_path / "state", symlinks=True)
    bring(receiver, tmp_path / "3")
    shutil.rmtree(receiver.layout.state)
    shutil.copytree(tmp_path / "state", receiver.layout.state, symlinks=True)
    for name in ("1", "2"):
        with pytest.raises(Rollback):
            bring(receiver, tmp_path / name)
    bring(receiver, tmp_path / "3")
    assert check(receiver).findings == []


def test_a_site_from_an_old_copy_does_not_let_an_older_bundle_in(
    tmp_path: Path, sender: Project, receiver: Project
) -> None:
    three(tmp_path, sender)
    bring(receiver, tmp_path / "1")
    shutil.copytree(receiver.site, tmp_path / "site", symlinks=True)
    bring(receiver, tmp_path / "3")
    shutil.rmtree(receiver.site)
    shutil.copytree(tmp_path / "site", receiver.site, symlinks=True)
    shutil.rmtree(receiver.layout.scratch)  # at which revision the views stand is said there
    receiver = Project(receiver.folder)
    with pytest.raises(Rollback):
        bring(receiver, tmp_path / "2")
    bring(receiver, tmp_path / "3")
    assert check(receiver).findings == []


def test_a_forked_history_is_seen_without_a_memory(
    tmp_path: Path, sender: Project, receiver: Project
) -> None:
    shutil.copytree(sender.folder, tmp_path / "fork", symlinks=True)
    fork = reopen(tmp_path / "fork")
    add(sender, "a", "2.0.0")
    add(fork, "a", "3.0.0")
    export(sender, tmp_path / "1")
    export(fork, tmp_path / "2")
    bring(receiver, tmp_path / "1")
    forget(receiver)
    with pytest.raises(TrustError):
        bring(receiver, tmp_path / "2")
    assert receiver.head() == sender.head()


@pytest.mark.parametrize("name", ["1.root.json", "1.targets.json", "targets"])
def test_a_follower_that_lost_files_and_memory_is_made_whole_by_the_next_bundle(
    tmp_path: Path, sender: Project, receiver: Project, name: str
) -> None:
    three(tmp_path, sender)
    bring(receiver, tmp_path / "2")
    forget(receiver)
    lost = receiver.metadata.path / name
    if name == "targets":
        lost = Path(receiver.store.root_path(receiver.head().catalog.digest))
    lost.unlink()
    with pytest.raises(TrustError):
        bring(receiver, tmp_path / "1")
    bring(receiver, tmp_path / "3")
    assert check(receiver).findings == []


def record(project: Project, bundle: Path) -> None:
    """Record in the catalog, as a sync does, up to which state a sender was taken in."""
    receipt = Receipt.parse(read_contents(bundle / "bundle.json").receipt)
    upstream = Upstream(
        receipt.registry, receipt.revision, receipt.catalog, receipt.root, receipt.timestamp,
        receipt.time,
    )  # fmt: skip
    root = msgspec.structs.replace(
        project.root(), upstreams={source_name(receipt.registry): upstream}
    )
    assert project.signer is not None
    project.signer.sign_revision(Head(project.store.put(root), root.revision), NOW)
    project.builder.bring_up(project.head())


def test_a_mirror_with_own_packages_holds_a_sender_to_what_its_catalog_records(
    tmp_path: Path, sender: Project, own: Project
) -> None:
    three(tmp_path, sender)
    known = read_contents(tmp_path / "2" / "bundle.json").cut.catalog
    bring(own, tmp_path / "2", sender=sender)
    record(own, tmp_path / "2")
    shutil.rmtree(own.layout.memory)
    shutil.rmtree(tmp_path / "trust-d")
    before = documents(own, "ns")
    with pytest.raises(Rollback, match="older than what was imported before"):
        bring(own, tmp_path / "1", sender=sender)
    assert documents(own, "ns") == before
    assert have(own, NOW).catalog == known
    export(sender, tmp_path / "4", known)  # a difference is cut, and taken in
    bring(own, tmp_path / "4", sender=sender)
    assert documents(own, "ns") == documents(sender, "ns")
    assert have(own, NOW).catalog == sender.head().catalog.digest


def test_a_mirror_with_own_packages_that_lost_its_scratch_asks_for_a_whole_bundle(
    tmp_path: Path, sender: Project, own: Project
) -> None:
    three(tmp_path, sender)
    known = read_contents(tmp_path / "2" / "bundle.json").cut.catalog
    bring(own, tmp_path / "2", sender=sender)
    record(own, tmp_path / "2")
    export(sender, tmp_path / "4", known)
    forget(own)
    with pytest.raises(NotFoundError, match="without --since"):
        have(own, NOW)  # or the next difference would lack what the last one left out
    with pytest.raises(Rollback):
        bring(own, tmp_path / "1", sender=sender)
    before = documents(own, "ns")
    with pytest.raises(
        IncompleteError, match="from revision 3, and here is revision 3, without its nodes"
    ):
        bring(own, tmp_path / "4", sender=sender)
    assert documents(own, "ns") == before
    bring(own, tmp_path / "3", sender=sender)
    export(sender, tmp_path / "5", have(own, NOW).catalog)
    bring(own, tmp_path / "5", sender=sender)
    assert documents(own, "ns") == documents(sender, "ns")


def test_a_bundle_of_another_registry_is_refused_by_a_follower(
    tmp_path: Path, sender: Project, receiver: Project, own: Project
) -> None:
    export(sender, tmp_path / "1")
    bring(receiver, tmp_path / "1")
    export(own, tmp_path / "2")
    untouched(receiver, lambda: bring(receiver, tmp_path / "2"), TrustError)


def test_two_senders_do_not_drop_each_others_packages(
    tmp_path: Path, sender: Project, own: Project
) -> None:
    second = make(tmp_path / "e", "00000000-0000-4000-8000-00000000000e")
    path = tmp_path / "z.tgz"
    path.write_bytes(chart_bytes("z", "1.0.0"))
    push(second, [path], Override(namespace="two"), NOW)
    export(sender, tmp_path / "1")
    export(second, tmp_path / "2")
    bring(own, tmp_path / "1", sender=sender)
    bring(own, tmp_path / "2", sender=second)
    found = {name for space in ("own", "ns", "two") for name in documents(own, space)}
    assert found == {"own/mine", "ns/a", "ns/b", "two/z"}
    with pytest.raises(UsageError, match="--registry"):
        have(own, NOW)
    assert have(own, NOW, sender.config.id).catalog == sender.head().catalog.digest


def test_a_bundle_that_names_another_registry_than_its_signed_files_is_refused(
    tmp_path: Path, sender: Project, own: Project
) -> None:
    made = export(sender, tmp_path / "1")
    path = tmp_path / "1" / "bundle.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(made, registry="other")))
    untouched(own, lambda: bring(own, tmp_path / "1", sender=sender), TrustError)


def test_a_bundle_of_a_forked_history_is_refused(
    tmp_path: Path, sender: Project, receiver: Project
) -> None:
    shutil.copytree(sender.folder, tmp_path / "fork", symlinks=True)
    fork = reopen(tmp_path / "fork")
    add(sender, "a", "2.0.0")
    add(fork, "a", "3.0.0")
    export(sender, tmp_path / "1")
    export(fork, tmp_path / "2")
    add(fork, "a", "4.0.0")
    export(fork, tmp_path / "3")
    bring(receiver, tmp_path / "1")
    for name in ("2", "3"):  # of the same number, and of a later one
        untouched(receiver, partial(bring, receiver, tmp_path / name), TrustError)
    with pytest.raises(NotFoundError, match="export without --since"):
        export(fork, tmp_path / "4", statement(receiver))
    assert check(receiver).findings == []


def test_a_receipt_is_held_against_what_comes(
    tmp_path: Path, sender: Project, receiver: Project
) -> None:
    made = export(sender, tmp_path / "1")
    wrong = Policy(expect="f" * 64)
    message = untouched(receiver, lambda: bring(receiver, tmp_path / "1", policy=wrong), TrustError)
    assert "the receipt says" in message
    bring(receiver, tmp_path / "1", policy=Policy(expect=made.cut.catalog))
    assert f"catalog={made.cut.catalog}" in made.receipt


def test_an_expired_bundle_needs_a_word(tmp_path: Path, sender: Project, receiver: Project) -> None:
    export(sender, tmp_path / "1")
    reader = BundleReader([tmp_path / "1"])
    late = CLOCK + timedelta(days=20)
    untouched(receiver, lambda: follow(receiver, reader, Policy(), late), StaleError)
    for allowed in (Policy(allow_expired=timedelta(days=30)), Policy(at=CLOCK)):
        done = follow(receiver, reader, allowed, late)
        assert not done.fresh and "NOT fresh" in done.notes[0]
        shutil.rmtree(receiver.folder)
        receiver = follower(receiver.folder, sender)


def test_superseded_signed_files_are_checked_too(
    tmp_path: Path, sender: Project, receiver: Project
) -> None:
    add(sender, "a", "2.0.0")
    old = sender.metadata.path / "2.catalog.json"
    good = json.loads(old.read_bytes())
    good["signed"]["expires"] = "2036-01-01T00:00:00Z"
    old.write_text(json.dumps(good, separators=(",", ":"), sort_keys=True))
    export(sender, tmp_path / "1")
    message = untouched(receiver, lambda: bring(receiver, tmp_path / "1"), TrustError)
    assert "2.catalog.json" in message


def test_a_mirror_that_follows_takes_no_part_and_no_push(
    tmp_path: Path, sender: Project, receiver: Project
) -> None:
    export(sender, tmp_path / "1", packages=["ns/a"])
    untouched(receiver, lambda: bring(receiver, tmp_path / "1"), InputError)
    with pytest.raises(UsageError, match="follows another mirror"):
        add(receiver, "x", "1.0.0")


# -- filters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"packages": ["ns/a"]}, ["ns/a@1.0.0", "ns/a@2.0.0"]),
        ({"packages": ["ns/*"], "exclude": ["*/a"]}, ["ns/b@1.0.0"]),
        ({"channels": ["stable"]}, ["ns/a@1.0.0"]),
        ({"releases": ">=2"}, ["ns/a@2.0.0"]),
        ({"media_types": ["helm"], "packages": ["/ns.b/"]}, ["ns/b@1.0.0"]),
        ({"media_types": ["kpm"]}, []),
    ],
    ids=str,
)
def test_a_part_brings_what_was_chosen_and_drops_nothing(
    tmp_path: Path, sender: Project, own: Project, filters: dict[str, Any], expected: list[str]
) -> None:
    add(sender, "a", "2.0.0")
    made = export(sender, tmp_path / "1", **filters)
    blobs = {e for e in BundleReader([tmp_path / "1"])._files if "/blobs/" in e}
    assert len(blobs) == len(expected)
    assert made.selected == sorted({name.partition("@")[0] for name in expected})
    bring(own, tmp_path / "1", sender=sender)
    found = [f"{n}@{k[0]}" for n, (releases, _) in documents(own, "ns").items() for k in releases]
    assert sorted(found) == expected
    with pytest.raises(NotFoundError):
        have(own, NOW)  # a part is no state to continue from
    export(sender, tmp_path / "2")
    bring(own, tmp_path / "2", sender=sender)
    export(sender, tmp_path / "3", packages=["ns/b"])
    bring(own, tmp_path / "3", sender=sender)
    assert documents(own, "ns") == documents(sender, "ns")


# -- sizes -----------------------------------------------------------------------------------------


def test_a_difference_and_a_whole_are_hardly_larger_than_what_they_carry(
    tmp_path: Path, sender: Project
) -> None:
    noise = random.Random(1)
    blobs = []
    for number in range(150):
        chart = f"name: p{number}\nversion: 1.0.0\n".encode()
        data = tar_gz({f"p{number}/Chart.yaml": chart, f"p{number}/n": noise.randbytes(120_000)})
        blobs.append(tmp_path / f"p{number}-1.0.0.tgz")
        blobs[-1].write_bytes(data)
    push(sender, blobs, Override(namespace="many"), NOW)
    whole = export(sender, tmp_path / "whole")
    catalog = sum(p.stat().st_size for p in (sender.site / "catalog").rglob("*") if p.is_file())
    assert _size(tmp_path / "whole") <= 1.02 * catalog
    add(sender, "a", "2.0.0")
    blob = sender.document("ns/a").of_release("2.0.0")[0].blob.size
    export(sender, tmp_path / "difference", whole.cut.catalog)
    assert _size(tmp_path / "difference") <= blob + 64_000


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


# -- damage ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Project, Project]:
    """A bundle of several volumes, its sender, and a follower at an older state."""
    folder = tmp_path_factory.mktemp("carried")
    sender = make(folder / "a", "00000000-0000-4000-8000-00000000000a")
    add(sender, "a", "1.0.0", "stable")
    receiver = follower(folder / "b", sender)
    export(sender, folder / "old")
    bring(receiver, folder / "old")
    fill(sender, 100)
    export(sender, folder / "out", size=100_000)
    return folder, sender, receiver


def refused(carried: tuple[Path, Project, Project], bundle: Path, *volumes: str) -> None:
    _, _, receiver = carried
    message = untouched(receiver, lambda: bring(receiver, bundle), DamageError)
    assert [v for v in _names(bundle) if v in message] == sorted(volumes)
    numbers = ", ".join(str(int(name[7:10])) for name in sorted(volumes))
    assert f"--again bundle.json --volume N' (N: {numbers})" in message


def _names(bundle: Path) -> list[str]:
    return [volume.name for volume in read_contents(bundle / "bundle.json").volumes]


def test_every_volume_truncated_missing_swapped_or_foreign_is_named(
    tmp_path: Path, carried: tuple[Path, Project, Project]
) -> None:
    folder, sender, _ = carried
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    names = _names(out)
    assert len(names) >= 3
    export(sender, tmp_path / "other", size=150_000)
    for name in names:
        whole = (out / name).read_bytes()
        for damage in (whole[:-1], whole[:512], b"", whole + b"\0"):
            (out / name).write_bytes(damage)
            refused(carried, out, name)
        (out / name).unlink()
        refused(carried, out, name)
        foreign = (tmp_path / "other" / "volume-001.tar").read_bytes()
        (out / name).write_bytes((foreign + whole)[: len(whole)])
        refused(carried, out, name)
        (out / name).write_bytes(whole)
    (out / names[0]).rename(out / "x")
    (out / names[1]).rename(out / names[0])
    (out / "x").rename(out / names[1])
    refused(carried, out, names[0], names[1])
    (out / "bundle.json").unlink()
    untouched(carried[2], lambda: bring(carried[2], out), IncompleteError)


def test_a_bit_flipped_anywhere_is_found_and_its_volume_named(
    tmp_path: Path, carried: tuple[Path, Project, Project]
) -> None:
    folder, _, receiver = carried
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    dice = random.Random(5)
    before = tree(receiver.folder)
    sizes = {name: (out / name).stat().st_size for name in _names(out)}
    for _ in range(FLIPS):
        name = dice.choice(sorted(sizes))
        with (out / name).open("r+b", buffering=0) as volume:
            where = dice.randrange(sizes[name])
            volume.seek(where)
            byte = volume.read(1)[0]
            volume.seek(where)
            volume.write(bytes([byte ^ 1 << dice.randrange(8)]))
            with pytest.raises(DamageError) as caught:
                bring(receiver, out)
            assert [n for n in sizes if n in caught.value.message] == [name]
            volume.seek(where)
            volume.write(bytes([byte]))
    assert tree(receiver.folder) == before


def test_damage_that_the_digests_hide_is_not_taken_in(
    tmp_path: Path, sender: Project, receiver: Project
) -> None:
    export(sender, tmp_path / "first")
    bring(receiver, tmp_path / "first")
    add(sender, "a", "2.0.0", "stable")
    made = export(sender, tmp_path / "out")
    dice = random.Random(6)
    path = tmp_path / "out" / "volume-001.tar"
    whole = path.read_bytes()
    taken = 0
    for _ in range(60):
        data = bytearray(whole)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        volume = msgspec.structs.replace(made.volumes[0], digest=hashlib.sha256(data).hexdigest())
        hidden = msgspec.structs.replace(made, volumes=[volume])
        (tmp_path / "out" / "bundle.json").write_bytes(msgspec.json.encode(hidden))
        shutil.copytree(receiver.folder, tmp_path / "copy", symlinks=True)
        victim = Project(tmp_path / "copy")
        try:
            bring(victim, tmp_path / "out")  # a bit of the padding or of a header harms nobody
            assert victim.head() == sender.head()
            taken += 1
        except CnrMirrorError:
            assert victim.head() == receiver.head()
        assert check(victim).findings == []
        shutil.rmtree(tmp_path / "copy")
    assert 0 < taken < 60


# -- kills -----------------------------------------------------------------------------------------


def started(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "cnrmirror", *arguments], cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def killed(dice: random.Random, whole: float, *arguments: str) -> None:
    process = started(*arguments)
    time.sleep(dice.uniform(0.3, 1.0) * whole)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_killed_at_any_moment_export_and_import_are_finished_by_the_next_run(
    tmp_path: Path,
) -> None:
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    sender = make(tmp_path / "a", "kills", now)
    receiver = follower(tmp_path / "b", sender)
    dice = random.Random(3)
    paths = []
    for number in range(60):
        paths.append(tmp_path / f"p{number}-1.0.0.tgz")
        paths[-1].write_bytes(chart_bytes(f"p{number}", "1.0.0"))
    push(sender, paths, Override(namespace="ns"), now)
    export(sender, tmp_path / "first")
    begun = time.monotonic()
    process = started("-C", str(receiver.folder), "import", str(tmp_path / "first"))
    assert process.wait() == 0
    whole = time.monotonic() - begun
    for number in range(KILLS // 2):
        paths = [tmp_path / f"k{number}-{n}-1.0.0.tgz" for n in range(10)]
        for n, path in enumerate(paths):
            path.write_bytes(chart_bytes(f"k{number}-{n}", "1.0.0"))
        push(sender, paths, Override(namespace="ns"), now)
        since, out = statement(receiver), tmp_path / f"out{number}"
        arguments = ("-C", str(sender.folder), "export", str(out), "--since", since)
        killed(dice, whole, *arguments)
        job = export(sender, out, since)
        assert read_contents(out / "bundle.json") == job
        assert [p.name for p in out.glob(".*")] == []
        before = receiver.head()
        killed(dice, whole, "-C", str(receiver.folder), "import", str(out))
        assert receiver.head() in (before, sender.head())
        if number % 5 == 0:
            assert check(receiver).findings == []
        clock = datetime.now(UTC)
        follow(receiver, BundleReader([out]), Policy(), clock)
        assert receiver.head() == sender.head()
        shutil.rmtree(out)
    assert check(receiver).findings == []
    assert tree(receiver.site) == tree(sender.site)


# -- as it lies ------------------------------------------------------------------------------------


def test_a_bundle_is_a_source_of_sync(tmp_path: Path, own: Project) -> None:
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    sender = make(tmp_path / "s", "00000000-0000-4000-8000-00000000000f", now)
    add(sender, "a", "1.0.0", "stable", now=now)
    export(sender, tmp_path / "out")
    (own.folder / "root.json").write_bytes(pinned(sender))
    config = yaml.safe_load((own.folder / "mirror.yaml").read_text())
    source = {"type": "mirror", "location": str(tmp_path / "out"), "root": "root.json"}
    config["sources"] = {"carried": source}
    (own.folder / "mirror.yaml").write_text(yaml.safe_dump(config))
    project = reopen(own.folder)
    report = sync(project, open_sources(project, [], {}, reader_for), NOW)
    assert report.exit_code == 0, report
    assert documents(project, "ns") == documents(sender, "ns")


def test_commands_read_a_bundle_as_they_read_a_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    sender = make(tmp_path / "s", "00000000-0000-4000-8000-00000000000f", now)
    add(sender, "a", "1.0.0", "stable", now=now)
    export(sender, tmp_path / "out")
    root = ("--root", str(sender.metadata.path / "1.root.json"))
    bundle, site = str(tmp_path / "out"), str(sender.site)
    for command in (("list",), ("show", "ns/a"), ("search", "a")):
        assert run(*command, "--from", bundle, *root) == run(*command, "--from", site, *root)
    run("pull", "ns/a:stable", "--from", bundle, *root, "--dest", str(tmp_path / "pulled"))
    assert (tmp_path / "pulled" / "ns_a_1.0.0" / "a" / "Chart.yaml").is_file()
    assert "all well" in run("check", "--from", bundle, *root, "--strict")
    lone = tmp_path / "out" / "volume-001.tar"
    assert run("list", "--from", str(lone), *root) == run("list", "--from", bundle, *root)


def test_serving_a_bundle_answers_as_serving_the_mirror(tmp_path: Path, sender: Project) -> None:
    export(sender, tmp_path / "out", size=100_000)
    mirror = Client(Application(sender))
    bundle = Client(Application(BundleMirror(BundleReader([tmp_path / "out"]))))
    base = "/cnr/api/v1/packages"
    digest = sender.document("ns/a").releases[0].content.digest
    paths = [f"/{p}" for p in tree(sender.site) if p.startswith("catalog/")]
    paths += ["/", "/cnr/version", base, f"{base}?namespace=ns", f"{base}/search?q=a"]
    paths += [f"{base}/ns/a{rest}" for rest in (
        "", "/1.0.0", "/1.0.0/helm", "/1.0.0/helm/pull", "/1.0.0/helm/pull/json", "/channels",
        "/channels/stable", "/default/-/pull", f"/blobs/sha256/{digest}", "/9.9.9")]  # fmt: skip
    for path in paths:
        one, other = mirror.get(path, buffered=True), bundle.get(path, buffered=True)
        assert (other.status_code, other.data) == (one.status_code, one.data), path
        assert other.headers.get("Content-Type") == one.headers.get("Content-Type")
    assert mirror.get(f"{base}/ns/a/1.0.0/helm/pull", buffered=True).status_code == 200


def test_a_difference_or_a_part_is_not_served(tmp_path: Path, sender: Project) -> None:
    first = export(sender, tmp_path / "1", packages=["ns/a"])
    export(sender, tmp_path / "2", first.cut.catalog)
    for name in ("1", "2"):
        with pytest.raises(InputError, match="only a whole bundle can be served"):
            BundleMirror(BundleReader([tmp_path / name]))


# -- statements ------------------------------------------------------------------------------------


@pytest.fixture
def stated(tmp_path: Path, sender: Project, receiver: Project) -> dict[str, Any]:
    export(sender, tmp_path / "first")
    bring(receiver, tmp_path / "first")
    document: dict[str, Any] = json.loads(write_have(have(receiver, NOW), key("receiver")))
    return document


def test_a_difference_is_cut_from_a_statement_a_receipt_or_a_revision(
    tmp_path: Path, sender: Project, stated: dict[str, Any]
) -> None:
    receipt = read_contents(tmp_path / "first" / "bundle.json").receipt
    (tmp_path / "have.json").write_text(json.dumps(stated))
    (tmp_path / "receipt.txt").write_text(receipt + "\n")
    add(sender, "a", "2.0.0")
    known = stated["signed"]["catalog"]
    for text in (str(tmp_path / "have.json"), receipt, str(tmp_path / "receipt.txt"), "2", known):
        assert work.since_digest(sender, text) == known


@pytest.mark.parametrize(
    "change",
    [{"signed": {"kind": "have"}}, {"signature": "00"}, {"signature": 5}, {"keyid": 5},
     {"key": []}, {"key": {"keytype": "x", "scheme": "y", "keyval": {"public": "z"}}},
     {"key": {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": 7}}},
     {"signed": 10**400}, {"signed": None}, {"key": None}, {"keyid": None}],
    ids=lambda c: str(c)[:40],
)  # fmt: skip
def test_a_statement_that_was_altered_is_refused(
    tmp_path: Path, sender: Project, stated: dict[str, Any], change: dict[str, Any]
) -> None:
    path = tmp_path / "have.json"
    path.write_text(json.dumps({**stated, **change}))
    with pytest.raises((BadSignature, InvalidDocument)):
        work.since_digest(sender, str(path))


def test_a_statement_says_in_which_format_it_is_and_a_newer_one_is_named(
    tmp_path: Path, sender: Project, stated: dict[str, Any]
) -> None:
    assert stated["signed"]["format"] == msgspec.to_builtins(KNOWN)
    signer = key("receiver")
    for versions, error in (({"read": 2, "write": 2}, NewerFormat), (None, None)):
        signed = {k: v for k, v in stated["signed"].items() if k != "format"}
        signed |= {"format": versions} if versions else {}
        signature = signer.sign(msgspec.json.encode(signed, order="sorted")).signature
        path = tmp_path / "have.json"
        path.write_text(json.dumps({**stated, "signed": signed, "signature": signature}))
        if error is None:  # as it was before there were formats
            assert work.since_digest(sender, str(path)) == signed["catalog"]
        else:
            with pytest.raises(error, match="newer cnrmirror"):
                work.since_digest(sender, str(path))


def test_a_statement_of_another_registry_is_refused(
    tmp_path: Path, own: Project, stated: dict[str, Any]
) -> None:
    (tmp_path / "have.json").write_text(json.dumps(stated))
    for text in (
        str(tmp_path / "have.json"),
        read_contents(tmp_path / "first/bundle.json").receipt,
    ):
        with pytest.raises(InputError, match="that is of registry"):
            work.since_digest(own, text)
