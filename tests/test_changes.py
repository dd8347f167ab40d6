"""catalog/changes.py: what changed is said once, and nothing that did not."""

from __future__ import annotations

import msgspec
import pytest

from cnrmirror.catalog.changes import Change, document_changes
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Channel, Content, PackageDocument, Release, Tombstone


def release(number: str, text: str = "a", time: str = "2026-01-01T00:00:00") -> Release:
    blob = Descriptor.of(text.encode())
    content = Content(blob.digest, "x", blob.size)
    return Release(number, "helm", time, "type", content, blob)


ONE = PackageDocument("ns/a", [release("1.0.0")], [Channel("stable", "1.0.0", ["1.0.0"])])
DIGEST = Descriptor.of(b"a").digest
OTHER = Descriptor.of(b"b").digest


def changed(**fields: object) -> PackageDocument:
    return msgspec.structs.replace(ONE, **fields)


CASES = {
    "nothing": (ONE, ONE, []),
    "a package that came": (
        None, ONE,
        [Change("+", "ns/a:stable", "1.0.0"), Change("+", "ns/a@1.0.0 (helm)", DIGEST)],
    ),
    "a package that went": (
        ONE, None,
        [Change("-", "ns/a:stable", "1.0.0"), Change("-", "ns/a@1.0.0 (helm)", DIGEST)],
    ),
    "another archive with the same content": (
        ONE,
        changed(releases=[msgspec.structs.replace(ONE.releases[0], blob=Descriptor.of(b"b"))]),
        [Change("~", "ns/a@1.0.0 (helm) archive", OTHER)],
    ),
    "other content": (
        ONE, changed(releases=[release("1.0.0", "b")]), [Change("~", "ns/a@1.0.0 (helm)", OTHER)],
    ),
    "another time": (
        ONE, changed(releases=[release("1.0.0", time="2026-02-02T00:00:00")]),
        [Change("~", "ns/a@1.0.0 (helm) created", "2026-02-02T00:00:00")],
    ),
    "a channel that moved": (
        ONE, changed(channels=[Channel("stable", "1.1.0", ["1.1.0", "1.0.0"])]),
        [Change("~", "ns/a:stable", "1.1.0")],
    ),
    "a channel with another history": (
        ONE, changed(channels=[Channel("stable", "1.0.0", ["1.0.0", "0.9.0"])]),
        [Change("~", "ns/a:stable releases", "1.0.0 0.9.0")],
    ),
    "a release that was removed without a reason": (
        ONE,
        PackageDocument("ns/a", [], [], [Tombstone("1.0.0", "helm", DIGEST, "2026", "")]),
        [
            Change("-", "ns/a:stable", "1.0.0"),
            Change("-", "ns/a@1.0.0 (helm)", DIGEST),
            Change("+", "ns/a@1.0.0 (helm) removed", ""),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_said_once(name: str) -> None:
    old, new, expected = CASES[name]
    assert document_changes(old, new) == expected
