"""Publishing: only what changed, in an order that never breaks a reader, and nobody's work lost."""

from __future__ import annotations

import errno
import json
import random
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.mirror import change, hosts
from cnrmirror.mirror.check import check
from cnrmirror.mirror.gc import collect
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.model.destination import Holder
from cnrmirror.model.errors import BusyError, ConflictError, InputError, StorageError, UsageError
from cnrmirror.model.finding import OTHER_BYTES, OTHER_SIZE
from cnrmirror.objects.base import STATE
from cnrmirror.objects.files import storage_errors
from cnrmirror.publish.engine import Published
from cnrmirror.publish.open import DestinationMemory, find_destinations
from cnrmirror.publish.plan import Operation, Plan, invalidations
from cnrmirror.publish.session import Session
from tests.conftest import chart_bytes
from tests.mirrors import make, reopen
from tests.places import (
    API,
    Killed,
    WatchedObjects,
    files,
    reader_sees_no_gap,
    verified_reader_sees_no_gap,
)

BUCKET = PublishTo(to="s3://memory/x", grace_minutes=0)
CLOCK = datetime.now(UTC).replace(tzinfo=None)
NOW = CLOCK.isoformat()


def later(minutes: float) -> str:
    return (CLOCK + timedelta(minutes=minutes)).isoformat()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make(tmp_path / "mirror", "00000000-0000-4000-8000-000000000002", NOW)


def add(project: Project, name: str, release: str, *channels: str, text: str = "") -> None:
    path = project.folder.parent / f"{name}-{release}{text}.tgz"
    path.write_bytes(chart_bytes(name, release, text))
    push(project, [path], Override(namespace="ns", release=release), NOW, What(channels))


def session(project: Project, objects: dict[str, bytes], target: PublishTo = BUCKET) -> Session:
    destination = WatchedObjects(project.store, objects)
    return Session(project, target, DestinationMemory(project, target), destination)


def published(project: Project, target: PublishTo = BUCKET, now: str = NOW) -> dict[str, bytes]:
    """What a first publish of the mirror gives, but for the state."""
    objects: dict[str, bytes] = {}
    session(project, objects, target).publish(now)
    return shown(objects)


def shown(objects: dict[str, bytes]) -> dict[str, bytes]:
    return {key: data for key, data in objects.items() if not key.startswith(".cnrmirror/")}


def change_something(project: Project, chance: random.Random, step: int) -> None:
    name = f"p{chance.randrange(4)}"
    document = project.catalog.get(project.tree(), f"ns/{name}")
    releases = document.versions() if document else []
    match chance.randrange(5):
        case 0 | 1:
            add(project, name, f"{chance.randrange(3)}.{step}.0", *chance.choice([(), ("edge",)]))
        case 2 if releases:
            change.remove(
                project, change.Removal(f"ns/{name}", chance.choice(releases), None, "a test"), NOW
            )
        case 3 if releases:
            change.set_channel(project, f"ns/{name}", "stable", chance.choice(releases), NOW)
        case 4 if document and document.channels:
            change.remove_channel(project, f"ns/{name}", document.channels[0].name, None, NOW)


def test_a_bucket_answers_every_path_by_its_key(project: Project) -> None:
    add(project, "a", "1.0.0", "stable")
    add(project, "a", "1.1.0")
    objects = published(project, msgspec.structs.replace(BUCKET, forms=["twins", "dash"]))
    paths = ["", "/1.0.0", "/1.0.0/helm", "/1.0.0/helm/pull", "/channels", "/channels/stable"]
    paths += ["/default/helm", "/default/helm/pull"]
    twins = ["/1.0.0/helm/pull/json", "/default/helm/pull/json"]
    dash = ["/1.0.0/-", "/1.0.0/-/pull", "/default/-", "/default/-/pull"]
    for path in (*paths, *twins, *dash):
        assert f"{API}/ns/a{path}" in objects
    few = published(project)
    for path in paths:
        assert few[f"{API}/ns/a{path}"] == objects[f"{API}/ns/a{path}"]
    assert not any(f"{API}/ns/a{path}" in few for path in (*twins, *dash))
    assert len([key for key in objects if key.endswith("/json")]) > len(twins)
    assert not any(key.endswith("/json") or "/-" in key for key in few)
    assert {API, f"{API}/search", "cnr/version", "index.html"} <= objects.keys()
    assert objects[f"{API}/ns/a/default/-"] == objects[f"{API}/ns/a/1.1.0/helm"]
    assert not any(key.startswith(("api", "version")) for key in objects)
    bare = published(project, msgspec.structs.replace(BUCKET, forms=["bare"]))
    assert bare["api/v1/packages/ns/a"] == bare[f"{API}/ns/a"] and "version" in bare
    both = published(project, msgspec.structs.replace(BUCKET, forms=["json"]))
    assert both[f"{API}/ns/a/1.0.0/helm/pull"] == objects[f"{API}/ns/a/1.0.0/helm/pull/json"]
    assert not any(key.endswith("/pull/json") for key in both)


