"""Dead registries: a damaged datastore or dump gives what is whole in it, and names what is not."""

from __future__ import annotations

import fnmatch
import json
import mmap
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from cnrmirror.model.errors import IncompleteError, InputError
from cnrmirror.objects.http import HttpReader, Patience
from cnrmirror.sources import keys
from cnrmirror.sources.backup import BackupSource
from cnrmirror.sources.base import Ask
from cnrmirror.sources.dump import readable
from cnrmirror.sources.filters import Filter, Wanted
from cnrmirror.sources.keys import EtcdKeys, FolderKeys, Keys, RedisKeys
from cnrmirror.sources.keyvalue import KeyValueSource
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.report import PARTIAL
from cnrmirror.sync.run import sync
from tests.conftest import NOW
from tests.dead import DAMAGES, Damage, P, Store, datastore, in_folder
from tests.hostile import hosting
from tests.mirrors import make
from tests.test_sources import PACKAGES, InBackup, reply
from tests.test_sync import releases
from tests.users import ordinary_user


class Redis:
    """As much of Redis as is asked for; SCAN gives keys twice, as it may."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def strlen(self, key: str) -> int:
        return len(self._store.get(key, b""))

    def exists(self, key: str) -> int:
        return int(key in self._store)

    def getrange(self, key: str, start: int, end: int) -> bytes:
        return self._store[key][start : end + 1]

    def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[bytes]]:
        names = sorted(self._store)
        some = names[cursor : cursor + 5]
        found = [name.encode() for name in some if fnmatch.fnmatchcase(name, match)]
        return (cursor + 5 if cursor + 5 < len(names) else 0), found * 2


def etcd(store: Store, path: str) -> tuple[int, Any]:
    """etcd's answer: a value, a directory with the values right in it, or 404."""
    key = unquote(path.removeprefix("/v2/keys/"))
    if key in store:
        return 200, {"action": "get", "node": {"key": f"/{key}", "value": store[key].decode()}}
    below = {k[len(key) + 1 :].partition("/")[0] for k in store if k.startswith(f"{key}/")}
    if not below:
        return 404, {"errorCode": 100, "message": "Key not found"}
    nodes = [
        {"key": f"/{key}/{name}", "value": store[f"{key}/{name}"].decode()}
        if f"{key}/{name}" in store
        else {"key": f"/{key}/{name}", "dir": True}
        for name in sorted(below)
    ]
    return 200, {"action": "get", "node": {"key": f"/{key}", "dir": True, "nodes": nodes}}


def placed(kind: str, store: Store, folder: Path, stack: ExitStack) -> Keys:
    """A store of one kind, with these keys."""
    if kind == "redis":
        return RedisKeys(Redis(store))
    (folder / "store").mkdir()
    if kind == "folder":
        in_folder(store, folder / "store")
        return FolderKeys(folder / "store")

    def answer(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        status, value = etcd(store, handler.path)
        reply(handler, json.dumps(value).encode(), status)
        return True

    host = stack.enter_context(hosting(folder / "store"))
    host.fault = answer
    http = HttpReader(host.url, Patience(attempts=1), sleep=lambda seconds: None)
    stack.callback(http.close)
    return EtcdKeys(http)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


KINDS = ("folder", "redis", "etcd")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_what_is_whole_is_rescued_and_what_is_lost_is_named(
    kind: str, damage: Damage, tmp_path: Path, stack: ExitStack
) -> None:
    store = datastore()
    damage.act(store)
    source = KeyValueSource("dead", placed(kind, store, tmp_path, stack))
    damage.check(make(tmp_path / "mirror", "dead"), source)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [[], ["packages.json"]])
def test_a_store_with_nothing_to_rescue_is_an_error_and_not_empty(
    kind: str, left: list[str], tmp_path: Path, stack: ExitStack
) -> None:
    store = {P + key: b"{" for key in left} | {"else/where": b"x"}
    source = KeyValueSource("dead", placed(kind, store, tmp_path, stack))
    with pytest.raises((IncompleteError, InputError)):
        source.look(Ask())


