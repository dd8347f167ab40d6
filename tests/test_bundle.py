"""Bundles: volumes as planned, readable by tar, made again byte for byte, and hostile ones."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnrmirror.bundle import format as bundle
from cnrmirror.bundle.format import Contents, Member, Selection, Volume
from cnrmirror.bundle.read import BundleReader, check_volumes
from cnrmirror.cli.export import _bytes
from cnrmirror.model.errors import (
    CnrMirrorError,
    ConflictError,
    DamageError,
    InputError,
    InvalidDocument,
    NewerFormat,
    UsageError,
)
from cnrmirror.model.format import KNOWN
from cnrmirror.model.progress import NoProgress
from cnrmirror.model.receipt import Receipt, expected_catalog
from cnrmirror.objects.base import read

WORDS = st.text("abcdef0123456789/", min_size=1, max_size=90).map(lambda s: f"x/{s}".strip("/"))
PATHS = WORDS.filter(lambda s: "//" not in s)
SIZES = st.one_of(st.integers(0, 3000), st.sampled_from([511, 512, 513, 70_000, 1 << 20]))
MEMBERS = st.lists(st.builds(Member, PATHS, SIZES), max_size=40, unique_by=lambda m: m.path)


def opened(member: Member) -> BinaryIO:
    seed = hashlib.sha256(member.path.encode()).digest()
    return io.BytesIO((seed * (member.size // 32 + 1))[: member.size])


def contents(volumes: list[Volume], **changes: Any) -> Contents:
    cut = Selection("0" * 64)
    return msgspec.structs.replace(
        Contents(1, "r", 1, -1, "t", "a receipt", "{}", cut, volumes), **changes
    )


def write(folder: Path, *volumes: list[Member]) -> Contents:
    """A bundle of these volumes, complete but for a catalog."""
    folder.mkdir(parents=True)
    written = [
        bundle.write_volume(folder, bundle.volume_name(n), members, opened, NoProgress())
        for n, members in enumerate(volumes, 1)
    ]
    made = contents(written)
    bundle.write_text(folder, made, "read me\n", b"")
    return made


@given(MEMBERS, st.integers(80_000, 2 << 20))
def test_volumes_hold_every_member_once_in_order_below_the_cap(
    members: list[Member], cap: int
) -> None:
    if any(m.size > cap - 4096 for m in members):
        with pytest.raises(InputError, match="needs volumes of at least"):
            bundle.plan_volumes([Member("x", cap)], cap)
        return
    planned = bundle.plan_volumes(members, cap)
    assert [m for volume in planned for m in volume] == members
    assert all(planned)
    assert all(bundle.measure("v", volume).size <= cap for volume in planned)
    assert bundle.plan_volumes(members, cap) == planned
    assert len(bundle.plan_volumes(members, 0)) == bool(members)


def test_a_volume_never_has_a_longer_index_than_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bundle, "MAX_INDEX", 4096)
    planned = bundle.plan_volumes([Member(f"x/{n}", 1) for n in range(500)], 0)
    assert len(planned) > 5
    assert all(bundle.measure("v", volume).index <= 4096 for volume in planned)


@settings(max_examples=30, deadline=None)
@given(MEMBERS.filter(lambda found: sum(m.size for m in found) < 10 << 20))
def test_a_written_volume_is_as_measured_and_tar_reads_it(
    tmp_path_factory: pytest.TempPathFactory, members: list[Member]
) -> None:
    folder = tmp_path_factory.mktemp("volume") / "out"
    made = write(folder, members).volumes[0]
    measured = bundle.measure(made.name, members)
    assert msgspec.structs.replace(made, digest=measured.digest) == measured
    data = (folder / made.name).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (made.size, made.digest)
    with tarfile.open(folder / made.name) as tar:
        assert tar.getnames() == ["index.json", *(m.path for m in members)]
        for member in members:
            stream = tar.extractfile(member.path)
            assert stream is not None and stream.read() == opened(member).read()
    reader = BundleReader([folder])
    for member in members:
        assert read(reader.fetch(member.path, member.size)) == opened(member).read()


def test_tar_and_sha256sum_read_a_bundle(tmp_path: Path) -> None:
    members = [Member("catalog/a", 1000), Member("catalog/b/c", 0)]
    write(tmp_path / "out", members[:1], members[1:])
    run: Callable[..., Any] = subprocess.run
    run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=True)
    for name in ("volume-001.tar", "volume-002.tar"):
        run(["tar", "-xf", name], cwd=tmp_path / "out", check=True)
    assert (tmp_path / "out/catalog/a").read_bytes() == opened(members[0]).read()
    assert (tmp_path / "out/catalog/b/c").read_bytes() == b""


def test_a_file_that_changed_its_size_ends_the_export_and_leaves_no_volume(tmp_path: Path) -> None:
    for size in (9, 11):

        def wrong(member: Member, data: bytes = bytes(size)) -> BinaryIO:
            return io.BytesIO(data)

        with pytest.raises(DamageError, match="not 10 bytes long"):
            bundle.write_volume(tmp_path, "volume-001.tar", [Member("a", 10)], wrong, NoProgress())
        assert list(tmp_path.iterdir()) == []


def test_a_volume_made_again_is_refused_if_it_is_another(tmp_path: Path) -> None:
    volume = write(tmp_path / "out", [Member("a", 10)]).volumes[0]
    again = tmp_path / "again"
    again.mkdir()
    arguments = (again, volume.name, [Member("a", 10)], opened, NoProgress())
    assert bundle.write_volume(*arguments, volume) == volume
    other = msgspec.structs.replace(volume, digest="1" * 64)
    (again / volume.name).unlink()
    with pytest.raises(ConflictError):
        bundle.write_volume(*arguments, other)
    assert list(again.iterdir()) == []


# -- what a hostile bundle says --------------------------------------------------------------------

HOSTILE_ENTRIES = [
    {"path": "a", "offset": 1536, "size": 1 << 52},
    {"path": "a", "offset": 1 << 52, "size": 10},
    {"path": "a", "offset": -1, "size": 10},
    {"path": "a", "offset": 1536, "size": -10},
    {"path": "a", "offset": 10**30, "size": 10},
    {"path": "a", "offset": 0, "size": 10},
    {"path": "../a", "offset": 1536, "size": 10},
    {"path": "/etc/passwd", "offset": 1536, "size": 10},
    {"path": "a//b", "offset": 1536, "size": 10},
    {"path": "", "offset": 1536, "size": 10},
    {"path": "a", "offset": "1536", "size": 10},
    {"path": "a", "offset": 1536},
]


def volume_with(folder: Path, index: bytes, *, files: int = 1) -> None:
    """A bundle of one volume with an index of one's own, its digests all right."""
    folder.mkdir()
    block = index + bytes(-len(index) % 512)
    data = bytes(512) + block + bytes(512) + bytes(512) + bytes(1024)
    (folder / "volume-001.tar").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    volume = Volume("volume-001.tar", len(data), len(index), files, digest)
    bundle.write_text(folder, contents([volume]), "", b"")


