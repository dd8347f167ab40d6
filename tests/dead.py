"""A registry's datastore as keys and values, what can be damaged in it, and what is then had."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from cnrmirror.archive.inspect import inspect
from cnrmirror.mirror.project import Project
from cnrmirror.sources.base import Source
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.report import PARTIAL, SourceReport
from cnrmirror.sync.run import sync
from tests.conftest import NOW, chart_bytes
from tests.test_sync import releases

Store = dict[str, bytes]
RELEASES = [
    ("acme/app", "1.0.0"), ("acme/app", "1.1.0"), ("acme/app", "1.2.0"),
    ("acme/web", "1.0.0"), ("other/db", "1.0.0"), ("other/db", "2.0.0"),
]  # fmt: skip
APP = "acme/app/releases.json"
P = "appr/packages/"


def datastore(pushed: list[tuple[str, str]] = RELEASES, prefix: str = P) -> Store:
    """The keys that a server writes for these; acme/app has a channel."""
    found: Store = {}
    index: dict[str, dict[str, Any]] = {}
    documents: dict[str, dict[str, Any]] = {}
    for package, release in pushed:
        namespace, name = package.split("/")
        blob = chart_bytes(name, release)
        digest = inspect(io.BytesIO(blob)).diff_id
        content = {"digest": digest, "size": len(blob), "urls": [], "mediaType": "x"}
        manifest = {
            "package": package, "release": release, "created_at": NOW, "metadata": None,
            "mediaType": "application/vnd.appr.package-manifest.helm.v0.json", "content": content,
        }  # fmt: skip
        index.setdefault(namespace, {})[name] = {"created_at": NOW}
        document = documents.setdefault(package, {"page": "1", "releases": {}, "channels": {}})
        stable = ["stable"] if (package, release) == ("acme/app", "1.2.0") else []
        document["releases"][release] = {"manifests": {"helm": manifest}, "channels": stable}
        if stable:
            document["channels"]["stable"] = {"name": "stable", "current": release}
        found[f"{prefix}{package}/digests/sha256/{digest}"] = base64.b64encode(blob)
    for package, document in documents.items():
        found[f"{prefix}{package}/releases.json"] = json.dumps(document).encode()
    found[f"{prefix}packages.json"] = json.dumps({"packages": index}).encode()
    return found


class Damage(msgspec.Struct, frozen=True):
    """One damage.

    Args:
        name: what is damaged.
        act: damages a store.
        rescued: how many of the releases are had nevertheless.
        lost: package and release of each hole.
        note: a word of a note, if there is one.
    """

    name: str
    act: Callable[[Store], object]
    rescued: int
    lost: set[tuple[str, str]] = set()
    note: str = ""

    def check(self, project: Project, source: Source) -> SourceReport:
        """Sync twice; all that must be had is, and every loss is named."""
        for _ in range(2):
            (report,) = sync(project, [(source, Rules(deletes="follow"))], NOW).sources
            assert len(releases(project)) == self.rescued, (report.error, report.holes)
            assert {(h.package, h.release) for h in report.holes} == self.lost
            assert report.exit_code == (PARTIAL if self.lost else 0)
            assert any(self.note in note for note in report.notes) or not self.note
        return report


def _index(store: Store, value: bytes | None) -> None:
    store.pop(f"{P}packages.json")
    if value is not None:
        store[f"{P}packages.json"] = value


def _edit(key: str, change: Callable[[Any], object]) -> Callable[[Store], None]:
    def act(store: Store) -> None:
        value = json.loads(store[P + key])
        change(value)
        store[P + key] = json.dumps(value).encode()

    return act


def _row(release: str, value: Any) -> Callable[[Store], None]:
    return _edit(APP, lambda document: document["releases"].update({release: value}))


def _blob(change: Callable[[bytes], bytes | None]) -> Callable[[Store], None]:
    def act(store: Store) -> None:
        (key,) = (k for k in store if k.startswith(f"{P}acme/web/digests/"))
        value = change(store.pop(key))
        if value is not None:
            store[key] = value

    return act


def _digest(document: Any) -> None:
    document["releases"]["1.1.0"]["manifests"]["helm"]["content"]["digest"] = "no digest"


def _both(store: Store) -> None:
    store.update(datastore([("acme/app", "1.0.0"), ("late/one", "1.0.0")], "cnr/packages/"))


def _no_lists(store: Store) -> None:
    store.pop(P + APP)
    _index(store, None)


DAMAGES = [
    Damage("nothing", lambda store: None, 6),
    Damage("no index", lambda store: _index(store, None), 6, note="is missing"),
    Damage("an index that is cut", lambda s: _index(s, s[f"{P}packages.json"][:40]), 6,
           note="is damaged"),
    Damage("an empty index", lambda store: _index(store, b""), 6, note="is damaged"),
    Damage("an index that is null", lambda store: _index(store, b"null"), 6, note="is damaged"),
    Damage("an HTML page for an index", lambda s: _index(s, b"<html>"), 6, note="is damaged"),
    Damage("an index of another type", lambda s: _index(s, b'{"packages": 3}'), 6,
           note="is damaged"),
    Damage("a namespace that is null",
           _edit("packages.json", lambda v: v["packages"].update(acme=None)), 6, note="'acme'"),
    Damage("a namespace that is left out",
           _edit("packages.json", lambda v: v["packages"].pop("acme")), 6, note="does not name"),
    Damage("a package that only the index has",
           _edit("packages.json", lambda v: v["packages"]["acme"].update(none={})), 6,
           {("acme/none", "")}),
    Damage("a name that cannot be kept",
           _edit("packages.json", lambda v: v["packages"]["acme"].update(_x={})), 6,
           {("acme/_x", "")}),
    Damage("a release that is null", _row("1.1.0", None), 5, {("acme/app", "1.1.0")}),
    Damage("a release that is a list", _row("1.1.0", []), 5, {("acme/app", "1.1.0")}),
    Damage("manifests that are null", _row("1.1.0", {"manifests": None}), 5,
           {("acme/app", "1.1.0")}),
    Damage("manifests that are none", _row("1.1.0", {"manifests": {}}), 5,
           {("acme/app", "1.1.0")}),
    Damage("a manifest without a digest", _edit(APP, _digest), 5, {("acme/app", "1.1.0")}),
    Damage("the release of a channel", _row("1.2.0", None), 5,
           {("acme/app", "1.2.0"), ("acme/app", "")}),
    Damage("a channel that is null", _edit(APP, lambda v: v["channels"].update(stable=None)), 6,
           {("acme/app", "")}),
    Damage("channels that are a list", _edit(APP, lambda v: v.update(channels=[1])), 6,
           {("acme/app", "")}),
    Damage("a list of releases that is cut", lambda s: s.update({P + APP: s[P + APP][:200]}), 3,
           {("acme/app", "")}),
    Damage("a list of releases that is missing", lambda store: store.pop(P + APP), 3,
           {("acme/app", "")}),
    Damage("a list of releases and the index", _no_lists, 3,
           {("acme/app", "")}, "is missing"),
    Damage("an archive that is missing", _blob(lambda value: None), 5, {("acme/web", "1.0.0")}),
    Damage("an archive that is cut", _blob(lambda value: value[:101]), 5,
           {("acme/web", "1.0.0")}),
    Damage("an archive of another package", _blob(lambda value: b"AAAA"), 5,
           {("acme/web", "1.0.0")}),
    Damage("two servers in one store", _both, 7),
]  # fmt: skip


def in_folder(store: Store, folder: Path) -> None:
    """Write a store as files."""
    for key, value in store.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)
