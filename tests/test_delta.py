"""What lies between two revisions: brought whole, or without a root that promises more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.catalog.delta import Brought, Span, bring, metadata_files
from cnrmirror.catalog.nodes import LayeredNodes, RemoteNodes
from cnrmirror.catalog.tree import EMPTY, CatalogReader
from cnrmirror.mirror import change
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import IncompleteError
from cnrmirror.model.progress import NoProgress
from cnrmirror.model.signed import retained_versions
from cnrmirror.objects.base import blob_pieces
from cnrmirror.objects.folder import FolderReader
from cnrmirror.objects.store import Store
from tests.conftest import NOW, chart_bytes
from tests.mirrors import make


@pytest.fixture
def sender(tmp_path: Path) -> Project:
    project = make(tmp_path / "a", "00000000-0000-4000-8000-00000000000a")
    for release in ("1.0.0", "2.0.0"):
        path = tmp_path / f"a-{release}.tgz"
        path.write_bytes(chart_bytes("a", release))
        push(project, [path], Override(namespace="ns"), NOW)
    change.remove(project, change.Removal("ns/a", "1.0.0", None, "a test"), NOW)
    return project


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for name in ("store", "scratch"):
        (tmp_path / name).mkdir()
    return Store(tmp_path / "store", tmp_path / "scratch")


def span(sender: Project) -> tuple[Span, list[Descriptor]]:
    history = [*sender.catalog.history(sender.head().catalog)][::-1]
    return Span(EMPTY, history), [at for at, _ in history]


def test_every_revision_of_a_span_is_whole_where_it_was_brought(
    sender: Project, store: Store
) -> None:
    reader = FolderReader(sender.site)
    wanted, roots = span(sender)
    nodes = LayeredNodes(store, RemoteNodes(reader), keep=True)

    def blob(wanted: Descriptor) -> Iterator[bytes]:
        return blob_pieces(reader, wanted, "")

    done = bring(wanted, nodes, blob, NoProgress())
    assert done.blobs == 2
    catalog = CatalogReader(store)
    for at in roots:
        for ref in catalog.packages(catalog.root(at).tree):
            assert all(store.has_blob(r.blob) for r in catalog.document(ref).releases)
    assert bring(wanted, nodes, blob, NoProgress()) == Brought()


def test_no_root_is_put_where_something_that_it_needs_could_not_be_had(
    sender: Project, store: Store
) -> None:
    newest = sender.document("ns/a").releases[0].blob
    reader = FolderReader(sender.site)

    def blob(wanted: Descriptor) -> Iterator[bytes]:
        if wanted == newest:
            raise IncompleteError("gone")
        return blob_pieces(reader, wanted, "")

    wanted, roots = span(sender)
    nodes = LayeredNodes(store, RemoteNodes(reader), keep=True)
    with pytest.raises(IncompleteError):
        bring(wanted, nodes, blob, NoProgress())
    assert not any(store.has_root(at) for at in roots)
    assert [path for path, _, _ in store.walk("targets")] == []


def test_what_is_retained_is_told_once_for_all(sender: Project) -> None:
    head = sender.metadata.signed_head()
    assert head.retained() == retained_versions(
        head.kept, {"targets": 1, "catalog": head.catalog.version, "snapshot": 4}
    )
    assert {role: len(versions) for role, versions in head.retained().items()} == {
        "root": 1, "targets": 1, "catalog": 4, "snapshot": 4,
    }  # fmt: skip
    assert not any(head.retained_since(head).values())
    files = {r.path.rpartition("/")[2] for r in metadata_files(sender.metadata, head, None)}
    there = {path.name for path in sender.metadata.path.iterdir()} - {"timestamp.json"}
    assert files == there
