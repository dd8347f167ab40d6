"""A mirror whose site is in an object store: in a folder elsewhere, and at a double of Google's."""

from __future__ import annotations

import base64
import contextlib
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import blob_path
from cnrmirror.model.errors import (
    DamageError,
    InvalidDocument,
    NetworkError,
    StorageError,
    Tampered,
)
from cnrmirror.model.instant import Instant
from cnrmirror.objects.memory import MemoryObjects
from cnrmirror.objects.partial import PartialStore
from cnrmirror.publish import intakes
from cnrmirror.publish.shared import opened
from tests.gcs_double import Google, google
from tests.places import API, files
from tests.store_suite import Machine, StoreSuite


class TestFolder(StoreSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> tuple[str, dict[str, str]]:
        return str(tmp_path / "place"), {}

    def put(self, machine: Machine, key: str, data: bytes) -> None:
        (Path(machine.store) / key).write_bytes(data)


class TestGoogle(StoreSuite):
    @pytest.fixture
    def service(self) -> Iterator[Google]:
        with google() as found:
            self.google = found
            yield found

    @pytest.fixture
    def place(self, service: Google) -> tuple[str, dict[str, str]]:
        return f"gs://{service.bucket}/mirror", {"STORAGE_EMULATOR_HOST": service.url}

    def put(self, machine: Machine, key: str, data: bytes) -> None:
        old = self.google.objects[f"mirror/{key}"]
        old.data, old.generation, old.etag = data, next(self.google.numbers), "another"


# -- the store itself ------------------------------------------------------------------------------


@pytest.fixture
def objects() -> dict[str, bytes]:
    return {}


@pytest.fixture
def store(tmp_path: Path, objects: dict[str, bytes]) -> PartialStore:
    return _store(tmp_path / "here", objects)


def _store(folder: Path, objects: dict[str, bytes], limit: int = 1000) -> PartialStore:
    scratch = folder / "making"
    scratch.mkdir(parents=True)
    return PartialStore(
        folder / "catalog", scratch, lambda store: MemoryObjects(store, objects), limit
    )


def _keep(store: PartialStore, number: int, size: int) -> Descriptor:
    data = bytes([number]) * size
    blob = Descriptor.of(data)
    store.add_blob(blob, [data])
    return blob


def _here(store: PartialStore) -> int:
    return sum(status.st_size for _, _, status in store.walk("blobs"))


def test_many_new_archives_are_sent_before_they_fill_the_disk(
    store: PartialStore, objects: dict[str, bytes]
) -> None:
    said: list[int] = []
    store.before_sending = lambda: said.append(len(objects))
    blobs = [_keep(store, number, 100) for number in range(20)]
    assert _here(store) <= 1000
    assert said == [0]  # it is said again only after a while
    assert store.sent == set(objects)
    for number, blob in enumerate(blobs):
        assert store.has_blob(blob)
        with store.open_blob(blob) as stream:
            assert stream.read() == bytes([number]) * 100


def test_what_is_settled_stays_as_far_as_there_is_room(
    store: PartialStore, objects: dict[str, bytes], tmp_path: Path
) -> None:
    blobs = [_keep(store, number, 100) for number in range(8)]
    other = _store(tmp_path / "there", objects)
    for blob in blobs[:5]:
        other.open_blob(blob).close()
    for number in range(10, 30):
        _keep(other, number, 90)
    other.settle()
    assert _here(other) <= 1000 and not other.sent


def test_a_blob_that_several_need_at_the_same_time_is_read_once(
    store: PartialStore, objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blobs = [_keep(store, number, 200) for number in range(6)]
    other = _store(tmp_path / "there", objects)
    asked: list[str] = []
    fetch = other.place.fetch

    def slow(path: str, size: int) -> Iterator[bytes]:
        asked.append(path)
        time.sleep(0.05)
        return fetch(path, size)

    monkeypatch.setattr(other.place, "fetch", slow)
    with ThreadPoolExecutor(12) as executor:
        for stream in executor.map(other.open_blob, blobs[:3] * 4):
            stream.close()
    assert sorted(asked) == sorted(blob_path(blob.digest) for blob in blobs[:3])


def test_what_another_process_put_there_is_read_as_long_as_there_is_room(
    store: PartialStore, objects: dict[str, bytes], tmp_path: Path
) -> None:
    blobs = [_keep(store, number, 200) for number in range(6)]
    store.send()
    other = _store(tmp_path / "there", objects)
    # Half of 1000 bytes: two are read, and of the rest the size is asked for.
    assert other.holds(blobs[:5]) and _here(other) == 400
    assert other.sent == {blob_path(blob.digest) for blob in blobs[:5]}
    objects[blob_path(blobs[5].digest)] = b"y" * 200
    assert not _store(tmp_path / "third", objects).holds(blobs[5:]), "these are other bytes"
    del objects[blob_path(blobs[5].digest)]
    assert not _store(tmp_path / "fourth", objects).holds(blobs[5:])


def test_other_bytes_than_those_of_the_name_are_refused_and_not_kept(
    store: PartialStore, objects: dict[str, bytes]
) -> None:
    blobs = [_keep(store, number, 100) for number in range(5)]
    key = next(key for key in objects if blobs[0].digest in key)
    objects[key] = b"x" * 100
    with pytest.raises(Tampered):
        store.open_blob(blobs[0])
    with pytest.raises(Tampered):
        store.open_file(key)
    del objects[key]
    with pytest.raises(DamageError, match="missing"):
        store.open_blob(blobs[0])


def test_what_the_place_refuses_is_no_fault_of_who_gives_an_archive(
    store: PartialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise NetworkError("place: 503")

    monkeypatch.setattr(store.place, "create", refuse)
    with pytest.raises(StorageError, match="the mirror's store: place: 503"):
        for number in range(10):
            _keep(store, number, 100)
    monkeypatch.setattr(store.place, "size", refuse)
    with pytest.raises(StorageError):
        store.has_blob(Descriptor.of(b"another"))


def test_many_threads_may_keep_archives_at_once(
    store: PartialStore, objects: dict[str, bytes]
) -> None:
    def work(start: int) -> None:
        for number in range(start, start + 20):
            _keep(store, number, 50)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    here = {digest for _, digest, _ in store.walk("blobs")}
    there = {key.rpartition("/")[2] for key in objects}
    assert len(here | there) == 50


# -- who sends archives early ----------------------------------------------------------------------


def test_a_run_that_sends_archives_is_known_until_it_ends_or_a_day_is_over(
    store: PartialStore,
) -> None:
    place, now = store.place, Instant.of(datetime.now(UTC))
    assert not intakes.under_way(place, now)
    intakes.say(place, "one", now)
    intakes.say(place, "two", now)
    intakes.say(place, "one", None)
    assert intakes.under_way(place, now)
    assert not intakes.under_way(place, now.plus(timedelta(days=1)))
    intakes.say(place, "three", now.plus(timedelta(days=1)))
    intakes.say(place, "three", None)
    assert not intakes.under_way(place, now)


def test_a_run_of_the_far_future_is_no_run_and_what_has_no_time_is_named(
    store: PartialStore, objects: dict[str, bytes]
) -> None:
    place, now = store.place, Instant.of(datetime.now(UTC))
    intakes.say(place, "one", now.plus(timedelta(days=400)))
    assert not intakes.under_way(place, now)
    objects[intakes.INTAKES] = b'{"one": "never"}'
    with pytest.raises(InvalidDocument, match=r"intakes\.json: not of this program"):
        intakes.under_way(place, now)


# -- a whole mirror --------------------------------------------------------------------------------


@pytest.fixture
def machines(tmp_path: Path) -> tuple[Machine, Machine]:
    """Two machines, whose caches are as small as they can be, and that share what they remember."""
    store = str(tmp_path / "place")
    first, second = (Machine(tmp_path / n, store, {}, tmp_path / "keys") for n in ("one", "two"))
    first.run("init", str(first.folder), "--store", store)
    root = str(first.folder / "root.json")
    second.run("init", str(second.folder), "--store", store, "--root", root)
    for machine in (first, second):
        path = machine.folder / "mirror.yaml"
        more = f"  cache_mib: 1\n  memory: {tmp_path / 'private'}\n"
        path.write_text(path.read_text() + more)
    return first, second


def test_archives_that_are_sent_early_are_no_waste_to_who_tidies_up(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one, two = machines
    charts = tmp_path / "charts"
    charts.mkdir()
    project = opened(Project(one.folder))
    for number in range(12):
        path = Path(one.chart(f"c{number}", "1.0.0", size=100_000))
        data = path.read_bytes()
        project.store.add_blob(Descriptor.of(data), [data])
        path.rename(charts / path.name)
    assert project.partial and project.partial.sent
    assert "removed 0 files" in two.run("gc", "--grace-hours", "0")
    assert "all well" in two.run("check")
    one.run("push", "--namespace", "ns", str(charts))
    assert sum(path.stat().st_size for path in one.blobs) <= 1 << 20
    assert len(two.listed()) == 12 and "all well" in two.run("check")


def test_a_machine_that_is_made_anew_remembers_by_the_private_place(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one, two = machines
    one.push("web", "1.0.0")
    old = (Path(one.store) / "catalog/metadata/timestamp.json").read_bytes()
    one.push("web", "1.1.0")
    two.forget()
    assert "nothing is remembered" not in two.run("list")
    (Path(one.store) / "catalog/metadata/timestamp.json").write_bytes(old)
    two.forget()
    two.run("list", code=9)
    assert not [p for p in files(Path(one.store)) if "memory" in p]


def test_a_private_place_within_the_mirror_is_refused(machines: tuple[Machine, Machine]) -> None:
    one, _ = machines
    path = one.folder / "mirror.yaml"
    path.write_text(re.sub("memory: .*", f"memory: {one.store}/private", path.read_text()))
    assert "which is public" in one.run("list", code=2)


def test_what_is_served_follows_what_others_do(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    one.push("web", "1.0.0")
    with served(two) as url:
        assert [r["release"] for r in get(f"{url}/{API}/ns/web")] == ["1.0.0"]
        one.push("web", "1.1.0")
        deadline = time.monotonic() + 60
        while len(get(f"{url}/{API}/ns/web")) != 2:
            assert time.monotonic() < deadline
            time.sleep(0.5)


def test_a_push_to_the_server_is_in_the_store_when_it_is_answered(
    machines: tuple[Machine, Machine],
) -> None:
    one, two = machines
    with served(two, "--accept-push", CNRMIRROR_TOKEN="a-token-of-the-tests") as url:
        data = Path(one.chart("web", "1.0.0")).read_bytes()
        body = {"blob": base64.b64encode(data).decode(), "release": "1.0.0", "media_type": "helm"}
        answer = requests.post(
            f"{url}/{API}/ns/web", json=body, timeout=60,
            headers={"Authorization": "a-token-of-the-tests"},
        )  # fmt: skip
        assert answer.ok, answer.text
        assert one.listed() == {"ns/web": ["1.0.0"]}


@contextlib.contextmanager
def served(machine: Machine, *more: str, **environment: str) -> Iterator[str]:
    """What ``serve`` answers for a machine: its address."""
    machine.environment.update(environment)
    process = machine.start("serve", "--port", "0", *more)
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        yield next(line.split()[-1] for line in lines if line.startswith("serving on"))
    finally:
        process.terminate()
        process.communicate(timeout=30)


def get(url: str) -> Any:
    answer = requests.get(url, timeout=30)
    assert answer.ok, answer.text
    return answer.json()


def test_there_is_a_mirror_already_and_none_yet(machines: tuple[Machine, Machine]) -> None:
    one, _ = machines
    again = Machine(one.folder.with_name("again"), one.store, {}, one.folder.with_name("keys"))
    text = again.run("init", str(again.folder), "--store", one.store, code=4)
    assert "--root ROOT.JSON" in text
    root = str(one.folder / "root.json")
    empty = f"{one.store}-empty"
    other = Machine(one.folder.with_name("other"), empty, {}, one.folder.with_name("keys"))
    text = other.run("init", str(other.folder), "--store", empty, "--root", root, code=5)
    assert "no mirror" in text
    assert not again.folder.exists() and not other.folder.exists()
    other.run("init", str(other.folder), "--store", one.store, "--root", root)
    (other.folder / "root.json").unlink()
    assert "root.json: missing" in other.run("list", code=3)


def test_a_store_on_a_disk_is_named_as_seen_from_here_and_never_holds_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    machine = Machine(tmp_path / "one", "", {}, tmp_path / "keys")
    for place in ("one", "."):
        text = machine.run("init", "one", "--store", place, code=2)
        assert "use another folder" in text and not machine.folder.exists()
    machine.run("init", "one", "--store", "place/of/it")
    machine.push("web", "1.0.0")
    assert "1 package, 1 release, 1 blob" in machine.run("check")
    assert (tmp_path / "place/of/it/catalog").is_dir()


def test_a_wrong_address_of_a_service_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "one", "", {}, tmp_path / "keys")
    made = "init", str(machine.folder), "--store"
    assert "Invalid endpoint" in machine.run(*made, "s3://bucket/p", "--endpoint", "x", code=3)
    assert "3 to 63" in machine.run(*made, "s3://b/p", code=3)
    assert not machine.folder.exists() and not (tmp_path / "keys").exists()


def test_a_service_in_trouble_is_asked_again_and_a_refusal_changes_nothing(
    tmp_path: Path,
) -> None:
    with google() as service:
        environment = {"STORAGE_EMULATOR_HOST": service.url}
        machine = Machine(tmp_path / "one", "gs://site/m", environment, tmp_path / "keys")
        machine.run("init", str(machine.folder), "--store", machine.store)
        service.trouble = 3
        machine.push("web", "1.0.0")
        service.lost = 2
        machine.push("web", "1.1.0")
        assert machine.listed() == {"ns/web": ["1.1.0", "1.0.0"]}
        assert "all well" in machine.run("check")
