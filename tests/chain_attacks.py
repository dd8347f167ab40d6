"""What a host can do to the signed files of a mirror, and what the pages' script says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner

from tests.conftest import NOW
from tests.mirrors import key
from tests.scripts import META, Altered, digest_of

CLOCK = datetime.fromisoformat(f"{NOW}+00:00") + timedelta(hours=1)
NAME = "ns/p7"
Attack = Callable[[Altered], Any]


def _flip(which: str) -> Attack:
    return lambda site: site.flip(_path(site, which))


def _path(site: Altered, which: str) -> str:
    places = {"top": 0, "leaf": 1, "document": 2}
    if which in places:
        return [site.top, *site.nodes(NAME)][places[which]]
    return site.path(which)


def _gone(which: str) -> Attack:
    return lambda site: site.changes.update({_path(site, which): None})


def _replaced(which: str, change: Callable[[bytes], bytes]) -> Attack:
    def attack(site: Altered) -> None:
        path = _path(site, which)
        site.changes[path] = change(site.read(path))

    return attack


def _swapped(which: str, other: Callable[[Altered], str]) -> Attack:
    def attack(site: Altered) -> None:
        site.changes[_path(site, which)] = site.read(other(site))

    return attack


def _signed_by(role: str, *signers: str, **fields: Any) -> Attack:
    def attack(site: Altered) -> None:
        path = site.path(role)
        site.put(path, {**site.signed(path), **fields}, *signers)

    return attack


def _altered(role: str, signer: str, **fields: Any) -> Attack:
    return lambda site: site.alter(role, lambda signed: signed.update(fields), signer)


def _root_2(*signers: str, version: int = 2, **fields: Any) -> Attack:
    """A next root, which the timestamp names."""

    def attack(site: Altered) -> None:
        root = {**site.signed(site.path("root")), "version": version, **fields}
        site.put(f"{META}/2.root.json", root, *signers)
        site.alter("timestamp", lambda signed: signed["x-kept"].update(root=2), "refresh")

    return attack


def _root_with(*roots: str) -> dict[str, Any]:
    """Keys and roles of a root with other root keys."""
    public = {key(word).public_key.keyid: key(word).public_key.to_dict() for word in roots}
    online = {"timestamp": "refresh", "snapshot": "refresh", "targets": "targets"}
    keys = {key(word).public_key.keyid: key(word).public_key.to_dict() for word in online.values()}
    roles = {
        role: {"keyids": [key(word).public_key.keyid], "threshold": 1}
        for role, word in online.items()
    }
    return {
        "keys": {**public, **keys},
        "roles": {**roles, "root": {"keyids": [*public], "threshold": 2}},
    }


def _twice(path: str) -> Attack:
    """One signature stands there twice."""

    def attack(site: Altered) -> None:
        _root_2("root-1")(site)
        file = json.loads(site.read(path))
        file["signatures"] *= 2
        site.changes[path] = json.dumps(file).encode()

    return attack


def _one_key_twice(site: Altered) -> None:
    """A next root needs two keys for the timestamp; one key stands there under two ids."""
    root = site.signed(site.path("root"))
    known = key("refresh").public_key.keyid
    keys = {**root["keys"], "0" * 64: root["keys"][known]}
    role = {"keyids": [known, "0" * 64], "threshold": 2}
    _root_2("root-1", "root-2", keys=keys, roles={**root["roles"], "timestamp": role})(site)
    file = json.loads(site.read(site.timestamp))
    file["signatures"].append({**file["signatures"][0], "keyid": "0" * 64})
    site.changes[site.timestamp] = json.dumps(file).encode()


def _signed_otherwise(signer: CryptoSigner) -> Attack:
    """A next root names a key of another kind for the timestamp."""

    def attack(site: Altered) -> None:
        root = site.signed(site.path("root"))
        public = signer.public_key
        role = {"keyids": [public.keyid], "threshold": 1}
        keys = {**root["keys"], public.keyid: public.to_dict()}
        _root_2("root-1", "root-2", keys=keys, roles={**root["roles"], "timestamp": role})(site)
        site.put(site.timestamp, site.signed(site.timestamp), signer)

    return attack


def _foreign_ecdsa(site: Altered) -> None:
    _signed_otherwise(CryptoSigner.generate_ecdsa())(site)
    site.put(site.timestamp, site.signed(site.timestamp), CryptoSigner.generate_ecdsa())


def _other_document(site: Altered) -> None:
    """The leaf, which is signed, names another package's document."""
    other = json.loads(site.read(site.nodes("ns/p8")[-1]))
    data = json.dumps(other).encode()
    site.changes[f"catalog/nodes/sha256/{digest_of(data)[:2]}/{digest_of(data)}"] = data
    ref = {"name": NAME, "digest": digest_of(data), "size": len(data), "releases": 1}
    site.alter_top(tree={"kind": "leaf", "prefix": "", "packages": [ref]})


