"""What a sync keeps of every package between runs: equal to what is read afresh, and read once."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnrmirror.catalog.tree import Catalog
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import (
    Attachment,
    Channel,
    Content,
    Node,
    PackageDocument,
    Release,
    Tombstone,
)
from cnrmirror.objects.sealed import read_sealed, write_sealed
from cnrmirror.sources.base import Ask, Listing, Offer
from cnrmirror.sync import known
from cnrmirror.sync.known import Known, outlined
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.run import sync
from tests.conftest import NOW, chart_bytes

MANIFEST = "application/vnd.appr.package-manifest.helm.v0.json"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "SHARD", 32)


@pytest.fixture
def read(project: Project, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The packages whose documents were read in the mirror."""
    found: list[str] = []
    original = project.store.get

    def get(digest: str, size: int, kind: Any) -> Any:
        document = original(digest, size, kind)
        if isinstance(document, PackageDocument):
            found.append(document.package)
        return document

    monkeypatch.setattr(project.store, "get", get)
    return found


def document(number: int, text: str) -> PackageDocument:
    """A package that has all that an outline keeps, and what it leaves out."""
    blob = Descriptor.of(text.encode())
    more = [Attachment("application/pgp-signature", blob.digest, blob.size)] * (number % 2)
    releases = [
        Release(f"1.{n}.0", "helm", NOW, MANIFEST, Content(blob.digest, "x", 9), blob,
                origin=("push", "up")[n % 2], attachments=more)
        for n in range(1 + number % 3)
    ]  # fmt: skip
    channels = [Channel("stable", "1.0.0", ["1.0.0"])] * (number % 5 == 0)
    stones = [Tombstone("0.1.0", "helm", blob.digest, NOW, text)] * (number % 7 == 0)
    return PackageDocument(f"ns/p{number}", releases, channels, stones).sorted()


def changed(catalog: Catalog, tree: Node, numbers: Sequence[int], text: str) -> Node:
    documents = [document(number, text) for number in numbers]
    return catalog.change(tree, {d.package: catalog.put(d) for d in documents})


def afresh(catalog: Catalog, tree: Node) -> list[tuple[str, PackageDocument]]:
    refs = catalog.packages(tree)
    return [(d.package, outlined(d)) for d in catalog.documents(refs)]


def files(project: Project) -> list[Path]:
    return sorted(project.layout.ledger.iterdir())


@settings(max_examples=25, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    changes=st.lists(
        st.tuples(
            st.lists(st.integers(0, 400), min_size=1, max_size=150),
            st.sampled_from(["change", "remove", "forget one", "damage one"]),
        ),
        min_size=1, max_size=5,
    ),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_what_is_kept_equals_what_is_read_afresh_after_any_changes(
    project: Project, changes: list[tuple[list[int], str]], seed: int
) -> None:
    dice, tree = random.Random(seed), project.tree()
    tree = changed(project.catalog, tree, range(0, 400, 2), "first")
    for round_, (numbers, act) in enumerate(changes):
        if act == "remove":
            tree = project.catalog.change(tree, {f"ns/p{n}": None for n in numbers})
        else:
            tree = changed(project.catalog, tree, numbers, str(round_))
        assert list(Known(project, tree).items()) == afresh(project.catalog, tree)
        some = files(project)
        if act == "forget one" and some:
            dice.choice(some).unlink()
        if act == "damage one" and some:
            path = dice.choice(some)
            data = bytearray(path.read_bytes())
            data[dice.randrange(len(data))] ^= 1
            path.write_bytes(data)
    assert list(Known(project, tree).items()) == afresh(project.catalog, tree)


def test_only_documents_that_changed_are_read_again(project: Project, read: list[str]) -> None:
    tree = changed(project.catalog, project.tree(), range(300), "first")
    Known(project, tree)
    assert len(read) == 300
    read.clear()
    Known(project, tree)
    assert read == []
    tree = changed(project.catalog, tree, [7, 250], "second")
    Known(project, tree)
    assert sorted(read) == ["ns/p250", "ns/p7"]


def test_files_that_are_needed_no_more_are_removed(project: Project) -> None:
    tree = changed(project.catalog, project.tree(), range(300), "first")
    Known(project, tree)
    assert len(files(project)) > 10
    tree = project.catalog.change(tree, {f"ns/p{n}": None for n in range(3, 300)})
    Known(project, tree)
    assert [path.name for path in files(project)] == ["all.json", "index.json"]


def test_a_whole_file_of_another_node_is_not_taken_for_this_ones(project: Project) -> None:
    tree = changed(project.catalog, project.tree(), range(300), "first")
    Known(project, tree)
    one, other = files(project)[:2]
    other.write_bytes(one.read_bytes())
    assert list(Known(project, tree).items()) == afresh(project.catalog, tree)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"form":2,"node":"x","rows":{"ns/p1":7}}', b"\xff"])