@pytest.mark.parametrize("kind", KINDS)
def test_a_registry_that_never_had_a_package_is_empty(
    kind: str, tmp_path: Path, stack: ExitStack
) -> None:
    store = {f"{P}packages.json": b'{"packages": {}}'}
    listing = KeyValueSource("dead", placed(kind, store, tmp_path, stack)).look(Ask())
    assert not (listing.offers or listing.holes or listing.notes) and listing.certain


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_damaged_index_nothing_is_dropped(
    kind: str, tmp_path: Path, stack: ExitStack
) -> None:
    store, project = datastore(), make(tmp_path / "mirror", "dead")
    source = KeyValueSource("dead", placed(kind, store, tmp_path, stack))
    rules = Rules(deletes="follow", max_shrink=1)
    sync(project, [(source, rules)], NOW)
    for key in [k for k in store if "/other/" in k or k.endswith("packages.json")]:
        del store[key]
        (tmp_path / "store" / key).unlink(missing_ok=True)
    (report,) = sync(project, [(source, rules)], NOW).sources
    assert len(releases(project)) == 6 and not [a for a in report.actions if a.kind == "drop"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_filter_leaves_out_is_neither_read_nor_a_hole(
    kind: str, tmp_path: Path, stack: ExitStack
) -> None:
    store = datastore()
    store[f"{P}acme/app/releases.json"] = b"{"
    source = KeyValueSource("dead", placed(kind, store, tmp_path, stack))
    wanted = Wanted(Filter(packages=["other/*", "acme/web"]))
    listing = source.look(Ask(wanted))
    assert len(listing.offers) == 3 and listing.holes == []
    kpm = source.look(Ask(Wanted(Filter(media_types=["kpm"], exclude=["acme/app"]))))
    assert not kpm.offers and not kpm.holes


def test_etcd_is_walked_and_no_archive_is_sent_by_it(tmp_path: Path, stack: ExitStack) -> None:
    keys = placed("etcd", datastore(), tmp_path, stack)
    assert sorted(keys.packages(P, [])) == ["acme/app", "acme/web", "other/db"]
    assert isinstance(keys, EtcdKeys)
    assert keys._http.requests == 1 + 2 + 3  # type: ignore[attr-defined]


def test_a_namespace_or_a_file_that_cannot_be_looked_into_is_a_hole(tmp_path: Path) -> None:
    in_folder(datastore(), tmp_path / "store")
    (tmp_path / "store" / P / "acme").chmod(0)
    (tmp_path / "store" / P / "other/db/releases.json").chmod(0)
    with ordinary_user(tmp_path / "store") as copy:
        listing = KeyValueSource("dead", FolderKeys(copy)).look(Ask())
        (copy / P / "acme").chmod(0o700)
    (tmp_path / "store" / P / "acme").chmod(0o700)
    reasons = {hole.reason.split(": ")[-1] for hole in listing.holes}
    assert len(listing.holes) >= 2 and reasons == {"Permission denied"}


def test_a_key_of_redis_that_is_no_text_is_a_hole() -> None:
    class Typed(Redis):
        def strlen(self, key: str) -> int:
            if key.endswith("app/releases.json"):
                raise ValueError("WRONGTYPE Operation against a key")
            return super().strlen(key)

    listing = KeyValueSource("dead", RedisKeys(Typed(datastore()))).look(Ask())
    assert [hole.package for hole in listing.holes] == ["acme/app"] and len(listing.offers) == 3


def test_a_redis_whose_keys_have_no_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_MAX_PAGES", 5)

    class Endless(Redis):
        def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[bytes]]:
            return cursor + 1, []

    with pytest.raises(InputError, match="no end"):
        KeyValueSource("dead", RedisKeys(Endless({}))).look(Ask())