def test_the_layout_that_the_other_tests_break_is_a_good_one(tmp_path: Path) -> None:
    entry = {"path": "a", "offset": 1536, "size": 10}
    volume_with(tmp_path / "out", json.dumps({"files": [entry]}).encode())
    assert read(BundleReader([tmp_path / "out"]).fetch("a", 10)) == bytes(10)


@pytest.mark.parametrize("entry", HOSTILE_ENTRIES, ids=str)
def test_an_index_that_cannot_be_is_refused(tmp_path: Path, entry: dict[str, Any]) -> None:
    volume_with(tmp_path / "out", json.dumps({"files": [entry]}).encode())
    with pytest.raises(DamageError, match=r"volume-001\.tar: its index cannot be used"):
        BundleReader([tmp_path / "out"]).has("a")


@pytest.mark.parametrize(
    "index",
    [b"", b"{}", b"[]", b"\xff" * 40, b"[" * 90_000, b'{"files":null}', b'{"files":[]}'],
    ids=lambda data: repr(data[:12]),
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, index: bytes) -> None:
    volume_with(tmp_path / "out", index)
    with pytest.raises(DamageError):
        BundleReader([tmp_path / "out"]).has("a")


def test_an_index_is_not_read_beyond_its_bound(tmp_path: Path) -> None:
    made = write(tmp_path / "out", [Member("a", 10)])
    huge = msgspec.structs.replace(made.volumes[0], index=1 << 40)
    bundle.write_text(tmp_path / "out", contents([huge]), "", b"")
    with pytest.raises(DamageError, match="it has 1099511627776 bytes"):
        BundleReader([tmp_path / "out"]).has("a")


def test_a_path_in_two_volumes_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "out", [Member("a", 10)], [Member("a", 20)])
    with pytest.raises(DamageError, match="twice"):
        BundleReader([tmp_path / "out"]).has("a")


@pytest.mark.parametrize(
    "name", ["../x.tar", "/etc/passwd", "a/b", ".hidden", "", "volume-002.tar", "volume-001.tar\0"]
)
def test_a_volume_has_no_name_but_its_own(tmp_path: Path, name: str) -> None:
    made = write(tmp_path / "out", [Member("a", 10)])
    renamed = msgspec.structs.replace(made.volumes[0], name=name)
    bundle.write_text(tmp_path / "out", contents([renamed]), "", b"")
    with pytest.raises(InvalidDocument, match="is no name of volume 1"):
        BundleReader([tmp_path / "out"])


@pytest.mark.parametrize(
    "change",
    [{"format": 0}, {"volumes": None}, {"kind": "have"}, {"cut": {"catalog": "x"}}, {"cut": 1},
     {"revision": -1}, {"registry": 1}],
    ids=str,
)  # fmt: skip
def test_a_table_of_contents_that_cannot_be_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    write(tmp_path / "out", [Member("a", 10)])
    path = tmp_path / "out" / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InvalidDocument):
        BundleReader([tmp_path / "out"])


@pytest.mark.parametrize("text", ["", "{}", "[" * 100_000, "nul", " " * (17 << 20)], ids=len)
def test_what_is_no_table_of_contents_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(InvalidDocument):
        BundleReader([tmp_path])


