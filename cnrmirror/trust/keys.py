"""Private keys: made, kept in files, found again; or used where they are, by a signer's URI."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cnrmirror.model.errors import BadSignature, InputError, NotTrusted, UsageError
from cnrmirror.objects.files import read_regular, storage_errors
from cnrmirror.trust.tuf import (
    CryptoSigner,
    Key,
    Signature,
    Signer,
    SSlibKey,
    UnverifiedSignatureError,
    VerificationError,
    signer_from_uri,
)

PUBLISH, REFRESH = "publish", "refresh"
MAX_KEY_BYTES = 1 << 16
_PEM = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----\n.*?-----END \1-----\n", re.S)
_KDF_ROUNDS = 64


def generate() -> CryptoSigner:
    """A new ed25519 key."""
    return CryptoSigner.generate_ed25519()


def key_file_name(purpose: str, key: Key) -> str:
    """The file of a private key: what it is for, and the beginning of its key id."""
    return f"{purpose}-{key.keyid[:8]}.pem"


def write_key(folder: Path, purpose: str, signer: CryptoSigner, passphrase: bytes | None) -> Path:
    """Keep a private key in ``folder``, mode 0600.

    As PKCS#8; with a passphrase in OpenSSH's format, whose key derivation (bcrypt) is far costlier
    to guess against than what PKCS#8 gets from the same library.
    """
    key = serialization.load_pem_private_key(signer.private_bytes, None)
    if passphrase:
        kind = serialization.PrivateFormat.OpenSSH
        protection = kind.encryption_builder().kdf_rounds(_KDF_ROUNDS).build(passphrase)
        data = key.private_bytes(serialization.Encoding.PEM, kind, protection)
    else:
        data = signer.private_bytes
    with storage_errors(str(folder)):
        return _write_private(folder, purpose, signer, data)


def _write_private(folder: Path, purpose: str, signer: CryptoSigner, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / key_file_name(purpose, signer.public_key)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    return path


class KeyFile:
    """A private key as a file has it: plain, or encrypted.

    Args:
        where: the file, for messages.
        data: what it has: PEM.

    Raises:
        InputError: no ed25519 key, nor an encrypted one.
    """

    def __init__(self, where: str, data: bytes) -> None:
        self.where = where
        self._data = data
        self._plain = self._load(None)

    @classmethod
    def read(cls, path: Path) -> KeyFile:
        """The key in a file.

        Raises:
            InputError: it cannot be read, or is none.
            NotTrusted: it is plain, and others than its owner may read it.
        """
        found = cls(str(path), read_regular(path, MAX_KEY_BYTES))
        # An encrypted one may lie on a medium that knows no modes.
        if not found.is_encrypted and path.stat().st_mode & 0o077:
            raise NotTrusted(f"{path}: others may read this private key; chmod 600 it")
        return found

    @property
    def is_encrypted(self) -> bool:
        """Whether a passphrase is needed."""
        return self._plain is None

    def opened(self, passphrase: bytes) -> CryptoSigner | None:
        """The key; None if this is not its passphrase."""
        return self._plain or self._load(passphrase)

    def _load(self, passphrase: bytes | None) -> CryptoSigner | None:
        is_ssh = b"BEGIN OPENSSH PRIVATE KEY" in self._data
        load = serialization.load_ssh_private_key if is_ssh else serialization.load_pem_private_key
        try:
            key = load(self._data, passphrase)
        except TypeError:
            return None
        except (ValueError, UnsupportedAlgorithm) as error:
            if passphrase is not None:
                return None
            raise InputError(f"{self.where}: not a private key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise InputError(f"{self.where}: not an ed25519 key")
        return CryptoSigner(key)


class Ask(Protocol):
    """Asks a person for the passphrase of a key."""

    def __call__(self, where: str, again: bool) -> bytes | None:
        """What was said; None for nothing. ``again``: what was said before was wrong."""


def unlock(file: KeyFile, passphrases: Sequence[bytes], ask: Ask | None = None) -> Unlocked:
    """The key in a file.

    Args:
        file: what was read.
        passphrases: tried in this order, if it is encrypted.
        ask: asked if none of these opens it; three times at most.

    Returns:
        The key and its passphrase; no key if who was asked said nothing.

    Raises:
        InputError: nothing opens it.
    """
    if not file.is_encrypted:
        return Unlocked(file.opened(b""), b"")
    for passphrase in passphrases:
        signer = file.opened(passphrase)
        if signer is not None:
            return Unlocked(signer, passphrase)
    if ask is None:
        raise InputError(
            f"{file.where}: another passphrase opens this key" if passphrases
            else f"{file.where}: a passphrase is needed: --passphrase-file FILE"
        )  # fmt: skip
    for again in (False, True, True):
        said = ask(file.where, again)
        if not said:
            return Unlocked(None, b"")
        signer = file.opened(said)
        if signer is not None:
            return Unlocked(signer, said)
    raise InputError(f"{file.where}: another passphrase opens this key")


class Unlocked(NamedTuple):
    """A key, if it is open, and the passphrase that opened it."""

    signer: CryptoSigner | None
    passphrase: bytes


def read_key(path: Path, passphrase: bytes | None) -> CryptoSigner:
    """The private key in a PEM file.

    Raises:
        InputError: not a key, or another passphrase.
        NotTrusted: others than its owner may read it.
    """
    signer = unlock(KeyFile.read(path), [passphrase] if passphrase else []).signer
    assert signer is not None
    return signer


def keys_in(text: bytes, where: str) -> list[CryptoSigner]:
    """The plain private keys in a text: one PEM block after the other, indented or not.

    Raises:
        InputError: there is none, or one is encrypted or no ed25519 key.
    """
    lines = b"\n".join(line.strip() for line in text.splitlines()) + b"\n"
    files = [KeyFile(where, block[0]) for block in _PEM.finditer(lines)]
    if not files:
        raise InputError(f"{where}: no private key in PEM (-----BEGIN PRIVATE KEY-----)")
    if any(file.is_encrypted for file in files):
        raise InputError(f"{where}: a key in it is encrypted; online keys are plain")
    return [signer for file in files if (signer := file.opened(b""))]


def public_key(path: Path) -> Key:
    """The key in a PEM file of a public key. Raises InputError."""
    data = read_regular(path, MAX_KEY_BYTES)
    try:
        return SSlibKey.from_crypto(serialization.load_pem_public_key(data))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: not a public key in PEM: {error}") from error


def verify_statement(
    keyid: str, key: dict[str, Any], signature: str, payload: bytes, where: str
) -> None:
    """Make sure that a statement is signed by the key that it brings. Raises BadSignature."""
    try:
        SSlibKey.from_dict(keyid, dict(key)).verify_signature(Signature(keyid, signature), payload)
    except (UnverifiedSignatureError, VerificationError, ValueError, KeyError) as error:
        raise BadSignature(f"{where}: its signature is wrong; it was changed on the way") from error


class Given(NamedTuple):
    """Open keys that came another way than by a file, and how: for messages."""

    where: str = ""
    signers: Sequence[CryptoSigner] = ()


class Held(NamedTuple):
    """Where the private half of a key is ("" if it is not here), and what protects it.

    ``protection``: passphrase, plain, elsewhere (a signer has it), unusable or not here.
    """

    where: str
    protection: str


class KeyFolder:
    """Private keys: in folders, given open, or elsewhere by the URI of a securesystemslib signer.

    Args:
        folders: where the ``*.pem`` files are; a new online key goes into the first.
        uris: signer URIs (``awskms:…``, ``hsm:…``) of the keys that are not files, by purpose.
        passphrases: open those files that are encrypted.
        ask: asked for another passphrase if none of these opens a file.
        given: open keys.
    """

    def __init__(
        self, *folders: Path, uris: Mapping[str, str] | None = None,
        passphrases: Sequence[bytes] = (), ask: Ask | None = None, given: Given = Given(),
    ) -> None:  # fmt: skip
        self.folders = folders
        self._uris = uris or {}
        self._passphrases = [*passphrases]
        self._ask = ask
        self._given = given
        self._opened: dict[Path, CryptoSigner | None] = {}

    @property
    def folder(self) -> Path:
        """Where a new key goes. Raises UsageError."""
        if not self.folders:
            raise UsageError("there is no folder for a new key: set HOME, or XDG_CONFIG_HOME")
        return self.folders[0]

    @property
    def places(self) -> str:
        """Where keys are looked for, for messages."""
        given = [self._given.where] if self._given.where else []
        return ", ".join([*given, *(str(folder) for folder in self.folders)])

    def held(self, purpose: str, key: Key) -> Held:
        """Where the private half of a key is."""
        if any(signer.public_key.keyid == key.keyid for signer in self._given.signers):
            return Held(self._given.where, "plain")
        if self._uris.get(purpose):
            return Held(self._uris[purpose], "elsewhere")
        for path in self._files(key):
            try:
                encrypted = KeyFile.read(path).is_encrypted
            except (InputError, NotTrusted):
                return Held(str(path), "unusable")
            return Held(str(path), "passphrase" if encrypted else "plain")
        return Held("", "not here")

    def _files(self, key: Key) -> list[Path]:
        name = f"*-{key.keyid[:8]}.pem"
        return [path for folder in self.folders for path in sorted(folder.glob(name))]

    def signer(self, purpose: str, keys: Iterable[Key]) -> Signer | None:
        """A signer for the first of these keys that is here; None if none is.

        Raises:
            NotTrusted, InputError: it is here, and cannot be used.
        """
        for key in keys:
            signer = self._signer(purpose, key)
            if signer is not None:
                return signer
        return None

    def _signer(self, purpose: str, key: Key) -> Signer | None:
        for given in self._given.signers:
            if given.public_key.keyid == key.keyid:
                return given
        if self._uris.get(purpose):
            return _elsewhere(self._uris[purpose], purpose, key)
        for path in self._files(key):
            found = self._open(path)
            if found is not None and found.public_key.keyid == key.keyid:
                return found
        return None

    def _open(self, path: Path) -> CryptoSigner | None:
        """The key in a file: opened once, for a passphrase costs a second."""
        if path not in self._opened:
            found = unlock(KeyFile.read(path), self._passphrases, self._ask)
            self._opened[path] = found.signer
            if found.passphrase and found.passphrase not in self._passphrases:
                self._passphrases.append(found.passphrase)
        return self._opened[path]


def _elsewhere(uri: str, purpose: str, key: Key) -> Signer:
    try:
        return signer_from_uri(uri, key)
    except Exception as error:  # every signer has errors of its own
        raise NotTrusted(f"{purpose} key {uri}: {error}") from error