def test_nothing_new_costs_two_requests(project: Project) -> None:
    add(project, "a", "1.0.0")
    objects: dict[str, bytes] = {}
    session(project, objects).publish(NOW)
    before = dict(objects)
    done = session(project, objects).publish(later(1))
    assert (done.requests, done.puts, objects) == (2, 0, before)


def test_one_release_costs_less_than_fifty_requests(project: Project) -> None:
    objects: dict[str, bytes] = {}
    for number in range(80):
        add(project, f"p{number}", "1.0.0", "stable")
    session(project, objects).publish(NOW)
    add(project, "p7", "1.1.0", "stable")
    assert session(project, objects).publish(NOW).requests < 50
    assert shown(objects) == published(project)


@pytest.mark.parametrize("seed", range(8))
def test_differences_come_to_the_same_as_a_first_publish(project: Project, seed: int) -> None:
    chance = random.Random(seed)
    objects: dict[str, bytes] = {}
    for step in range(12):
        for _ in range(chance.randrange(1, 4)):
            change_something(project, chance, step)
        session(project, objects).publish(NOW)
        assert {k: v for k, v in shown(objects).items() if not k.startswith("catalog/")} == {
            k: v for k, v in published(project).items() if not k.startswith("catalog/")
        }


@pytest.mark.parametrize("seed", range(8))
def test_no_reader_ever_sees_a_gap_and_a_killed_publish_is_finished(
    project: Project, seed: int
) -> None:
    chance = random.Random(seed)
    objects: dict[str, bytes] = {}
    grace = msgspec.structs.replace(BUCKET, grace_minutes=60)

    def look(key: str) -> None:
        reader_sees_no_gap(objects)
        verified_reader_sees_no_gap(objects)

    for step in range(25):
        change_something(project, chance, step)
        change_something(project, chance, step + 100)
        one = session(project, objects, grace)
        assert isinstance(one.destination, WatchedObjects)
        left = chance.randrange(60)

        def tick(key: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        one.destination.before, one.destination.after = tick, look
        try:
            one.publish(NOW)
        except Killed:
            pass
    one = session(project, objects, grace)
    assert isinstance(one.destination, WatchedObjects)
    one.destination.after = look
    one.publish(NOW)
    session(project, objects, grace).publish(later(61))
    ours = {k: v for k, v in shown(objects).items() if not k.startswith("catalog/")}
    assert ours == {k: v for k, v in published(project).items() if not k.startswith("catalog/")}
    assert session(project, objects, grace).audit(later(62), repair=False) == []


def test_what_a_first_publish_had_sent_is_not_sent_again(project: Project) -> None:
    for number in range(20):
        add(project, f"p{number}", "1.0.0")
    objects: dict[str, bytes] = {}
    one = session(project, objects)
    assert isinstance(one.destination, WatchedObjects)
    sent: list[str] = []

    def tick(key: str) -> None:
        sent.append(key)
        if len(sent) == 200:
            raise Killed

    one.destination.before = tick
    with pytest.raises(Killed):
        one.publish(NOW)
    two = session(project, objects)
    assert isinstance(two.destination, WatchedObjects)
    again: list[str] = []
    two.destination.before = again.append
    two.publish(NOW)
    assert not set(sent[:-1]) & set(again) - {STATE}
    assert shown(objects) == published(project)


def test_what_was_removed_can_be_read_for_a_while(project: Project) -> None:
    grace = msgspec.structs.replace(BUCKET, grace_minutes=60)
    add(project, "a", "1.0.0")
    add(project, "a", "1.1.0")
    objects: dict[str, bytes] = {}
    session(project, objects, grace).publish(NOW)
    change.remove(project, change.Removal("ns/a", "1.1.0", None, "bad"), NOW)
    session(project, objects, grace).publish(NOW)
    assert "1.1.0" not in objects[f"{API}/ns/a"].decode()
    assert f"{API}/ns/a/1.1.0/helm/pull" in objects
    assert session(project, objects, grace).publish(later(30)).puts == 0
    assert f"{API}/ns/a/1.1.0/helm/pull" in objects
    assert session(project, objects, grace).publish(later(61)).deletes > 5
    assert f"{API}/ns/a/1.1.0/helm/pull" not in objects
    assert session(project, objects, grace).publish(later(62)).requests == 2
    add(project, "a", "1.1.0")
    session(project, objects, grace).publish(later(63))
    assert f"{API}/ns/a/1.1.0/helm/pull" in objects


def copy_of(project: Project) -> Project:
    folder = project.folder.parent / "second"
    shutil.copytree(project.folder, folder, symlinks=True)
    shutil.rmtree(folder / ".state" / "memory" / "destinations", ignore_errors=True)
    return reopen(folder)


def test_two_publishers_lose_nothing_of_each_other(project: Project) -> None:
    add(project, "a", "1.0.0", "stable")
    objects: dict[str, bytes] = {}
    session(project, objects).publish(NOW)
    second = copy_of(project)
    add(project, "b", "1.0.0")
    add(project, "a", "1.1.0")
    add(second, "c", "1.0.0")
    add(second, "a", "1.2.0", "edge")
    change.set_channel(second, "ns/a", "stable", "1.2.0", NOW)
    session(project, objects).publish(NOW)
    session(second, objects).publish(NOW)
    names = [row["name"] for row in json.loads(objects[API])]
    assert names == ["ns/a", "ns/b", "ns/c"]
    assert second.document("ns/a").versions() == ["1.2.0", "1.1.0", "1.0.0"]
    assert check(second).findings == []
    for name, count in (("ns/a", 3), ("ns/b", 1), ("ns/c", 1)):
        assert len(second.catalog.facts(second.document(name))) == count
    verified_reader_sees_no_gap(objects)
    done = session(project, objects).publish(NOW)
    assert done.puts == 0 and "ahead" in done.notes[-1]
    add(project, "d", "1.0.0")
    session(project, objects).publish(NOW)
    assert len(json.loads(objects[API])) == 4
    assert session(project, objects).audit(NOW, repair=False) == []


def test_what_both_changed_differently_is_a_conflict_and_nothing_is_done(project: Project) -> None:
    add(project, "a", "1.0.0")
    objects: dict[str, bytes] = {}
    session(project, objects).publish(NOW)
    second = copy_of(project)
    add(project, "a", "1.1.0")
    add(second, "a", "1.1.0", text="other")
    session(project, objects).publish(NOW)
    before = dict(objects)
    with pytest.raises(ConflictError, match=r"1\.1\.0"):
        session(second, objects).publish(NOW)
    assert objects == before
    change.remove(second, change.Removal("ns/a", "1.1.0", None, "theirs is right"), NOW)
    with pytest.raises(ConflictError):
        Session(second, BUCKET, DestinationMemory(second, BUCKET),
                WatchedObjects(second.store, objects), merge=False).publish(NOW)  # fmt: skip


def test_somebody_who_publishes_is_waited_for_but_not_for_ever(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(project, "a", "1.0.0")
    objects: dict[str, bytes] = {}
    session(project, objects).publish(NOW)
    second = copy_of(project)
    add(project, "b", "1.0.0")
    one = session(project, objects)
    assert isinstance(one.destination, WatchedObjects)

    def tick(key: str) -> None:
        if key == f"{API}/ns/b":
            raise Killed

    one.destination.before = tick
    with monkeypatch.context() as patch:
        patch.setattr("cnrmirror.publish.lease.this_process", lambda: Holder("another machine"))
        with pytest.raises(Killed):
            one.publish(NOW)
    add(second, "c", "1.0.0")
    msgspec.structs.force_setattr(second.config, "lock_wait_seconds", 0)
    with pytest.raises(BusyError):
        session(second, objects).publish(NOW)
    session(second, objects).publish(later(16))
    assert [row["name"] for row in json.loads(objects[API])] == ["ns/a", "ns/c"]
    session(project, objects).publish(later(17))
    assert [row["name"] for row in json.loads(objects[API])] == ["ns/a", "ns/b", "ns/c"]
    session(project, objects).audit(later(18), repair=True)  # a root that nobody needs is left
    assert session(project, objects).audit(later(19), repair=False) == []


def test_a_plan_is_what_is_done_and_fails_on_drift(project: Project) -> None:
    add(project, "a", "1.0.0")
    objects: dict[str, bytes] = {}
    session(project, objects).publish(NOW)
    add(project, "a", "1.1.0")
    plan = session(project, objects).plan(NOW)
    assert f"/{API}/ns/a*" in invalidations(plan)
    one = session(project, objects)
    assert isinstance(one.destination, WatchedObjects)
    written: list[str] = []
    one.destination.before = written.append
    add(project, "b", "1.0.0")
    with pytest.raises(ConflictError, match="new plan"):
        one.publish(NOW, plan)
    assert written == []
    plan = session(project, objects).plan(NOW)
    saved = msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
    one.publish(NOW, saved)
    puts = {o.key for o in plan.operations if o.action == "put"}
    assert set(written) == puts | {STATE}
    assert session(project, objects).plan(NOW).operations == []


def test_an_audit_names_and_repairs_what_is_wrong(project: Project) -> None:
    add(project, "a", "1.0.0")
    objects: dict[str, bytes] = {}
    session(project, objects).publish(NOW)
    good = shown(objects)
    objects[f"{API}/ns/a"] = objects[f"{API}/ns/a"].replace(b"helm", b"kpm!")
    objects[f"{API}/search"] = b"[]"
    del objects[next(key for key in objects if "/blobs/" in key and key.startswith("catalog"))]
    objects["cnr/stranger"] = b"?"
    good["photo.jpg"] = objects["photo.jpg"] = b"of somebody else"
    found = session(project, objects).audit(NOW, repair=False)
    assert sorted((p.problem, p.reason) for p in found) == [
        ("extra", "nothing refers to it"), ("missing", "not there"),
        ("wrong", OTHER_SIZE), ("wrong", OTHER_BYTES),
    ]  # fmt: skip
    session(project, objects).audit(NOW, repair=True)
    assert shown(objects) == good
    assert session(project, objects).audit(NOW, repair=False) == []


def test_a_publisher_that_works_for_long_keeps_its_turn(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(project, "a", "1.0.0")
    objects: dict[str, bytes] = {}
    seconds = 0.0
    monkeypatch.setattr("cnrmirror.publish.lease._seconds", lambda: seconds)
    one = session(project, objects)
    assert isinstance(one.destination, WatchedObjects)
    told: list[str] = []

    def tick(key: str) -> None:
        nonlocal seconds
        seconds += 100
        if key == STATE and (lease := json.loads(objects.get(STATE, b"{}")).get("lease")):
            told.append(lease["time"])

    one.destination.before = tick
    one.publish(NOW)
    assert len(set(told)) > 5 and told == sorted(told)


def test_a_publisher_whose_lease_was_taken_joins_what_came_meanwhile(project: Project) -> None:
    add(project, "a", "1.0.0")
    objects: dict[str, bytes] = {}
    session(project, objects).publish(NOW)
    second = copy_of(project)
    add(project, "b", "1.0.0")
    add(second, "c", "1.0.0")
    one = session(project, objects)
    assert isinstance(one.destination, WatchedObjects)

    def tick(key: str) -> None:
        if key == f"{API}/ns/b":  # this machine sleeps now
            one.destination.before = lambda key: None  # type: ignore[attr-defined]
            session(second, objects).publish(later(16))

    one.destination.before = tick
    one.publish(NOW)
    verified_reader_sees_no_gap(objects)
    reader_sees_no_gap(objects)
    assert [row["name"] for row in json.loads(objects[API])] == ["ns/a", "ns/b", "ns/c"]
    session(project, objects).audit(later(18), repair=True)  # a root that nobody needs is left
    assert session(project, objects).audit(later(19), repair=False) == []


def test_a_plan_is_not_carried_out_after_a_merge(project: Project) -> None:
    add(project, "a", "1.0.0")
    objects: dict[str, bytes] = {}
    session(project, objects).publish(NOW)
    second = copy_of(project)
    add(second, "c", "1.0.0")
    plan = session(second, objects).plan(NOW)
    add(project, "b", "1.0.0")
    session(project, objects).publish(NOW)
    before = second.head()
    with pytest.raises(ConflictError, match="new plan"):
        session(second, objects).publish(NOW, plan)
    assert second.head() == before


def test_a_channel_set_to_what_the_other_removed_is_a_conflict(project: Project) -> None:
    add(project, "a", "1.0.0", "stable")
    add(project, "a", "1.1.0")
    objects: dict[str, bytes] = {}
    session(project, objects).publish(NOW)
    second = copy_of(project)
    change.remove(project, change.Removal("ns/a", "1.1.0", None, "bad"), NOW)
    change.set_channel(second, "ns/a", "stable", "1.1.0", NOW)
    session(project, objects).publish(NOW)
    with pytest.raises(ConflictError, match="stable"):
        session(second, objects).publish(NOW)


def test_what_both_removed_is_removed(project: Project) -> None:
    add(project, "a", "1.0.0")
    add(project, "a", "1.1.0")
    objects: dict[str, bytes] = {}
    session(project, objects).publish(NOW)
    second = copy_of(project)
    change.remove(project, change.Removal("ns/a", "1.1.0", None, "bad"), NOW)
    change.remove(second, change.Removal("ns/a", "1.1.0", None, "very bad"), later(1))
    session(project, objects).publish(NOW)
    session(second, objects).publish(later(2))
    assert second.document("ns/a").versions() == ["1.0.0"]


def test_a_repair_writes_over_what_is_named_by_its_digest(project: Project) -> None:
    add(project, "a", "1.0.0")
    objects: dict[str, bytes] = {}
    session(project, objects).publish(NOW)
    good = shown(objects)
    for key in objects:
        if key.startswith(("catalog/blobs", "catalog/nodes")):
            objects[key] = b"x" * len(objects[key])
    assert {p.reason for p in session(project, objects).audit(NOW, repair=True)} == {OTHER_BYTES}
    assert shown(objects) == good


def test_what_gc_took_from_the_history_is_no_reason_to_refuse(project: Project) -> None:
    objects: dict[str, bytes] = {}
    add(project, "a", "1.0.0")
    with session(project, objects) as one:
        one.publish(NOW)
    for number in range(1, 5):
        add(project, "a", f"1.{number}.0")
    assert collect(project, 2, 0, later(60 * 24), dry_run=False).files
    with session(project, objects) as one:
        one.publish(later(60 * 24))
        assert one.audit(later(60 * 24), repair=True)
    assert shown(objects) == published(project)


# -- folders ----------------------------------------------------------------------------------


def to_folder(project: Project, folder: Path, **settings: object) -> Session:
    target = PublishTo(to=str(folder), grace_minutes=0, **settings)  # type: ignore[arg-type]
    return Session.open(project, target)


@pytest.mark.parametrize("links", [True, False])
def test_a_folder_gets_the_site_and_then_only_differences(
    project: Project, tmp_path: Path, links: bool
) -> None:
    chance = random.Random(links)
    out = tmp_path / "out"
    for step in range(10):
        change_something(project, chance, step)
        with to_folder(project, out, links=links) as one:
            one.publish(NOW)
    if links:
        assert files(out) == files(project.site)
    else:
        assert not any(path.is_symlink() for path in out.rglob("*"))
        for name, content in files(project.site).items():
            if isinstance(content, bytes):
                assert (out / name).read_bytes() == content
    with to_folder(project, out, links=links) as one:
        assert one.audit(NOW, repair=False) == []


@pytest.mark.parametrize("page", [
    b"<h1>A shop</h1>", b"", b"<p>My registry is at https://a.example/cnr/api/v1/packages</p>",
])  # fmt: skip
def test_the_front_page_of_another_site_is_refused_and_left_alone(
    project: Project, page: bytes
) -> None:
    objects = {"index.html": page}
    with pytest.raises(ConflictError, match="another site already"):
        session(project, objects).publish(NOW)
    assert objects == {"index.html": page}


@pytest.mark.parametrize("before", [False, True])
def test_the_front_page_of_a_mirror_is_replaced_with_and_without_pages(
    project: Project, before: bool
) -> None:
    """All that is left there is a page, of the form that the mirror no longer has."""
    settings = (project.folder / "mirror.yaml").read_text()
    pages = []
    for release, form in (("1.0.0", before), ("2.0.0", not before)):
        text = f"{settings}views: {{pages: {str(form).lower()}}}\n"
        (project.folder / "mirror.yaml").write_text(text)
        project = reopen(project.folder)
        add(project, "a", release)
        pages.append(published(project)["index.html"])
    assert [b"feed.xml" in page for page in pages] == [before, not before]
    objects = {"index.html": pages[0]}
    session(project, objects).publish(NOW)
    assert objects["index.html"] == pages[1]


def test_a_folder_of_another_form_is_brought_into_the_new_one(
    project: Project, tmp_path: Path
) -> None:
    add(project, "a", "1.0.0")
    out = tmp_path / "out"
    for links in (True, False, True):
        with to_folder(project, out, links=links) as one:
            one.publish(NOW)
        fresh = tmp_path / f"fresh-{links}"
        with to_folder(project, fresh, links=links) as one:
            one.publish(NOW)
        assert files(out) == files(fresh)
    for host in ("netlify", "cloudflare-pages", "github-pages"):
        with to_folder(project, out, host=host) as one:
            one.publish(NOW)
        assert (out / ".nojekyll").exists()
        assert (out / "_redirects").exists() == (host != "github-pages")
        # A host that knows rules finds the document itself; another one only a folder's page.
        name = "html" if host == "github-pages" else "json"
        assert [p.name for p in (out / f"{API}/ns/a").glob("index.*")] == [f"index.{name}"]


def test_names_that_windows_cannot_hold_are_refused_where_asked(
    project: Project, tmp_path: Path
) -> None:
    push_blob = tmp_path / "con-1.0.0.tgz"
    push_blob.write_bytes(chart_bytes("con", "1.0.0"))
    push(project, [push_blob], Override(namespace="ns"), NOW)
    with to_folder(project, tmp_path / "out", links=False, portable=True) as one:
        with pytest.raises(InputError, match="exFAT"):
            one.publish(NOW)


def test_a_target_is_a_name_a_bucket_or_a_folder(project: Project, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        find_destinations(project, [])
    with pytest.raises(UsageError, match="there is no target"):
        find_destinations(project, ["production"])
    with pytest.raises(InputError):
        find_destinations(project, ["s3://not_a_bucket!"])
    assert [t.to for t in find_destinations(project, ["s3://bucket/x", f"{tmp_path}/o"])] == [
        "s3://bucket/x", f"{tmp_path}/o",
    ]  # fmt: skip
    assert Operation("put", "x", 3).size == 3
    for own in (project.folder, project.site, project.site / "cnr", tmp_path):
        with pytest.raises(UsageError, match="the mirror itself"):
            find_destinations(project, [str(own)])


def test_a_site_that_is_a_symlink_is_the_mirror_s_own_under_both_names(
    project: Project, tmp_path: Path
) -> None:
    away = tmp_path / "away"
    shutil.move(project.site, away)
    project.site.symlink_to(away)
    project = reopen(project.folder)
    add(project, "p1", "1.0.0", "stable")
    assert check(project).findings == [] and not (away / "site").exists()
    for own in (project.site, away, away / "below", away / ".." / "away"):
        with pytest.raises(UsageError, match="the mirror itself"):
            find_destinations(project, [str(own)])
    out = PublishTo(to=str(tmp_path / "out"))
    with Session.open(project, out) as published_to:
        published_to.publish(NOW)
        assert published_to.audit(NOW, repair=False) == []
    assert hosts.write(project)
    assert f"root {away};" in (project.layout.hosts / "nginx.conf").read_text()
    assert project.site.is_symlink()


def test_a_site_on_another_file_system_is_said_in_words() -> None:
    with pytest.raises(StorageError, match="on the file system of"):
        with storage_errors("site"):
            raise OSError(errno.EXDEV, "Invalid cross-device link")


class LockedObjects(WatchedObjects):
    """A bucket that removes nothing as long as it is locked."""

    locked = True

    def delete(self, keys: Sequence[str]) -> list[str]:
        if self.locked:
            self.requests += 1
            self.notes.append("locked")
            return list(keys)
        return super().delete(keys)


def test_what_a_lock_keeps_is_said_and_removed_a_day_later(project: Project) -> None:
    add(project, "p1", "1.0.0", "stable")
    add(project, "p1", "2.0.0", "stable")
    objects: dict[str, bytes] = {}
    session(project, objects).publish(NOW)
    change.remove(project, change.Removal("ns/p1", "1.0.0", None, "bad"), NOW)
    gone = f"{API}/ns/p1/1.0.0"

    def publish(minutes: float, locked: bool) -> Published:
        place = LockedObjects(project.store, objects)
        place.locked = locked
        return Session(project, BUCKET, DestinationMemory(project, BUCKET), place).publish(
            later(minutes)
        )

    done = publish(0, locked=True)
    assert done.deletes == 0 and done.notes == ["locked"] and gone in objects
    reader_sees_no_gap(objects)
    verified_reader_sees_no_gap(objects)
    assert publish(60, locked=True).requests == 2  # it is not tried every time
    assert publish(25 * 60, locked=False).deletes > 5 and gone not in objects
    reader_sees_no_gap(objects)
