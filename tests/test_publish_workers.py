"""A publish whose archives other processes send: the same place, whatever becomes of them."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnrmirror.archive.identify import Override
from cnrmirror.cli.crews import Wish
from cnrmirror.cli.publish import _Order, _outcome, _publish
from cnrmirror.crew import crew as crews
from cnrmirror.crew.crew import Crew, CrewLost
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.settings import PublishTo, StoreAt
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import blob_path
from cnrmirror.model.errors import DamageError, NotTrusted, UsageError
from cnrmirror.objects.base import STATE, STATE_FOLDER
from cnrmirror.objects.folder import FolderObjects
from cnrmirror.publish import couriers, engine, lease, parcel
from cnrmirror.publish.couriers import Couriers
from cnrmirror.publish.engine import Published
from cnrmirror.publish.open import find_destinations
from cnrmirror.publish.parcel import Parcel, Sent, deliver, parts
from cnrmirror.publish.session import Session
from tests.conftest import NOW, chart_bytes
from tests.machine import Machine
from tests.mirrors import make, reopen
from tests.places import files

PACKAGES = 24


def charts(folder: Path, count: int = PACKAGES) -> list[Path]:
    folder.mkdir(exist_ok=True)
    found = [folder / f"p{number}-1.0.0.tgz" for number in range(count)]
    for number, path in enumerate(found):
        path.write_bytes(chart_bytes(f"p{number}", "1.0.0"))
    return found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A mirror; a parcel has few archives."""
    monkeypatch.setattr(parcel, "SIZE", 5)
    project = make(tmp_path / "mirror", "couriers", NOW)
    push(project, charts(tmp_path / "charts"), Override(namespace="ns"), NOW)
    return project


def publish(project: Project, name: str, crew: Crew | None = None) -> Published:
    """A publish to a folder beside the mirror, by a mirror that knows nothing of others."""
    target = PublishTo(to=str(project.folder.parent / name))
    with Session.open(project, target) as session:
        session.couriers = Couriers(crew, project, target) if crew else None
        return session.publish(NOW)


def shown(folder: Path) -> dict[str, bytes | str]:
    return {path: data for path, data in files(folder).items() if STATE_FOLDER not in path}


def place(project: Project, name: str) -> dict[str, bytes | str]:
    return shown(project.folder.parent / name)


