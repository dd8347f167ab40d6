"""The scripts of the pages, run in node, and copies of a site that somebody altered."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner

from tests.mirrors import key

ASSETS = Path(__file__).parent.parent / "templates" / "assets"
META = "catalog/metadata"
_LOAD = """
const fs = require("fs"), vm = require("vm");
const [folder, names, payload] = JSON.parse(fs.readFileSync(0, "utf8"));
globalThis.cnrmirror = {};
for (const name of names) vm.runInThisContext(fs.readFileSync(`${folder}/${name}`, "utf8"), name);
"""


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def need_node() -> str:
    node = shutil.which("node")
    if node is None:
        if os.environ.get("CI"):
            pytest.fail("node is missing, and CI must not skip this test")
        pytest.skip("node is not on this machine")
    return node


def run(names: list[str], program: str, payload: Any) -> Any:
    """What a program says of ``payload``, once these scripts are loaded: one process for all."""
    done = subprocess.run(
        [need_node(), "-e", _LOAD + program], input=json.dumps([str(ASSETS), names, payload]),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Altered:
    """A site, some of its files changed; nothing is written. Keys are those of the tests."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.changes: dict[str, bytes | None] = {}

    def read(self, path: str) -> bytes:
        data = self.changes.get(path)
        return (self.site / path).read_bytes() if data is None else data

    def signed(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.read(path))["signed"]
        return found

    def flip(self, path: str) -> None:
        data = bytearray(self.read(path))
        data[len(data) // 2] ^= 1
        self.changes[path] = bytes(data)

    def put(self, path: str, signed: dict[str, Any], *signers: str | CryptoSigner) -> None:
        """A role's file, signed by these keys; a word is that of a key of the tests."""
        keys = [key(signer) if isinstance(signer, str) else signer for signer in signers]
        message = str(encode_canonical(signed)).encode()
        signatures = [signer.sign(message).to_dict() for signer in keys]
        self.changes[path] = json.dumps({"signatures": signatures, "signed": signed}).encode()

    @property
    def timestamp(self) -> str:
        return f"{META}/timestamp.json"

    def path(self, role: str) -> str:
        """Where the file of a role is that is in force."""
        if role == "root":
            return f"{META}/1.root.json"
        if role == "timestamp":
            return self.timestamp
        above = self.timestamp if role == "snapshot" else self.path("snapshot")
        return f"{META}/{self.signed(above)['meta'][f'{role}.json']['version']}.{role}.json"

    def alter(self, role: str, change: Callable[[dict[str, Any]], object], signer: str) -> None:
        """Change a role's file, as somebody does who has all keys that are online."""
        path = self.path(role)
        signed = self.signed(path)
        change(signed)
        self.put(path, signed, signer)
        self._name_anew(role, path)

    def _name_anew(self, role: str, path: str) -> None:
        above = {"snapshot": "timestamp", "targets": "snapshot", "catalog": "snapshot"}.get(role)
        if above:
            data = self.read(path)
            info = {"length": len(data), "hashes": {"sha256": digest_of(data)}}
            self.alter(above, lambda signed: signed["meta"][f"{role}.json"].update(info), "refresh")

    @property
    def top(self) -> str:
        """Where the catalog root is."""
        target = self.signed(self.path("catalog"))["targets"]["catalog.json"]
        return f"catalog/targets/{target['hashes']['sha256']}.catalog.json"

    def alter_top(self, **fields: Any) -> None:
        """Another catalog root, signed by the key that publishes."""
        data = json.dumps({**json.loads(self.read(self.top)), **fields}).encode()
        info = {"length": len(data), "hashes": {"sha256": digest_of(data)}}
        self.changes[f"catalog/targets/{digest_of(data)}.catalog.json"] = data
        self.alter("catalog", lambda s: s["targets"]["catalog.json"].update(info), "publish")

    def nodes(self, package: str) -> list[str]:
        """The files from the catalog root down to the document of a package."""
        node, found, digits = (
            json.loads(self.read(self.top))["tree"],
            [],
            digest_of(package.encode()),
        )
        while node["kind"] != "package":
            ref = (
                node["children"][digits[len(node["prefix"])]] if node["kind"] == "branch"
                else next(one for one in node["packages"] if one["name"] == package)
            )  # fmt: skip
            found.append(f"catalog/nodes/sha256/{ref['digest'][:2]}/{ref['digest']}")
            node = json.loads(self.read(found[-1]))
        return found

    def encoded(self) -> dict[str, str | None]:
        return {
            path: data if data is None else base64.b64encode(data).decode()
            for path, data in self.changes.items()
        }
