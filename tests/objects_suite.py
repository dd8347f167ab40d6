"""What every implementation of ``Objects`` and of ``Reader`` must do."""

from __future__ import annotations

import threading
from typing import ClassVar

import msgspec
import pytest

from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import CnrMirrorError, IncompleteError, Outdated, Tampered
from cnrmirror.model.progress import NoProgress
from cnrmirror.model.resource import Base64Json, Resource
from cnrmirror.objects.base import Objects, Reader, archive, read

Pair = tuple[Objects, Objects]
SILENT = NoProgress()


def put(objects: Objects, **files: bytes) -> None:
    objects.put([Resource(key, data) for key, data in files.items()], SILENT)


class ObjectsSuite:
    """A fixture ``pair`` gives one destination, opened twice, and empty.

    ``tells``: whether it keeps what readers are told of an object beside its bytes.
    """

    tells: ClassVar[bool] = True

    def test_what_is_put_is_read_and_what_is_not_there_is_none(self, pair: Pair) -> None:
        one, two = pair
        assert one.read("a", 100) is None
        put(one, a=b"1")
        found = two.read("a", 100)
        assert found is not None and found[0] == b"1"
        put(two, a=b"2")
        again = one.read("a", 100)
        assert again is not None and again[0] == b"2" and again[1] != found[1]

    def test_the_size_is_told_of_what_is_there(self, pair: Pair) -> None:
        assert pair[0].size("a") is None
        put(pair[0], a=b"12345")
        assert pair[1].size("a") == 5

    def test_an_archive_is_whole_with_its_bytes_and_headers_whoever_wrote_it(
        self, pair: Pair
    ) -> None:
        data = bytes(range(256)) * 300
        blob = Descriptor.of(data)
        good = msgspec.structs.replace(archive(blob), body=data)
        put(pair[1], a=b"1")
        assert not pair[0].has_whole(blob)
        pair[1].put([good], SILENT)
        assert pair[0].has_whole(blob)
        for wrong in (data[:-1], data[:-1] + b"x", data + b"x", b""):
            pair[1].put([msgspec.structs.replace(good, body=wrong)], SILENT)
            assert not pair[0].has_whole(blob)
        others = [{"media_type": "text/html"}, {"cache": "no-cache"}, {"filename": "a.exe"}]
        for other in others:
            pair[1].put([msgspec.structs.replace(good, **other)], SILENT)
            assert pair[0].has_whole(blob) != self.tells
        pair[1].put([good], SILENT)
        assert pair[0].has_whole(blob)

    def test_a_read_is_bounded(self, pair: Pair) -> None:
        put(pair[0], a=b"12345")
        with pytest.raises(Tampered):
            pair[0].read("a", 4)

    def test_what_is_there_is_not_created_again(self, pair: Pair) -> None:
        one, two = pair
        files = [Resource(f"catalog/metadata/{n}.x.json", b"1") for n in range(3)]
        assert one.create(files[:2], SILENT) == []
        others = [Resource(file.path, b"2") for file in files]
        assert sorted(two.create(others, SILENT)) == [file.path for file in files[:2]]
        found = [one.read(file.path, 100) for file in files]
        assert [item and item[0] for item in found] == [b"1", b"1", b"2"]

    def test_of_many_who_create_one_key_one_succeeds(self, pair: Pair) -> None:
        answers: list[tuple[bytes, list[str]]] = []

        def create(number: int) -> None:
            data = str(number).encode()
            answers.append((data, pair[number % 2].create([Resource("x/y", data)], SILENT)))

        threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [data for data, known in answers if not known]
        found = pair[0].read("x/y", 100)
        assert found is not None and winners == [found[0]] and len(answers) == 8

    def test_a_swap_needs_the_tag_that_is_there(self, pair: Pair) -> None:
        one, two = pair
        first = one.swap("p/q", b"1", None)
        with pytest.raises(Outdated):
            two.swap("p/q", b"2", None)
        second = two.swap("p/q", b"2", first)
        with pytest.raises(Outdated):
            one.swap("p/q", b"3", first)
        found = one.read("p/q", 100)
        assert found == (b"2", second)

    def test_a_tag_that_was_read_is_good_for_a_swap(self, pair: Pair) -> None:
        put(pair[0], a=b"1")
        found = pair[1].read("a", 100)
        assert found is not None
        pair[1].swap("a", b"2", found[1])

    def test_what_is_deleted_is_gone_and_what_is_not_there_does_no_harm(self, pair: Pair) -> None:
        put(pair[0], **{"d/e": b"1", "d/f": b"2"})
        pair[0].delete(["d/e", "nothing"])
        assert pair[1].read("d/e", 100) is None and pair[1].read("d/f", 100) is not None

    def test_a_folder_that_another_emptied_can_be_written_to(self, pair: Pair) -> None:
        one, two = pair
        put(one, **{"d/e": b"1"})
        two.delete(["d/e"])
        put(one, **{"d/f": b"2"})
        two.delete(["d/f"])
        assert one.create([Resource("d/g", b"3")], SILENT) == []
        assert two.read("d/g", 100) is not None

    def test_the_listing_has_everything_but_the_state(self, pair: Pair) -> None:
        put(pair[0], **{"a": b"1", "b/c": b"22", ".cnrmirror/state.json": b"{}"})
        assert {(item.key, item.size) for item in pair[1].listing()} == {("a", 1), ("b/c", 2)}

    def test_it_is_told_whether_a_listed_object_holds_a_resource(
        self, pair: Pair, project: Project
    ) -> None:
        blob = Descriptor.of(b"archive")
        project.store.add_blob(blob, [b"archive"])
        resources = [
            Resource("a", b"1"), Resource("b", blob), Resource("c", Base64Json(b"[", blob, b"]")),
        ]  # fmt: skip
        pair[0].put(resources, SILENT)
        listed = {item.key: item for item in pair[1].listing()}
        assert all(pair[1].holds(listed[r.path], r) for r in resources)
        assert not pair[1].holds(listed["a"], Resource("a", b"2"))
        put(pair[0], b=b"brchive")
        other = next(item for item in pair[1].listing() if item.key == "b")
        assert not pair[1].holds(other, resources[1])

    def test_it_reads_as_a_reader_does(self, pair: Pair) -> None:
        put(pair[0], **{"a/b": b"12345"})
        assert read(pair[1].fetch("a/b", 5)) == b"12345"
        with pytest.raises(Tampered):
            read(pair[1].fetch("a/b", 4))
        with pytest.raises(IncompleteError):
            read(pair[1].fetch("a/c", 5))

    def test_what_it_learned_it_takes_back(self, pair: Pair) -> None:
        pair[0].swap("a", b"1", None)
        pair[1].recall(pair[0].learned())
        assert pair[1].learned() == pair[0].learned()


class ReaderSuite:
    """A fixture ``reader`` reads ``files``."""

    files: ClassVar[dict[str, bytes]] = {"a": b"1", "b/c": bytes(100_000), "b/d e+f": b"3"}

    def test_every_file_is_read_whole(self, reader: Reader) -> None:
        for path, data in self.files.items():
            assert read(reader.fetch(path, len(data))) == data

    def test_a_file_that_is_longer_is_refused(self, reader: Reader) -> None:
        with pytest.raises(Tampered):
            read(reader.fetch("b/c", 99_999))

    def test_a_file_that_is_not_there_is_missing(self, reader: Reader) -> None:
        for path in ("x", "b/x", "x/y"):
            with pytest.raises(IncompleteError):
                read(reader.fetch(path, 100))

    def test_no_path_leads_out(self, reader: Reader) -> None:
        for path in ("../a", "/a", "b/../a", "b//c", "."):
            with pytest.raises(CnrMirrorError):
                read(reader.fetch(path, 100))
