"""A mirror whose site is in an object store: in a folder elsewhere, and at a double of Google's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import DamageError, Tampered
from cnrmirror.model.instant import Instant
from cnrmirror.objects.memory import MemoryObjects
from cnrmirror.objects.partial import PartialStore
from cnrmirror.publish import intakes
from tests.gcs_double import Google, google
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
    assert said[0] == 0 and len(said) == len(objects) // 5
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