def test_a_whole_file_of_another_form_is_made_again(project: Project, body: bytes) -> None:
    tree = changed(project.catalog, project.tree(), range(10), "first")
    Known(project, tree)
    for path in files(project):
        write_sealed(path, body, project.layout.making)
    assert list(Known(project, tree).items()) == afresh(project.catalog, tree)
    for path in files(project):
        assert bytes(read_sealed(path) or b"") != body


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read."""
    found: list[str] = []
    original = read_sealed

    def reading(path: Path) -> Any:
        found.append(path.name)
        return original(path)

    monkeypatch.setattr(known, "read_sealed", reading)
    return found


def test_a_file_is_read_only_if_a_package_in_it_is_asked_for(
    project: Project, opened: list[str]
) -> None:
    tree = changed(project.catalog, project.tree(), range(300), "first")
    Known(project, tree)
    opened.clear()
    kept = Known(project, tree)
    assert kept.count("push") + kept.count("up") == 600 and kept.signed("up") == {"provenance": 100}
    assert list(kept.owned("nobody")) == [] and opened == ["index.json"]
    assert kept["ns/p7"] == outlined(document(7, "first")) and "ns/p7" in kept
    assert len(opened) == 2
    assert "ns/none" not in kept and kept.get("ns/none") is None and len(opened) <= 3


def test_a_change_has_one_file_read_and_made_again(project: Project, opened: list[str]) -> None:
    tree = changed(project.catalog, project.tree(), range(300), "first")
    Known(project, tree)
    tree = changed(project.catalog, tree, [7], "second")
    opened.clear()
    Known(project, tree)
    assert len(opened) == 2
    assert list(Known(project, tree).items()) == afresh(project.catalog, tree)


def test_what_is_owned_and_counted_equals_what_is_read_afresh(project: Project) -> None:
    tree = changed(project.catalog, project.tree(), range(300), "first")
    Known(project, tree)
    tree = changed(project.catalog, tree, range(0, 300, 7), "second")
    kept, documents = Known(project, tree), [d for _, d in afresh(project.catalog, tree)]
    for origin in ("push", "up"):
        owned = [(d.package, *r.key) for d in documents for r in d.releases if r.origin == origin]
        assert list(kept.owned(origin)) == owned and kept.count(origin) == len(owned)


def test_a_damaged_index_is_made_again(project: Project) -> None:
    tree = changed(project.catalog, project.tree(), range(300), "first")
    before = Known(project, tree).count("up")
    index = project.layout.ledger / "index.json"
    whole = index.read_bytes()
    index.write_bytes(whole[:-9])
    assert Known(project, tree).count("up") == before and index.read_bytes() == whole


def test_a_disk_that_refuses_the_files_is_no_harm(project: Project) -> None:
    tree = changed(project.catalog, project.tree(), range(10), "first")
    project.layout.ledger.write_text("in the way")
    with pytest.raises(FileExistsError):
        write_sealed(project.layout.ledger / "x", b"", project.layout.making)
    assert list(Known(project, tree).items()) == afresh(project.catalog, tree)


class Many:
    """A source of packages in memory."""

    name = "up"

    def __init__(self, packages: int) -> None:
        self.offers: list[Offer] = []
        self.blobs: dict[str, bytes] = {}
        for number in range(packages):
            self.put(number, "1.0.0")

    def put(self, number: int, release: str) -> None:
        data = chart_bytes(f"p{number}", release)
        digest = Descriptor.of(data).digest
        self.blobs[digest] = data
        package = f"ns/p{number}"
        self.offers.append(Offer(package, release, "helm", NOW, MANIFEST, "", 0, digest,
                                 blob_digest=digest))  # fmt: skip

    def look(self, ask: Ask) -> Listing:
        stable = {f"ns/p{n}": [Channel("stable", "1.0.0", ["1.0.0"])] for n in range(20)}
        return Listing(self.offers, stable, [], [])

    def open(self, offer: Offer) -> Iterator[bytes]:
        yield self.blobs[offer.blob_digest]


def test_a_sync_of_one_new_release_reads_one_document_and_not_all(
    project: Project, read: list[str]
) -> None:
    source = Many(150)
    sync(project, [(source, Rules())], NOW)
    sync(project, [(source, Rules())], NOW)
    read.clear()
    source.put(77, "1.1.0")
    report = sync(project, [(source, Rules())], NOW)
    assert report.revision is not None
    assert set(read) == {"ns/p77"} and len(read) <= 6


def test_a_sync_that_finds_nothing_new_reads_no_document(project: Project, read: list[str]) -> None:
    source = Many(100)
    sync(project, [(source, Rules())], NOW)
    sync(project, [(source, Rules())], NOW)
    read.clear()
    assert sync(project, [(source, Rules())], NOW).revision is None
    assert read == []
