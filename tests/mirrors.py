"""Signed mirrors for tests, with keys that are made from a word: worthless, and always the same.

Importing this gives the process, and what it starts, a configuration folder of its own."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from cnrmirror.cli.keyring import repository
from cnrmirror.mirror.home import online_folder
from cnrmirror.mirror.prepare import prepare
from cnrmirror.mirror.project import Project
from cnrmirror.publish.shared import Shared, opened
from cnrmirror.trust.ceremony import Ceremony
from cnrmirror.trust.keys import PUBLISH, REFRESH, write_key

STORE = os.environ.get("CNRMIRROR_TEST_STORE", "")
NOW = "2026-01-02T03:04:05"
# Keys and client state of the tests, and of the commands that they start, are nobody's own.
_HOME = tempfile.mkdtemp(prefix="cnrmirror-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _kind in ("CONFIG", "STATE", "CACHE"):
    os.environ[f"XDG_{_kind}_HOME"] = f"{_HOME}/{_kind.lower()}"

ROOT_KEYS = ("root-1", "root-2", "root-3")


def key(word: str) -> CryptoSigner:
    """A key for tests."""
    seed = hashlib.sha256(f"a key for tests, known to all: {word}".encode()).digest()
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(seed))


def give_keys(identity: str) -> None:
    """Put a registry's online keys where they are looked for."""
    for purpose in (PUBLISH, REFRESH):
        if not list(online_folder(identity).glob(f"{purpose}-*.pem")):
            write_key(online_folder(identity), purpose, key(purpose), None)


def make(folder: Path, identity: str, now: str = NOW) -> Project:
    """A new mirror; two of three root keys, online keys in the configuration folder."""
    prepare(folder, identity)
    if STORE:
        with (folder / "mirror.yaml").open("a") as file:
            file.write(f"store:\n  to: {STORE}\n")
    project = Project(folder)
    identity = project.config.id
    give_keys(identity)
    signer = repository(project)
    project.signer = signer
    root_keys = [key(name) for name in ROOT_KEYS]
    public = [key(purpose).public_key for purpose in (PUBLISH, REFRESH)]
    signer.create(Ceremony(identity, root_keys, 2, key("targets"), *public), now)
    project.sign_first(now)
    if STORE:
        shutil.copyfile(project.metadata.path / "1.root.json", project.layout.root)
        Shared(project).share()
    return project


def reopen(folder: Path) -> Project:
    """The mirror in a folder, able to sign."""
    project = opened(Project(folder))
    project.signer = repository(project)
    return project
