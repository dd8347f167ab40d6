"""Random stories of machines that share a store: nothing that was accepted is ever lost.

``CNRMIRROR_STORIES=500`` tells more of them than CI does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from cnrmirror import api
from cnrmirror.archive.identify import Override
from cnrmirror.mirror import change
from cnrmirror.mirror.push import push
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import (
    BadSignature,
    BusyError,
    ConflictError,
    DamageError,
    NotTrusted,
    StorageError,
    UsageError,
)
from cnrmirror.model.resource import Resource
from cnrmirror.objects.memory import MemoryObjects
from cnrmirror.objects.partial import PartialStore
from cnrmirror.publish import upkeep
from tests.conftest import chart_bytes
from tests.places import Killed
from tests.rivals import Baton, Gate
from tests.store_stories import Machine, Story, free, tell
from tests.store_suite import Machine as Command

STORIES = int(os.environ.get("CNRMIRROR_STORIES", "7"))


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnrmirror.publish.look._POLL_SECONDS", 0)
    monkeypatch.setattr("cnrmirror.publish.session._PAUSE_SECONDS", 0)
    for module in ("objects.folder", "mirror.build", "trust.signing", "catalog.delta"):
        monkeypatch.setattr(f"cnrmirror.{module}.sync_filesystem", lambda path: None)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """Two machines and a store with one package."""
    story = Story(tmp_path, 1)
    add(story, story.machines[0], "first")
    story.look(story.machines[1], free)
    yield story
    story.end()


def add(story: Story, machine: Machine, name: str, gate: Gate = free) -> None:
    """Push a package."""
    story._push(machine, gate, (f"ns/{name}", "1.0.0"), "")


def before(wanted: str, act: Callable[[], object]) -> Gate:
    """A gate at which something happens once, before the first request of this name."""
    left = [act]

    def gate(call: str) -> None:
        if call.startswith(wanted) and left:
            left.pop()()

    return gate


def once(due: Callable[[], bool], act: Callable[[], object]) -> Gate:
    """A gate at which something happens once, before the first look at the store when it is due."""
    first = before("read .cnrmirror/state.json", act)
    return lambda call: first(call) if due() else None


def kill(*_: object) -> None:
    raise Killed


# -- stories ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(STORIES))
def test_nothing_that_was_accepted_is_lost_whatever_happens(tmp_path: Path, seed: int) -> None:
    tell(tmp_path / "story", seed, "memory" if seed % 4 == 3 else "folder").end()


@pytest.mark.parametrize("seed", range(1000, 1000 + STORIES))
def test_nothing_is_lost_where_machines_sleep_so_long_that_others_take_their_leases(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnrmirror.publish.lease.STALE", timedelta(seconds=-1))
    tell(tmp_path / "story", seed, "memory" if seed % 4 == 3 else "folder").end()


@pytest.mark.parametrize("seed", range(max(2, STORIES // 4)))
def test_two_machines_lose_nothing_in_any_order_of_their_requests(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(tmp_path / "story", seed)
    for machine in story.machines:
        path = machine.folder / "mirror.yaml"
        path.write_text(path.read_text().replace("lock_wait_seconds: 0", "lock_wait_seconds: 60"))
    chance, last = random.Random(seed), 0

    def choose(waiting: Sequence[int]) -> int:
        nonlocal last
        if last not in waiting or chance.random() < (0.1, 0.5)[seed % 2]:
            last = chance.choice(waiting)
        return last

    def work(number: int) -> None:
        machine = story.machines[number]
        for name in ("x", "y"):
            add(story, machine, f"{name}{number}", baton.gate(number))
            story.refresh(machine, baton.gate(number))

    baton = Baton(choose, lambda: None)
    assert baton.run([lambda: work(0), lambda: work(1)]) == []
    assert len(story.there) == 4
    story.settle()
    story.end()


def test_processes_that_are_killed_at_once_lose_nothing(tmp_path: Path) -> None:
    chance = random.Random(os.environ.get("CNRMIRROR_SEED", "5"))
    store, keys = str(tmp_path / "place"), tmp_path / "keys"
    one, two = (Command(tmp_path / name, store, {}, keys) for name in ("one", "two"))
    one.run("init", str(one.folder), "--store", store)
    two.run("init", str(two.folder), "--store", store, "--root", str(one.folder / "root.json"))
    accepted: set[str] = set()
    for number in range(max(2, STORIES // 5)):
        running = []
        for machine in (one, two):
            name = f"p{number}-{machine.folder.name}"
            process = machine.start("push", "--namespace", "ns", machine.chart(name, "1.0.0"))
            running.append((name, machine, process))
        time.sleep(chance.uniform(0.3, 2))
        victim = chance.randrange(3)
        if victim < 2:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running[victim][2].pid, signal.SIGKILL)
        for name, machine, process in running:
            text = process.communicate(timeout=300)[0]
            assert process.returncode in (0, -signal.SIGKILL), text
            if not process.returncode:
                accepted.add(f"ns/{name}")
            elif chance.random() < 0.5:
                shutil.rmtree(machine.folder / ".state", ignore_errors=True)
    for machine in (one, two):
        machine.run("refresh")
    listed = one.listed()
    assert accepted <= listed.keys()
    assert two.listed() == listed and one.revision() == two.revision()
    one.run("build")
    pinned = str(one.folder / "root.json")
    assert "all well" in one.run("check", "--from", store, "--root", pinned, "--strict")
    assert "all well" in one.run("check") and "all well" in two.run("check")


# -- what stories have told ------------------------------------------------------------------------


def test_a_command_that_was_overtaken_goes_on_from_what_stands_in_the_store(story: Story) -> None:
    one, two = story.machines
    with pytest.raises(Killed):
        add(story, one, "killed", before("create", kill))
    # What was signed in vain is remembered: the next version is higher than the store's next one.
    shutil.rmtree(one.folder / ".state/scratch")
    one.opened()
    version = one.project().metadata.timestamp().version

    def is_signed() -> bool:
        return one.project().metadata.timestamp().version > version

    story.refresh(one, once(is_signed, lambda: add(story, two, "other")))
    assert one.listed() == two.listed() == story.there
    story.settle()


def test_what_reads_does_not_take_away_what_another_process_of_the_folder_just_made(
    story: Story,
) -> None:
    one, two = story.machines
    add(story, two, "other")
    version = one.project().metadata.timestamp().version
    made, over = threading.Event(), threading.Event()

    def is_signed() -> bool:
        return one.project().metadata.timestamp().version > version + 1

    def stop() -> None:
        made.set()
        assert over.wait(60)

    pushing = threading.Thread(target=add, args=(story, one, "own", once(is_signed, stop)))

    def push_meanwhile() -> None:
        pushing.start()
        assert made.wait(60)

    # One process has seen that the store is ahead; then another one pushes, and is not done yet.
    with contextlib.suppress(BusyError):
        story.look(one, before("fetch", push_meanwhile))
    over.set()
    pushing.join()
    assert one.listed() == two.listed() == story.there
    assert ("ns/own", "1.0.0") in story.there
    story.settle()


def test_who_mends_or_tidies_up_is_not_refused_because_somebody_publishes(story: Story) -> None:
    one, two = story.machines
    story.build(one, before("listing", lambda: add(story, two, "during-build")))
    story.gc(one, before("listing", lambda: add(story, two, "during-gc")))
    story.settle()


def test_an_unfinished_command_is_brought_to_its_end_by_who_mends(story: Story) -> None:
    one, two = story.machines
    with pytest.raises(Killed):
        add(story, one, "killed", before("create", kill))
    with pytest.raises(ConflictError, match=r"is not in .* yet"):
        upkeep.check(one.shared())
    assert upkeep.check(two.shared()).findings == []
    add(story, two, "meanwhile")
    story.build(one, free)
    assert ("ns/killed", "1.0.0") in two.listed()
    story.settle()


@pytest.mark.parametrize("how", ["emptied", "unmounted"])
def test_a_store_that_is_empty_all_at_once_is_not_begun_anew(story: Story, how: str) -> None:
    one, _ = story.machines
    away = story.folder / "away"
    story.place.rename(away)
    if how == "emptied":
        story.place.mkdir()
    for act in (story.look, story.refresh, story.build, story.gc, story.check):
        with pytest.raises(DamageError, match="nothing is there any more"):
            act(one, free)
    assert not any(path.is_file() for path in story.place.rglob("*"))
    shutil.rmtree(story.place, ignore_errors=True)
    away.rename(story.place)
    add(story, one, "again")
    story.settle()


def test_of_two_who_rotate_a_key_at_once_the_later_one_is_refused_and_goes_on(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = story.machines
    monkeypatch.setattr(story.chance, "choice", lambda of: of[0])  # publish, in both
    version = one.project().metadata.timestamp().version

    def is_signed() -> bool:
        return one.project().metadata.timestamp().version > version

    with pytest.raises(NotTrusted):
        story.rotate(one, once(is_signed, lambda: story.rotate(two, free)))
    add(story, one, "after")
    assert two.listed() == story.there
    story.settle()


def test_who_is_refused_for_what_an_earlier_command_left_is_told_so(story: Story) -> None:
    one, two = story.machines
    project = one.opened(before("create", kill))
    with pytest.raises(Killed):
        change.set_channel(project, "ns/first", "stable", "1.0.0", story.now())
    story.remove(two, free)
    with pytest.raises(ConflictError) as caught:
        add(story, one, "own")
    assert "this one has not begun" in str(caught.value.__notes__)
    add(story, one, "own")
    story.untidy = True
    story.settle()


def test_who_was_away_longer_than_revisions_are_kept_takes_what_is_there_and_adds_nothing(
    story: Story,
) -> None:
    one, two = story.machines
    add(story, one, "wrong")
    two.opened()
    project = one.opened()
    change.rollback(project, "1", story.now())
    story.there.pop(("ns/wrong", "1.0.0"))
    add(story, one, "more")
    story.gc(one, free)
    assert two.listed() == story.there
    add(story, two, "own")
    assert one.listed() == story.there
    story.settle()


def test_a_rotation_that_was_killed_is_ended_by_the_next_command_of_its_folder(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = story.machines
    add(story, one, "more")  # which the other one does not know yet
    monkeypatch.setattr(story.chance, "choice", lambda of: of[-1])  # refresh
    with pytest.raises(Killed):
        story.rotate(one, before("swap catalog/metadata/timestamp.json", kill))
    with pytest.raises(BadSignature):
        story.look(two, free)
    story.refresh(one, free)
    assert two.listed() == story.there
    story.settle()


def test_a_rollback_to_what_was_tidied_up_meanwhile_is_given_up(story: Story) -> None:
    one, two = story.machines
    story.there.pop(("ns/first", "1.0.0"))
    project = one.opened()
    change.remove(project, change.Removal("ns/first", "1.0.0", None, "x"), story.now())
    for number in range(3):
        add(story, one, f"more{number}")
    shutil.rmtree(one.project().layout.catalog / "blobs")

    version = one.project().metadata.timestamp().version

    def is_signed() -> bool:
        return one.project().metadata.timestamp().version > version

    project = one.opened(once(is_signed, lambda: story.gc(two, free)))
    with pytest.raises(DamageError) as caught:
        change.rollback(project, "1", story.now())
    assert "nothing of it is left here" in str(caught.value.__notes__)
    story.untidy = True
    add(story, one, "after")
    story.settle()


# -- what is wrong on this machine -----------------------------------------------------------------


def test_a_root_file_that_is_none_is_named_before_anything_is_sent(story: Story) -> None:
    one, two = story.machines
    for machine in (one, two):
        (machine.folder / "root.json").write_bytes(b"{}")
    shutil.rmtree(two.folder / ".state")
    with pytest.raises(NotTrusted, match=r"root\.json: not a TUF root file"):
        two.opened()
    with pytest.raises(NotTrusted, match=r"root\.json: not a TUF root file"):
        one.shared().share()


def test_a_full_disk_is_no_reason_not_to_read_documents_and_is_told_of_archives(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, two = story.machines
    project = two.opened()

    def full(path: str, chunks: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    monkeypatch.setattr("cnrmirror.objects.partial.write_new", full)
    document = project.document("ns/first")
    with pytest.raises(StorageError, match="the disk is full"):
        project.open_blob(document.releases[0].blob)


def test_the_library_does_not_check_a_part_of_a_mirror_as_if_it_were_all(story: Story) -> None:
    with pytest.raises(UsageError, match="in an object store"):
        api.Mirror(story.machines[0].opened()).check()


# -- threads and processes of one folder -----------------------------------------------------------


def test_what_is_read_into_the_cache_is_not_cleared_up_while_it_is_written(
    story: Story, tmp_path: Path
) -> None:
    one, _ = story.machines
    making = one.project().layout.making
    objects: dict[str, bytes] = {}
    store = PartialStore(
        tmp_path / "here", making, lambda store: MemoryObjects(store, objects), 1000
    )
    data = bytes(200_000)
    blob = Descriptor.of(data)
    objects[f"catalog/blobs/sha256/{blob.digest[:2]}/{blob.digest}"] = data
    fetch = store.place.fetch

    def slowly(path: str, max_bytes: int) -> Iterator[bytes]:
        for piece in fetch(path, max_bytes):
            yield piece
            with one.project().alone():
                pass  # clears up what is in the making

    store.place.fetch = slowly  # type: ignore[method-assign]
    with store.open_blob(blob) as stream:
        assert stream.read() == data


def test_a_file_that_somebody_removes_while_all_are_compared_is_not_there(story: Story) -> None:
    one, _ = story.machines
    place = one.shared().place
    path = "catalog/metadata/1.root.json"
    listed = next(item for item in place.listing() if item.key == path)
    resource = Resource(path, story.pinned)
    assert place.holds(listed, resource)
    (story.place / path).unlink()
    assert not place.holds(listed, resource)
    (story.place / path).write_bytes(story.pinned)


def test_threads_that_push_into_one_folder_wait_for_each_other(story: Story) -> None:
    one, _ = story.machines
    path = one.folder / "mirror.yaml"
    path.write_text(path.read_text().replace("lock_wait_seconds: 0", "lock_wait_seconds: 60"))
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            archive = story.folder / f"{name}.tgz"
            archive.write_bytes(chart_bytes(name, "1.0.0"))
            push(one.opened(), [archive], Override(namespace="ns"), story.now())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {("ns/first", "1.0.0"), *((f"ns/t{n}", "1.0.0") for n in range(4))} == {*one.listed()}


def test_a_cache_that_is_removed_while_a_process_reads_is_made_again(story: Story) -> None:
    one, _ = story.machines
    project = one.opened()
    shutil.rmtree(one.folder / ".state/scratch")
    one.opened()
    document = project.document("ns/first")
    with project.open_blob(document.releases[0].blob) as stream:
        assert stream.read()


@pytest.mark.parametrize("lost", ["rows", "documents", "both"])
def test_who_lost_what_nobody_has_any_more_reads_what_there_is(story: Story, lost: str) -> None:
    one, two = story.machines
    add(story, one, "more")
    two.opened()
    for number in range(3):
        add(story, one, f"more{number}")
    change.remove(one.opened(), change.Removal("ns/more", "1.0.0", None, "x"), story.now())
    story.there.pop(("ns/more", "1.0.0"))
    story.gc(one, free)
    layout = two.project().layout
    if lost != "documents":
        for path in layout.rows.glob("*/*"):
            path.unlink()
    if lost != "rows":
        shutil.rmtree(layout.catalog)
    add(story, two, "own")
    assert one.listed() == two.listed() == story.there
    story.settle()
