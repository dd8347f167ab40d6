"""A place is brought from one choice of forms to another, and nobody misses anything meanwhile."""

from __future__ import annotations

import itertools
import json
import shutil
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.instant import Instant
from cnrmirror.objects.base import STATE
from cnrmirror.publish.session import Session
from tests.conftest import chart_bytes
from tests.mirrors import reopen
from tests.place_forms import CHOICES, NOW, bucket_of, mirror_of_two_releases, to_bucket
from tests.places import (
    API,
    Killed,
    WatchedObjects,
    reader_sees_no_gap,
    verified_reader_sees_no_gap,
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return mirror_of_two_releases(tmp_path)


def test_a_publish_brings_a_place_from_one_choice_to_another(project: Project) -> None:
    objects: dict[str, bytes] = {}
    for forms in CHOICES:
        to_bucket(project, objects, forms).publish(NOW)
        shown = {k: v for k, v in objects.items() if not k.startswith(".cnrmirror/")}
        fresh = bucket_of(project, forms)
        assert shown == {k: v for k, v in fresh.items() if not k.startswith(".cnrmirror/")}


def test_nobody_misses_anything_meanwhile_but_what_is_given_up_and_that_at_the_end(
    project: Project,
) -> None:
    for old, new in pairwise(CHOICES):
        objects = bucket_of(project, old)
        wanted = bucket_of(project, new)
        kept = {k for k, v in objects.items() if wanted.get(k) == v and k[0] != "."}
        session = to_bucket(project, objects, new)
        place = session.destination
        assert isinstance(place, WatchedObjects)
        puts = sum(objects.get(k) != v for k, v in wanted.items() if k[0] != ".")
        missing = [key for key in wanted if key not in objects and key[0] != "."]

        def looked(
            key: str, objects: dict[str, bytes] = objects, kept: set[str] = kept,
            wanted: dict[str, bytes] = wanted, missing: list[str] = missing,
        ) -> None:  # fmt: skip
            reader_sees_no_gap(objects)
            verified_reader_sees_no_gap(objects)
            assert all(objects.get(k) == wanted[k] for k in kept)
            if key not in objects and key[0] != ".":  # it was removed: all else is there
                assert all(k in objects for k in missing)

        place.after = looked
        session.publish(NOW)
        assert puts >= 0


def test_what_was_given_up_can_be_read_until_its_time_of_grace_is_over(project: Project) -> None:
    objects = bucket_of(project, ["json", "twins"])
    gone = f"{API}/ns/a/1.0.0/helm/pull/json"
    done = to_bucket(project, objects, [], grace=60).publish(NOW)
    assert any("stay until" in note for note in done.notes)
    assert any(note.startswith("left out: 'appr pull'") for note in done.notes)
    assert gone in objects
    began = datetime.fromisoformat(NOW).replace(tzinfo=UTC)
    later = [str(Instant.of(began + timedelta(minutes=n))) for n in (59, 61, 62)]
    assert to_bucket(project, objects, [], grace=60).publish(later[0]).puts == 0
    assert to_bucket(project, objects, [], grace=60).audit(later[0], repair=True) == []
    assert gone in objects
    assert to_bucket(project, objects, [], grace=60).publish(later[1]).notes == []
    assert gone not in objects
    assert objects.keys() == bucket_of(project, []).keys()
    assert to_bucket(project, objects, [], grace=60).publish(later[2]).requests == 2


def kill_before(session: Session, number: int) -> None:
    """End a run before it writes for the so many-th time, counted from 0."""
    place, writes = session.destination, itertools.count()
    assert isinstance(place, WatchedObjects)

    def killed(key: str) -> None:
        if next(writes) == number:
            raise Killed

    place.before = killed


def test_a_run_that_is_killed_before_it_removes_what_was_given_up_leaves_word_of_it(
    project: Project,
) -> None:
    wanted = bucket_of(project, []).keys()
    for number in range(200):
        objects = bucket_of(project, ["twins"])
        session = to_bucket(project, objects, [])
        kill_before(session, number)
        try:
            session.publish(NOW)
        except Killed:
            to_bucket(project, objects, []).publish(NOW)
        else:
            assert number > 10
            break
        assert objects.keys() == wanted, number


def test_what_a_first_publish_of_another_form_left_when_it_was_killed_goes_too(
    project: Project,
) -> None:
    wanted = bucket_of(project, []).keys()
    for number in (20, 40, 60):
        objects: dict[str, bytes] = {}
        session = to_bucket(project, objects, ["twins", "dash"])
        kill_before(session, number)
        with pytest.raises(Killed):
            session.publish(NOW)
        assert objects.keys() - wanted or number == 20
        to_bucket(project, objects, []).publish(NOW)
        assert objects.keys() == wanted


def test_a_repair_names_what_a_former_form_left_and_a_publish_counts_it(project: Project) -> None:
    objects = bucket_of(project, ["twins"])
    spare = dict(objects)
    gone = objects.keys() - bucket_of(project, []).keys()
    found = to_bucket(project, objects, []).audit(NOW, repair=True)
    assert {f.path for f in found} == gone and {f.problem for f in found} == {"extra"}
    assert to_bucket(project, spare, []).publish(NOW).deletes == len(gone)


def test_who_purges_does_not_wait_for_what_a_former_form_left(project: Project) -> None:
    objects = bucket_of(project, ["twins"])
    to_bucket(project, objects, [], grace=60).publish(NOW)
    to_bucket(project, objects, [], grace=0).publish(NOW)
    assert objects.keys() == bucket_of(project, []).keys()


def test_who_is_overtaken_before_he_removes_what_was_given_up_takes_nothing_from_the_other(
    project: Project, tmp_path: Path
) -> None:
    objects = bucket_of(project, ["twins"])
    other = reopen(Path(shutil.copytree(project.folder, tmp_path / "other", symlinks=True)))
    path = tmp_path / "b-1.0.0.tgz"
    path.write_bytes(chart_bytes("b", "1.0.0"))
    push(other, [path], Override(namespace="ns"), NOW)
    session = to_bucket(project, objects, [])
    done: list[str] = []
    place = session.destination
    assert isinstance(place, WatchedObjects)

    def overtake(key: str) -> None:
        state = json.loads(objects[STATE])
        if key == STATE and state.get("lease") is None and state.get("form") and not done:
            done.append(key)
            to_bucket(other, objects, []).publish(NOW)

    place.after = overtake
    session.publish(NOW)
    assert done and f"{API}/ns/b" in objects
    wanted = bucket_of(other, [])
    shown = {key: data for key, data in objects.items() if not key.startswith(".cnrmirror/")}
    assert shown == {k: v for k, v in wanted.items() if not k.startswith(".cnrmirror/")}