class Told(Executor):
    """Does what it is told with each parcel, at once; the rest is done well."""

    def __init__(self, *deeds: Callable[[bytes], bytes]) -> None:
        self.deeds = list(deeds)
        self.given: list[Parcel] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.given.append(msgspec.json.decode(args[0], type=Parcel))
        try:
            future.set_result((self.deeds.pop(0) if self.deeds else fn)(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def crew(self, require: Callable[[], None] = lambda: None) -> Crew:
        return Crew(2, lambda: self, afar=True, require=require)


# -- the same place -------------------------------------------------------------------------------


def test_a_place_is_the_same_whoever_sent_its_archives(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, told = publish(project, "alone"), Told()
    here: list[str] = []

    def seen(self: Any, resource: Any) -> bool:
        here.append(resource.path)
        return False

    monkeypatch.setattr(engine._Sender, "_may_be_damaged", seen)
    many = publish(project, "many", told.crew())
    assert place(project, "many") == place(project, "alone")
    assert (many.puts, many.bytes, many.notes) == (alone.puts, alone.bytes, alone.notes)
    sent = {blob_path(blob.digest) for each in told.given for blob in each.archives}
    assert len(told.given) == 5 and len(sent) == PACKAGES and not sent & set(here)
    assert publish(project, "many", told.crew()).puts == 0 and len(told.given) == 5


def test_what_is_little_is_sent_by_the_command_itself(project: Project, tmp_path: Path) -> None:
    told = Told()
    publish(project, "many", told.crew())
    (tmp_path / "few").mkdir()
    few = tmp_path / "few/q-1.0.0.tgz"
    few.write_bytes(chart_bytes("q", "1.0.0"))
    push(project, [few], Override(namespace="ns"), NOW)
    before = len(told.given)
    publish(project, "many", told.crew())
    assert len(told.given) == before
    push(project, charts(tmp_path / "more", 30)[24:], Override(namespace="ns"), NOW)
    publish(project, "many", told.crew())
    assert [len(each.archives) for each in told.given[before:]] == [5, 1]


def test_archives_of_many_revisions_are_sent_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcel, "SIZE", 5)
    project = make(tmp_path / "mirror", "couriers", NOW)
    for path in charts(tmp_path / "charts", 12):
        push(project, [path], Override(namespace="ns"), NOW)
    told = Told()
    publish(project, "alone")
    publish(project, "many", told.crew())
    assert [len(each.archives) for each in told.given] == [5, 5, 2]
    assert place(project, "many") == place(project, "alone")
    monkeypatch.setattr(couriers, "_WAITING_BYTES", 1)
    publish(project, "waiting", told.crew())
    assert len(told.given) == 3, "no batch had enough of them"
    assert place(project, "waiting") == place(project, "alone")


@given(st.lists(st.integers(0, 40 << 20), max_size=30), st.integers(1, 7))
def test_parts_have_enough_and_nothing_is_lost(sizes: list[int], size: int) -> None:
    archives = [Descriptor(f"{n:064x}", each) for n, each in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parcel, "SIZE", size)
        found = list(parts(archives))
    assert [blob for part in found for blob in part] == archives
    assert all(len(p) == size or sum(b.size for b in p) >= 64 << 20 for p in found[:-1])
    assert all(0 < len(part) <= size for part in found)


# -- workers that fail, or lie --------------------------------------------------------------------


def lie(data: bytes) -> bytes:
    """Says that all is there; nothing is."""
    archives = msgspec.json.decode(data, type=Parcel).archives
    return msgspec.json.encode(Sent([blob.digest for blob in archives]))


def written(data: bytes, wrong: Callable[[Descriptor], bytes], everything: bool = False) -> bytes:
    """Says that all is there, and other bytes are."""
    given = msgspec.json.decode(data, type=Parcel)
    archives = given.archives
    if everything:
        there = [path for path in Path(given.catalog, "blobs").rglob("*") if path.is_file()]
        archives = [Descriptor(path.name, path.stat().st_size) for path in there]
    for blob in archives:
        path = Path(given.to.to, blob_path(blob.digest))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wrong(blob))
    return lie(data)


def answering(**said: Any) -> Callable[[bytes], bytes]:
    return lambda data: msgspec.json.encode(said)


def failing(error: Exception) -> Callable[[bytes], bytes]:
    def fail(data: bytes) -> bytes:
        raise error

    return fail


BAD: dict[str, Callable[[bytes], bytes]] = {
    "says that it sent, and did not": lie,
    "sent other bytes": lambda data: written(data, lambda blob: b"other"),
    "sent other bytes of this size": lambda data: written(data, lambda blob: bytes(blob.size)),
    "sent nothing at all": lambda data: written(data, lambda blob: b""),
    "sent other bytes, also of other parcels": lambda data: written(
        data, lambda blob: bytes(blob.size), everything=True
    ),
    "sent other bytes, and garbage": lambda data: written(data, lambda blob: b"x")[:20],
    "answers another parcel": answering(archives=["ab" * 32]),
    "answers with no digest": answering(archives=["../../state.json"]),
    "sent without end": answering(requests=1 << 40),
    "is no JSON": lambda data: b"\x80\x04",
    "is too large": lambda data: b" " * (64 << 20),
    "is of another type": answering(archives={"a": 1}),
    "did a part": lambda data: msgspec.json.encode(
        Sent(msgspec.json.decode(deliver(data), type=Sent).archives[:2])
    ),
    "has no rights": answering(failed="AccessDenied"),
    "is an engine's error": failing(RuntimeError("lost")),
    "is a killed process": failing(BrokenExecutor("killed")),
}


@pytest.mark.parametrize("times", [1, 100], ids=["once", "always"])
@pytest.mark.parametrize("deed", BAD.values(), ids=BAD)
def test_what_a_worker_did_badly_is_nowhere_at_the_place(
    project: Project, deed: Callable[[bytes], bytes], times: int
) -> None:
    publish(project, "alone")
    done = publish(project, "many", Told(*[deed] * times).crew())
    assert place(project, "many") == place(project, "alone")
    assert done.notes and all(len(note) < 300 for note in done.notes)
    with Session.open(project, PublishTo(to=str(project.folder.parent / "many"))) as session:
        assert session.audit(NOW, repair=False) == []


def test_workers_that_are_gone_leave_the_rest_to_the_command(project: Project) -> None:
    publish(project, "alone")
    told = Told()

    def require() -> None:
        if len(told.given) > 3:
            raise CrewLost("no worker for 120 seconds")

    done = publish(project, "many", told.crew(require))
    assert place(project, "many") == place(project, "alone")
    assert "the rest was sent without workers: no worker for 120 seconds" in done.notes
    assert len(told.given) == 4


def test_an_archive_that_is_damaged_here_is_sent_by_no_worker(project: Project) -> None:
    blobs = project.layout.catalog / "blobs"
    path = sorted(path for path in blobs.rglob("*") if path.is_file())[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamageError, match=r"not .* bytes long"):
        publish(project, "alone")
    told = Told()
    with pytest.raises(DamageError, match=r"not .* bytes long"):
        publish(project, "many", told.crew())
    assert not (project.folder.parent / "many" / blob_path(path.name)).exists()


class Killed(BaseException):
    """What a test raises in the place of SIGKILL."""


@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
@pytest.mark.parametrize("workers", [True, False], ids=["workers", "alone"])
def test_what_workers_of_a_killed_publish_wrote_is_nowhere_in_the_end(
    project: Project, tmp_path: Path, first: bool, workers: bool
) -> None:
    if not first:
        publish(project, "many")
        push(project, charts(tmp_path / "more", 40)[24:], Override(namespace="ns"), NOW)

    def wrong(data: bytes) -> bytes:
        written(data, lambda blob: bytes(blob.size))
        raise Killed

    with pytest.raises(Killed):
        publish(project, "many", Told(wrong).crew())
    publish(project, "many", Told().crew() if workers else None)
    publish(project, "alone")
    there = {
        path: data
        for path, data in place(project, "many").items()
        if path.startswith("catalog/blobs/")
    }
    alone = place(project, "alone")
    assert len(there) == (24 if first else 40)
    assert all(data == alone[path] for path, data in there.items())
    with Session.open(project, PublishTo(to=str(tmp_path / "many"))) as session:
        assert session.audit(NOW, repair=False) == []


def test_what_a_killed_first_publish_left_is_not_given_out(project: Project) -> None:
    publish(project, "alone")
    count = 0

    def dying(data: bytes) -> bytes:
        nonlocal count
        count += 1
        if count > 2:
            raise Killed
        return deliver(data)

    with pytest.raises(Killed):
        publish(project, "many", Told(*[dying] * 9).crew())
    there = [
        path for path in files(project.folder.parent / "many") if path.startswith("catalog/blobs/")
    ]
    damaged = project.folder.parent / "many" / there[0]
    damaged.write_bytes(b"half")
    told = Told()
    done = publish(project, "many", told.crew())
    given = {blob_path(blob.digest) for each in told.given for blob in each.archives}
    assert given and not given & set(there) and len(given) + len(there) == PACKAGES
    assert not any("without workers" in note for note in done.notes)
    assert place(project, "many") == place(project, "alone")


# -- the lease ------------------------------------------------------------------------------------


class Slow(Executor):
    """Does nothing until something is so."""

    def __init__(self, is_time: Callable[[], bool]) -> None:
        self.is_time = is_time

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def wait() -> None:
            deadline = time.monotonic() + 30
            while not self.is_time() and time.monotonic() < deadline:
                time.sleep(0.01)
            if future.set_running_or_notify_cancel():
                future.set_result(fn(*args))

        threading.Thread(target=wait, daemon=True).start()
        return future


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look is a minute after the one before."""
    moment = 0.0

    def minutes() -> float:
        nonlocal moment
        moment += 61
        return moment

    monkeypatch.setattr(lease, "_seconds", minutes)
    monkeypatch.setattr(crews, "_LOOK_SECONDS", 0.02)


def test_the_lease_is_renewed_while_workers_work(project: Project, hasty: None) -> None:
    state = project.folder.parent / "many" / STATE
    times: set[str] = set()

    def renewed() -> bool:
        times.add(msgspec.json.decode(state.read_bytes())["lease"]["time"])
        return len(times) > 5

    publish(project, "many", Crew(2, lambda: Slow(renewed), afar=True))
    publish(project, "alone")
    assert len(times) > 5 and place(project, "many") == place(project, "alone")


def test_who_loses_the_lease_while_workers_work_looks_again(project: Project, hasty: None) -> None:
    state = project.folder.parent / "many" / STATE
    taken: list[bool] = []

    def take() -> bool:
        if not taken:
            taken.append(True)
            found = msgspec.json.decode(state.read_bytes())
            found["serial"] += 1
            found["lease"]["run"] = ""
            state.write_bytes(msgspec.json.encode(found))
            time.sleep(0.5)
        return True

    publish(project, "many", Crew(2, lambda: Slow(take), afar=True))
    publish(project, "alone")
    assert taken and place(project, "many") == place(project, "alone")


# -- processes ------------------------------------------------------------------------------------


def dying(data: bytes) -> bytes:
    """The first of the workers that do this is killed."""
    flag = Path(msgspec.json.decode(data, type=Parcel).to.to, ".cnrmirror", "killed")
    try:
        flag.open("x").close()
    except FileExistsError:
        return deliver(data)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_killed_worker_costs_its_parcels_another_try(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couriers, "deliver", dying)
    publish(project, "alone")
    crew = crews.local(2)
    try:
        done = publish(project, "many", crew)
    finally:
        crew.close()
    assert any("was lost with its process" in note for note in done.notes)
    assert place(project, "many") == place(project, "alone")


def test_several_destinations_of_several_processes(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home")
    machine("init", "m", "--store", "./place")
    archives = map(str, charts(tmp_path / "charts", 110))
    machine("-C", "m", "push", "--namespace", "ns", *archives)
    with (machine.folder / "m/mirror.yaml").open("a") as file:
        file.write("publish: {one: {to: ../one}, two: {to: ../two, links: false}}\n")
    text = machine("-C", "m", "publish", "--workers", "2")
    assert "without workers" not in text and "done again" not in text, text
    machine("-C", "m", "publish", "./three")
    assert shown(machine.folder / "one") == shown(machine.folder / "three")
    assert machine("-C", "m", "publish", "--audit").count("all well") == 2


def test_processes_of_this_machine_are_believed_and_cost_no_request(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(self: FolderObjects, blob: Descriptor) -> bool:
        raise AssertionError(blob)

    monkeypatch.setattr(FolderObjects, "has_whole", asked, raising=False)
    told = Told()
    publish(project, "many", Crew(2, lambda: told))
    publish(project, "alone")
    assert len(told.given) == 5 and place(project, "many") == place(project, "alone")


# -- the command ----------------------------------------------------------------------------------


def test_what_cannot_be_is_said_before_anything_is_done(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "here")
    machine("init", "m")
    machine("cluster", "certificates", "certs")
    at = ("--cluster", "tls://127.0.0.1:1", "--certificates", "certs")
    run = ("-C", "m", "publish", "./out")
    assert "without --cluster" in machine(*run, *at, "--workers", "2", code=2)
    assert "go together" in machine(*run, "--certificates", "certs", code=2)
    assert "in a bucket" in machine(*run, *at, code=2)
    assert "leave one out" in machine(*run, *at, "--catch-up", code=2)
    assert "--audit compares" in machine(*run, "--workers", "2", "--audit", code=2)
    assert not (machine.folder / "out").exists()
    machine(*run, "--workers", "2", "--dry-run")
    assert not (machine.folder / "out").exists()


def test_a_cluster_is_for_buckets_and_meets_no_keys(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wish = Wish(address="tls://127.0.0.1:1", certificates=tmp_path)
    store = StoreAt(to="s3://memory/x")
    msgspec.structs.force_setattr(project.config, "store", store)
    bucket, folder = PublishTo(to="gs://public/x"), PublishTo(to=str(tmp_path))
    wish.check_to(project, [bucket])
    with pytest.raises(UsageError, match="is on this machine's: publish to a bucket"):
        wish.check_to(project, [bucket, folder])
    for name in ("CNRMIRROR_KEYS", "CNRMIRROR_KEYS_FD"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "3")
            with pytest.raises(UsageError, match=f"env -u {name} cnrmirror publish"):
                wish.check_to(project, [bucket])


def test_where_something_must_be_signed_a_cluster_is_of_no_use_and_nothing_is_changed(
    project: Project, tmp_path: Path
) -> None:
    publish(project, "many")
    shutil.copytree(project.folder, tmp_path / "second", symlinks=True)
    shutil.rmtree(tmp_path / "second/.state/memory/destinations")
    second = reopen(tmp_path / "second")
    push(project, charts(tmp_path / "one", 25)[24:], Override(namespace="ns"), NOW)
    push(second, charts(tmp_path / "two", 26)[25:], Override(namespace="ns"), NOW)
    publish(project, "many")
    before = files(tmp_path / "many")
    second.signer = None
    told = Told()
    target = PublishTo(to=str(tmp_path / "many"))
    with pytest.raises(NotTrusted) as found:
        _outcome(_Order(second, lambda s: _publish(s, False), True, False, told.crew()), target)
    assert "publish without it once" in found.value.__notes__[-1]
    assert files(tmp_path / "many") == before and not told.given


def test_a_parcel_tells_no_more_than_a_worker_needs(project: Project) -> None:
    told = Told()
    with (project.folder / "mirror.yaml").open("a") as file:
        file.write("publish: {there: {to: ../there, links: false}}\n")
    again = reopen(project.folder)
    (target,) = find_destinations(again, ["there"])
    with Session.open(again, target) as session:
        session.couriers = Couriers(told.crew(), again, target)
        session.publish(NOW)
    assert Path(told.given[0].to.to).resolve() == project.folder.parent / "there"
    assert told.given[0].__struct_fields__ == ("to", "learned", "catalog", "store", "archives")


def test_a_worker_says_what_it_cannot_do_in_json() -> None:
    for data in (b"", b"{}", b"\x80"):
        assert msgspec.json.decode(deliver(data), type=Sent).failed
    assert parcel.SIZE >= 100
