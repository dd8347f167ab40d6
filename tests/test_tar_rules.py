"""header.py, pax.py, gziphead.py: what readers differ about is refused, its twin is accepted."""

from __future__ import annotations

import io

import pytest

from cnrmirror.archive.inspect import ArchiveInfo, ArchiveReader, inspect
from cnrmirror.archive.scan import Limits, TarScanner
from cnrmirror.model.errors import HostileArchive, InputError
from tests.fuzz.build import END, extended, gzipped, header, record
from tests.fuzz.mutate import generated
from tests.fuzz.rules import CHART, RULES


def read(data: bytes) -> ArchiveInfo:
    return inspect(io.BytesIO(data))


@pytest.mark.parametrize("name", RULES)
def test_what_readers_differ_about_is_refused(name: str) -> None:
    with pytest.raises(HostileArchive):
        read(RULES[name].bad)


@pytest.mark.parametrize("name", RULES)
def test_its_twin_that_all_read_alike_is_accepted(name: str) -> None:
    assert read(RULES[name].good).unpacked


@pytest.mark.parametrize("name", RULES)
def test_what_is_refused_is_told_in_a_sentence(name: str) -> None:
    with pytest.raises(HostileArchive, match=r"^(the archive|member|symlink) ") as caught:
        read(RULES[name].bad)
    assert str(caught.value).isprintable()


def names(tar: bytes) -> set[str]:
    scanner = TarScanner(Limits(), lambda name: 0)
    scanner.feed(tar + END)
    scanner.close()
    return set(scanner.captured)


@pytest.mark.parametrize(
    ("tar", "name"),
    [
        (extended(record(b"path", b"c/z")) + header(b"c/f"), "c/z"),
        (extended(b"c/z\0", b"L") + header(b"c/f"), "c/z"),
        (header(b"f", prefix=b"c/p"), "c/p/f"),
        (header(b"n" * 100, prefix=b"p" * 155), f"{'p' * 155}/{'n' * 100}"),
        (extended(record(b"path", b"c/z")) + header(b"f", prefix=b"c/p"), "c/z"),
        (header(b"./c/./f"), "c/f"),
    ],
)
def test_a_member_has_the_name_that_all_readers_see(tar: bytes, name: str) -> None:
    assert names(tar) == {name}


@pytest.mark.parametrize(
    ("tar", "why"),
    [
        (extended(record(b"path", b"c/z", b"  ")) + header(b"c/f"), "malformed PAX record"),
        (header(b"c/f", tail=b"tar\0"), "where star writes its times.*repack it"),
        (extended(b"c/z", b"L") + header(b"c/f"), "its size and its NUL"),
        (header(b"c/f", magic=bytes(8)), "repack it as ustar, pax or GNU tar"),
        (header(b"c/f", size=b" " * 12), "size is not an octal number"),
    ],
)
def test_the_sentence_says_what_is_wrong(tar: bytes, why: str) -> None:
    with pytest.raises(HostileArchive, match=why):
        names(tar)


def test_a_file_may_have_a_short_name_that_is_cut_behind_a_slash() -> None:
    long = record(b"path", b"n" * 99 + b"/values.yaml")
    assert names(extended(long) + header(b"n" * 99 + b"/")) == {"n" * 99 + "/values.yaml"}


def test_go_leaves_out_of_a_short_name_what_is_not_ascii() -> None:
    assert names(extended(record(b"path", "c/é".encode())) + header(b"c/")) == {"c/é"}


def test_a_gzip_header_is_read_in_chunks_of_any_size() -> None:
    data = gzipped(CHART + END, name=b"c.tgz", comment=b"Helm", extra=b"x" * 300)
    for size in (1, 2, 9, 11, 13, 311):
        reader = ArchiveReader()
        for at in range(0, len(data), size):
            reader.feed(data[at : at + size])
        assert reader.close().blob.size == len(data)


def test_a_gzip_name_without_end_is_refused_before_all_of_it_is_there() -> None:
    reader = ArchiveReader()
    reader.feed(gzipped(b"", name=b"n" * 500)[:300])
    with pytest.raises(HostileArchive, match="file name is longer than 511 bytes"):
        reader.feed(b"n" * 300)


@pytest.mark.parametrize("n", range(200))
def test_an_archive_that_is_changed_in_many_places_never_breaks_the_reader(n: int) -> None:
    try:
        read(generated(1, n).data)
    except InputError:
        pass


def test_the_fuzzer_makes_an_archive_again_from_its_seed_and_number() -> None:
    assert generated(7, 11) == generated(7, 11) != generated(7, 12)