def _other_node(site: Altered) -> None:
    """The node of one digit stands at another's."""
    tree = json.loads(site.read(site.top))["tree"]
    digit = digest_of(NAME.encode())[0]
    tree["children"][digit] = tree["children"]["0" if digit != "0" else "1"]
    site.alter_top(tree=tree)


def _astray(site: Altered) -> None:
    """A leaf that holds the package is signed for another place of the tree."""
    leaf = json.loads(site.read(site.nodes(NAME)[0]))
    data = json.dumps({**leaf, "prefix": "f" if leaf["prefix"] != "f" else "0"}).encode()
    site.changes[f"catalog/nodes/sha256/{digest_of(data)[:2]}/{digest_of(data)}"] = data
    tree = json.loads(site.read(site.top))["tree"]
    tree["children"][leaf["prefix"]].update(digest=digest_of(data), size=len(data))
    site.alter_top(tree=tree)


def _too_long(site: Altered) -> None:
    """A catalog root of more than 8 MiB is signed."""
    site.alter_top(message="m" * (9 << 20))


def _to_nobody(site: Altered) -> None:
    site.alter("targets", lambda signed: signed.pop("delegations"), "targets")


GOOD: dict[str, tuple[Attack, dict[str, Any]]] = {
    "as it is": (lambda site: None, {}),
    "no package is asked for": (lambda site: None, {"name": ""}),
    "seen before": (lambda site: None, {"seen": {"root": 1, "timestamp": 1, "revision": 1}}),
    "the next root": (_root_2("root-1", "root-2"), {}),
    "a timestamp by ECDSA": (_signed_otherwise(CryptoSigner.generate_ecdsa()), {}),
    "other root keys": (
        _root_2("root-1", "root-2", "new-1", "new-2", **_root_with("new-1", "new-2")),
        {},
    ),
}
WHICH = ["timestamp", "snapshot", "targets", "catalog", "root", "top", "leaf", "document"]
BAD: dict[str, tuple[str, Attack, dict[str, Any]]] = {
    **{f"a bit of {w}": ("refused", _flip(w), {}) for w in WHICH},
    **{f"no {w}": ("missing", _gone(w), {}) for w in WHICH},
    **{f"{w} is cut": ("refused", _replaced(w, lambda d: d[:-1]), {}) for w in WHICH},
    **{f"{w} is empty": ("refused", _replaced(w, lambda d: b""), {}) for w in WHICH},
    **{
        f"{w} is of 5 MB": ("refused", _replaced(w, lambda d: d + b" " * 5_000_000), {})
        for w in WHICH
    },
    **{
        f"{days} days later": (
            "expired",
            lambda site: None,
            {"now": (CLOCK + timedelta(days=days)).timestamp() * 1000},
        )
        for days in (8, 100, 400)
    },
    **{
        f"timestamp by {who}": ("refused", _signed_by("timestamp", who, version=9), {})
        for who in ("publish", "targets", "root-1", "stranger")
    },
    "a timestamp that nobody signed": ("refused", _signed_by("timestamp", version=9), {}),
    "a moved expiry": (
        "refused",
        _replaced("timestamp", lambda d: d.replace(b"2026-01-09", b"2036-01-09")),
        {},
    ),
    "snapshot by publish": ("refused", _altered("snapshot", "publish"), {}),
    "targets by publish": ("refused", _altered("targets", "publish"), {}),
    "catalog by refresh": ("refused", _altered("catalog", "refresh"), {}),
    "catalog by targets": ("refused", _altered("catalog", "targets"), {}),
    "snapshot as timestamp": ("refused", _swapped("timestamp", lambda s: s.path("snapshot")), {}),
    "a snapshot called timestamp": (
        "refused",
        _altered("timestamp", "refresh", _type="snapshot"),
        {},
    ),
    "a timestamp called snapshot": (
        "refused",
        _altered("snapshot", "refresh", _type="timestamp"),
        {},
    ),
    "catalog as targets": ("refused", _swapped("targets", lambda s: s.path("catalog")), {}),
    "old snapshot": ("refused", _swapped("snapshot", lambda s: f"{META}/2.snapshot.json"), {}),
    "old catalog": ("refused", _swapped("catalog", lambda s: f"{META}/2.catalog.json"), {}),
    "a snapshot of another version": ("refused", _altered("snapshot", "refresh", version=2), {}),
    "a catalog of another version": ("refused", _altered("catalog", "publish", version=2), {}),
    "expired targets below fresh ones": (
        "expired",
        _altered("targets", "targets", expires="2026-01-01T00:00:00Z"),
        {},
    ),
    "an expiry that is none": ("expired", _altered("catalog", "publish", expires="never"), {}),
    "another package's document": (
        "refused",
        _swapped("document", lambda s: s.nodes("ns/p8")[-1]),
        {},
    ),
    "another package's document, signed": ("refused", _other_document, {}),
    "another leaf": ("refused", _swapped("leaf", lambda s: s.nodes("ns/p1")[0]), {}),
    "a leaf for another place, signed": ("refused", _astray, {}),
    "a catalog root of 9 MiB, signed": ("refused", _too_long, {}),
    "another leaf, signed": ("refused", _other_node, {}),
    "a package that is not there": ("refused", lambda site: None, {"name": "ns/p700"}),
    "another registry, signed": ("refused", lambda site: site.alter_top(registry="other"), {}),
    "another revision, signed": ("refused", lambda site: site.alter_top(revision=77), {}),
    "no catalog, signed": ("refused", lambda site: site.alter_top(kind="package"), {}),
    "targets that delegate to nobody": ("refused", _to_nobody, {}),
    "a catalog of the future": (
        "expired",
        lambda site: site.alter_top(time="2031-01-01T00:00:00"),
        {},
    ),
    "a newer format": ("newer", lambda site: site.alter_top(format={"read": 9, "write": 9}), {}),
    "another root than the pinned one": (
        "refused",
        lambda site: None,
        {"pin": {"version": 1, "sha256": "0" * 64}},
    ),
    "no pin": ("nothing", lambda site: None, {"pin": None}),
    "a page without cryptography": ("cannot", lambda site: None, {"insecure": True}),
    "no network": ("unavailable", lambda site: None, {"broken": True}),
    "a root that one key signed": ("refused", _root_2("root-1"), {}),
    "a root that one key signed twice": ("refused", _twice(f"{META}/2.root.json"), {}),
    "one key under two ids": ("refused", _one_key_twice, {}),
    "a timestamp by a foreign ECDSA key": ("refused", _foreign_ecdsa, {}),
    "a timestamp by RSA": ("cannot", _signed_otherwise(CryptoSigner.generate_rsa()), {}),
    "a root that a stranger signed": ("refused", _root_2("root-1", "stranger"), {}),
    "a root that online keys signed": ("refused", _root_2("refresh", "publish", "targets"), {}),
    "a root that its own keys did not sign": (
        "refused",
        _root_2("root-1", "root-2", **_root_with("new-1", "new-2")),
        {},
    ),
    "a root that only its own keys signed": (
        "refused",
        _root_2("new-1", "new-2", **_root_with("new-1", "new-2")),
        {},
    ),
    "a root that skips a version": ("refused", _root_2("root-1", "root-2", version=3), {}),
    "a root that is named and not there": (
        "missing",
        lambda site: site.alter("timestamp", lambda s: s["x-kept"].update(root=2), "refresh"),
        {},
    ),
    "an expired root": (
        "expired",
        _root_2("root-1", "root-2", expires="2026-01-01T00:00:00Z"),
        {},
    ),
    "an older timestamp than was seen": (
        "refused",
        lambda site: None,
        {"seen": {"root": 1, "timestamp": 9, "revision": 1}},
    ),
    "an older revision than was seen": (
        "refused",
        lambda site: None,
        {"seen": {"root": 1, "timestamp": 1, "revision": 9}},
    ),
    "an older root than was seen": (
        "refused",
        lambda site: None,
        {"seen": {"root": 2, "timestamp": 1, "revision": 1}},
    ),
    "two stories of one revision": (
        "refused",
        lambda site: None,
        {"seen": {"root": 1, "timestamp": 1, "revision": 2, "digest": "0" * 64}},
    ),
    "no JSON": ("refused", _replaced("timestamp", lambda d: b"<html>"), {}),
    "JSON of another shape": (
        "refused",
        _replaced("timestamp", lambda d: b'{"signed":[],"signatures":{}}'),
        {},
    ),
    "names of every object": (
        "refused",
        _replaced("timestamp", lambda d: d.replace(b'"keyid":"', b'"keyid":"__proto__')),
        {},
    ),
}