def test_a_later_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text('{"format": 7, "something": "new"}')
    with pytest.raises(NewerFormat, match="needs a newer cnrmirror to be read"):
        BundleReader([tmp_path])
    (tmp_path / "bundle.json").write_text('{"format": {"read": 2, "write": 3}}')
    with pytest.raises(NewerFormat, match="format 2, this program knows 1"):
        BundleReader([tmp_path])


def test_a_format_that_only_writers_must_know_is_read_and_so_is_the_first(tmp_path: Path) -> None:
    write(tmp_path / "out", [Member("a", 10)])
    path = tmp_path / "out" / "bundle.json"
    found = json.loads(path.read_text())
    for written in (1, {"read": 1, "write": 1}, {"read": 1, "write": 9}):
        path.write_text(json.dumps({**found, "format": written}))
        assert BundleReader([tmp_path / "out"]).has("a")


def test_two_formats_of_one_table_of_contents_are_one_bundle() -> None:
    first = contents([])
    now = msgspec.structs.replace(first, format=KNOWN)
    assert first.same_as(now) and first != now
    assert not first.same_as(msgspec.structs.replace(first, revision=2))


def test_two_bundles_are_not_one(tmp_path: Path) -> None:
    write(tmp_path / "a", [Member("a", 10)])
    write(tmp_path / "b", [Member("b", 10)])
    with pytest.raises(InputError, match="two different bundles"):
        BundleReader([tmp_path / "a", tmp_path / "b"])


def test_of_two_copies_the_whole_one_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a", [Member("a", 10)])
    (tmp_path / "b").mkdir()
    whole = (tmp_path / "a" / "volume-001.tar").read_bytes()
    (tmp_path / "b" / "volume-001.tar").write_bytes(whole)
    (tmp_path / "a" / "volume-001.tar").write_bytes(whole[:-1])
    assert read(BundleReader([tmp_path / "a", tmp_path / "b"]).fetch("a", 10))


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_a_volume_that_is_no_file_is_missing(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "out", [Member("a", 10)])
    path = tmp_path / "out" / "volume-001.tar"
    path.unlink()
    if kind == "link":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        subprocess.run(["mkfifo", str(path)], check=True)
    findings = check_volumes(BundleReader([tmp_path / "out"]).found, NoProgress())
    assert [(f.path, f.problem) for f in findings] == [("volume-001.tar", "missing")]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2000))
def test_no_bytes_in_the_place_of_an_index_do_more_than_be_refused(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, where: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "noise"
    if not folder.exists():
        write(folder, [Member("a", 10), Member("b/c", 600)])
    path = folder / "volume-001.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:where] + noise + whole[where + len(noise) :])
    try:
        reader = BundleReader([folder])
        assert len(read(reader.fetch("b/c", 600))) == 600
    except CnrMirrorError:
        pass
    finally:
        path.write_bytes(whole)


# -- receipts and options --------------------------------------------------------------------------

RECEIPTS = st.builds(
    Receipt,
    st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=200),
    st.integers(0, 10**15 - 1), st.binary(min_size=32, max_size=32).map(bytes.hex),
    st.integers(0, 10**9 - 1), st.integers(0, 10**15 - 1),
    st.datetimes().map(lambda moment: moment.isoformat()),
)  # fmt: skip


@given(RECEIPTS)
def test_a_receipt_says_the_same_when_it_is_read(receipt: Receipt) -> None:
    assert Receipt.parse(str(receipt)) == receipt
    assert Receipt.parse(f" {receipt}\n") == receipt
    assert expected_catalog(str(receipt)) == receipt.catalog


@given(RECEIPTS, st.data())
def test_a_receipt_with_a_piece_missing_is_none(receipt: Receipt, data: st.DataObject) -> None:
    words = str(receipt).split(" ")
    words.pop(data.draw(st.integers(0, len(words) - 1)))
    with pytest.raises(InputError):
        Receipt.parse(" ".join(words))


def test_what_is_expected_comes_as_a_receipt_a_digest_or_a_file(tmp_path: Path) -> None:
    receipt = Receipt("r", 1, "a" * 64, 1, 2, "2026-01-02T03:04:05")
    path = tmp_path / "receipt.txt"
    path.write_text(f"{receipt}\nand more\n")
    given_as = (str(receipt), "a" * 64, "sha256:" + "a" * 64, str(path))
    assert {expected_catalog(text) for text in given_as} == {"a" * 64}
    for text in ("", "nothing", str(tmp_path), "A" * 64):
        with pytest.raises(InputError):
            expected_catalog(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [(None, 0), ("4G", 4 * 10**9), ("700m", 7 * 10**8), ("100000", 100_000), ("2T", 2 * 10**12)],
)
def test_a_volume_size_is_bytes_or_has_a_unit(text: str | None, size: int) -> None:
    assert _bytes(text) == size


@pytest.mark.parametrize("text", ["", "G", "4X", "-4G", "4.5G", "99999", "1K", "4 G", "٤G", "0x9"])
def test_another_volume_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--volume-size"):
        _bytes(text)
