"""Private keys: made, kept in files, found again; or used where they are, by a signer's URI."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import CryptoSigner, Key, Signature, Signer, SSlibKey

from cnrmirror.model.errors import BadSignature, InputError, NotTrusted
from cnrmirror.objects.files import storage_errors

PUBLISH, REFRESH = "publish", "refresh"
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


def read_key(path: Path, passphrase: bytes | None) -> CryptoSigner:
    """The private key in a PEM file.

    Raises:
        InputError: not a key, or another passphrase.
        NotTrusted: others than its owner may read it.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(1 << 16)
            # An encrypted one may lie on a medium that knows no modes.
            if os.fstat(stream.fileno()).st_mode & 0o077 and b"BEGIN OPENSSH" not in data:
                raise NotTrusted(f"{path}: others may read this private key; chmod 600 it")
        if b"BEGIN OPENSSH PRIVATE KEY" in data:
            key: object = serialization.load_ssh_private_key(data, passphrase)
        else:
            encrypted = b"ENCRYPTED" in data
            key = serialization.load_pem_private_key(data, passphrase if encrypted else None)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except TypeError as error:
        raise InputError(f"{path}: a passphrase is needed: --passphrase-file FILE") from error
    except ValueError as error:
        if passphrase is None and "password" in str(error).lower():
            raise InputError(f"{path}: a passphrase is needed: --passphrase-file FILE") from error
        raise InputError(f"{path}: not a private key, or another passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: not an ed25519 key")
    return CryptoSigner(key)


def public_key(path: Path) -> Key:
    """The key in a PEM file of a public key. Raises InputError."""
    try:
        return SSlibKey.from_crypto(serialization.load_pem_public_key(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a public key in PEM: {error}") from error


def verify_statement(
    keyid: str, key: dict[str, Any], signature: str, payload: bytes, where: str
) -> None:
    """Make sure that a statement is signed by the key that it brings. Raises BadSignature."""
    try:
        SSlibKey.from_dict(keyid, dict(key)).verify_signature(Signature(keyid, signature), payload)
    except (UnverifiedSignatureError, VerificationError, ValueError, KeyError) as error:
        raise BadSignature(f"{where}: its signature is wrong; it was changed on the way") from error


class KeyFolder:
    """Private keys in a folder, and keys elsewhere by the URI of a securesystemslib signer.

    Args:
        folder: where the ``*.pem`` files are.
        uris: signer URIs (``awskms:…``, ``hsm:…``) of the keys that are not files, by purpose.
        passphrase: opens those files that are encrypted.
    """

    def __init__(
        self, folder: Path, uris: Mapping[str, str] | None = None, passphrase: bytes | None = None
    ) -> None:
        self.folder = folder
        self._uris = uris or {}
        self._passphrase = passphrase

    def where(self, purpose: str, key: Key) -> str | None:
        """Where the private half of a key is; None if it is not here."""
        if self._uris.get(purpose):
            return self._uris[purpose]
        found = sorted(self.folder.glob(f"*-{key.keyid[:8]}.pem"))
        return str(found[0]) if found else None

    def signer(self, purpose: str, keys: Iterable[Key]) -> Signer | None:
        """A signer for the first of these keys that is here; None if none is.

        Raises:
            NotTrusted, InputError: it is here, and cannot be used.
        """
        for key in keys:
            place = self.where(purpose, key)
            if place is None:
                continue
            if place == self._uris.get(purpose):
                try:
                    return Signer.from_priv_key_uri(place, key)
                except Exception as error:  # every signer has errors of its own
                    raise NotTrusted(f"{purpose} key {place}: {error}") from error
            signer = read_key(Path(place), self._passphrase)
            if signer.public_key.keyid == key.keyid:
                return signer
        return None