def test_a_store_has_so_many_packages_and_no_more(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_MAX_PACKAGES", 2)
    source = KeyValueSource("dead", placed("folder", datastore(), tmp_path, stack))
    with pytest.raises(InputError, match="more than 2 packages"):
        source.look(Ask())


def test_links_in_a_folder_lead_nowhere(tmp_path: Path) -> None:
    in_folder(datastore(), tmp_path / "real")
    (tmp_path / "store/appr").mkdir(parents=True)
    (tmp_path / "store/appr/packages").symlink_to(tmp_path / "real/appr/packages")
    listing = KeyValueSource("dead", FolderKeys(tmp_path / "store")).look(Ask())
    assert listing.offers == [] and len(listing.holes) == 3


# -- a dump ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True])
def test_a_dump_that_is_cut_anywhere_gives_what_stands_before_the_cut(
    tmp_path: Path, turned: bool
) -> None:
    place = InBackup(tmp_path, ExitStack())
    place.dump["channels"] = [{"package": "ns/a", "name": "stable", "current": "1.0.0"}]
    place.dump["packages"][0]["metadata"] = {"text": 'a "quoted" {bracket} [ \\" '}
    order = ["packages", "channels"] if turned else ["channels", "packages"]
    whole = json.dumps({key: place.dump[key] for key in order})
    entries = [json.dumps(entry) for entry in place.dump["packages"]]
    ends = [whole.index(entry) + len(entry) for entry in entries]
    path = tmp_path / "data/dump"
    for cut in range(len(whole)):
        path.write_text(whole[:cut])
        standing = sum(end <= cut for end in ends)
        try:
            listing = BackupSource("dump", path).look(Ask())
        except InputError:
            assert standing == 0
            continue
        assert len(listing.offers) == standing > 0
        assert listing.holes[0].package == "" and f"{standing} packages" in listing.holes[0].reason


def test_a_cut_dump_is_synced_with_a_hole_and_its_archives_are_right(tmp_path: Path) -> None:
    place, project = InBackup(tmp_path, ExitStack()), make(tmp_path / "mirror", "dead")
    path = tmp_path / "data/dump"
    text = path.read_text()
    path.write_text(text[: text.index('"ns/c"')])
    (report,) = sync(project, [(place.source(), Rules(deletes="follow"))], NOW).sources
    assert report.exit_code == PARTIAL and len(releases(project)) == 3
    (hole,) = report.holes
    assert "byte" in hole.what and "it is cut off: 3 packages can be read" in hole.reason


def test_a_dump_that_is_damaged_within_gives_the_entries_around_it(tmp_path: Path) -> None:
    place = InBackup(tmp_path, ExitStack())
    path = tmp_path / "data/dump"
    path.write_text(path.read_text().replace('"release": "2.0.0"', '"release": 2.0.0', 1))
    listing = place.source().look(Ask())
    assert len(listing.offers) == sum(map(len, PACKAGES.values())) - 1
    assert any("damaged" in hole.reason for hole in listing.holes)
    assert any(hole.what.startswith("entry ") for hole in listing.holes)


@pytest.mark.parametrize("text", ["[]", "<html>", '{"packages": []', "{", '"', '{"a": "', "\0" * 9])
def test_what_is_no_dump_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "dump").write_text(text)
    with pytest.raises(InputError, match="not a registry's backup"):
        BackupSource("dump", tmp_path / "dump").look(Ask())


def test_only_lists_of_the_dumps_own_are_read(tmp_path: Path) -> None:
    text = '{"other": [{"packages": [{"x": 1}]}], "packages": [{"y": "}"}], "x": "packages"'
    (tmp_path / "dump").write_text(text)
    with (tmp_path / "dump").open("rb") as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        found, end, cut = readable(data)
        assert [bytes(entry) for entry in found["packages"]] == [b'{"y": "}"}'] and cut
        assert data[:end].endswith(b'"}"}')


def test_a_filter_reaches_into_a_dump(tmp_path: Path) -> None:
    place = InBackup(tmp_path, ExitStack())
    del place.entry()["content"]
    place.write()
    source = place.source()
    assert [h.what for h in source.look(Ask()).holes] == ["ns/b@1.0.0"]
    listing = source.look(Ask(Wanted(Filter(exclude=["ns/b"]))))
    assert len(listing.offers) == 3 and listing.holes == []
